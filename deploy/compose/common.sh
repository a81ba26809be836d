# What the scripts of this folder share. It is read, not run; the folder is the current one by then.

# shellcheck shell=bash
set -euo pipefail
LEAST_DOCKER=20.10
LEAST_COMPOSE=2.20
faults=()

say() { echo "$*" >&2; }
fail() {
    say "${0##*/}: $*"
    exit 1
}

[ "${BASH_VERSINFO[0]}" -ge 4 ] || fail "This is bash $BASH_VERSION; install bash 4 or later (on macOS: brew install bash)."

# Note what is in the way; all of it is told at once.
fault() { faults+=("$*"); }

# End the script if something is in the way: WHAT-CANNOT-BE-DONE.
end_with_faults() {
    [ ${#faults[@]} -gt 0 ] || return 0
    say "${0##*/}: $1:"
    printf '  - %s\n' "${faults[@]}" >&2
    exit 1
}

# A variable's value, as Compose sees it: NAME [DEFAULT]. The environment goes before .env.
setting() {
    local name=$1 value=${!1-}
    if [ -z "${!name+set}" ] && [ -e .env ]; then
        value=$(sed -n "s/^[[:space:]]*$name=//p" .env | tail -n 1)
        # As Compose does: quotes around it, or a comment after it.
        case $value in
            \"*\"*) value=${value#\"} value=${value%%\"*} ;;
            \'*\'*) value=${value#\'} value=${value%%\'*} ;;
            *) value=${value%%[[:space:]]#*} value=${value%"${value##*[![:space:]]}"} ;;
        esac
    fi
    echo "${value:-${2-}}"
}

# Write a variable into .env, in place of what it was: NAME VALUE.
keep_setting() {
    local fresh
    [ "$(setting "$1")" != "$2" ] || return 0
    fresh=$(mktemp .env.XXXXXX)
    chmod 600 "$fresh"
    { grep -v "^[[:space:]]*$1=" .env || true; echo "$1=$2"; } >"$fresh"
    mv "$fresh" .env
}

# Whether one version is as new as another: VERSION LEAST.
as_new_as() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

project() { setting COMPOSE_PROJECT_NAME familiar; }
hub_image() { setting HUB_IMAGE localhost/familiar-hub:latest; }
lab_image() { setting DOCKER_NOTEBOOK_IMAGE localhost/familiar-lab:latest; }
prefix() { setting FAMILIAR_HUB_PREFIX jupyterlab; }

# Whether a profile is on: NAME.
has_profile() { [[ ,$(setting COMPOSE_PROFILES | tr -d ' '), == *,$1,* ]]; }

# Compose, with the override if there is one: by its own choice it would look for another name only.
compose() {
    local files=(-f compose.yml)
    [ ! -e compose_override.yml ] || files+=(-f compose_override.yml)
    # Which of the hub's two volumes is the shared folder.
    [ "$(setting FAMILIAR_HUB_SHARED local)" != cifs ] || export FAMILIAR_SHARED_KIND=shared-cifs
    if docker compose version >/dev/null 2>&1; then
        docker compose "${files[@]}" "$@"
    else
        docker-compose "${files[@]}" "$@"
    fi
}

compose_version() {
    { docker compose version --short || docker-compose version --short; } 2>/dev/null | sed 's/^v//'
}

# Check that there are Docker and Compose, new enough. Returns 1 if it is of no use to ask Docker more.
check_docker() {
    local told version
    if ! command -v docker >/dev/null; then
        fault "Docker is not installed; install Docker Engine $LEAST_DOCKER or later."
        return 1
    fi
    version=$(compose_version || true)
    if [ -z "$version" ]; then
        fault "Docker Compose is not installed; install its plugin (docker-compose-plugin), $LEAST_COMPOSE or later."
    elif ! as_new_as "$version" "$LEAST_COMPOSE"; then
        fault "Docker Compose is $version; install $LEAST_COMPOSE or later (docker-compose-plugin)."
    fi
    case ${DOCKER_HOST:-unix://} in
        unix://*) ;;
        *)
            fault "DOCKER_HOST is $DOCKER_HOST; run this on the machine that Docker runs on."
            return 1
            ;;
    esac
    if ! told=$(docker version --format '{{.Server.Version}}' 2>&1); then
        case $told in
            *ermission*) fault "You may not use Docker; become a member of group docker, or use sudo." ;;
            *) fault "Docker does not answer; start it (sudo systemctl start docker)." ;;
        esac
        return 1
    fi
    as_new_as "$told" "$LEAST_DOCKER" || fault "Docker is $told; install $LEAST_DOCKER or later."
}

# The engine's socket.
engine_socket() {
    local host=${DOCKER_HOST:-}
    setting DOCKER_SOCKET "$([ -z "$host" ] && echo /var/run/docker.sock || echo "${host#unix://}")"
}

# Wait until no other script is at work in this folder: two at once would stand in each other's way.
alone() {
    command -v flock >/dev/null || return 0
    exec 9<.
    flock --nonblock 9 || {
        say "Another script is at work here; waiting for its end."
        flock 9
    }
}

# Ask before something that cannot be undone: CONFIRM says it without a terminal. WHAT WORD
confirm() {
    local answer=${CONFIRM-}
    if [ -z "$answer" ]; then
        [ -t 0 ] || fail "$1 To do it without a terminal, set CONFIRM=$2."
        read -r -p "$1 Type $2 to do it: " answer
    fi
    [ "$answer" = "$2" ] || fail "Nothing was done."
}
