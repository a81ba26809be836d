#!/usr/bin/env bash
# Start the platform: check what it needs, make what is missing, bring it up, and say where it is.
#
# Usage: ./start.sh            start, or apply what was changed in .env
#        ./start.sh --check    look at the machine only; nothing is made or started
#        ./start.sh --help     this text
#
# What it makes, once: .env from .env.example, and secrets/admin_password. At each start a certificate is made or
# renewed, unless .env names your own. compose_override.yml is taken along if there is one.
#
# Next: `make help` lists all else: logs, down, backup, restore ...
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh
LEAST_MEMORY=2
SERVICES_MEMORY=1600 # MiB that the platform's own services may take together

help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "./${0##*/}"; }

# Ten characters more than anybody guesses, from the 64 that need no quotes.
new_password() { head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

make_settings() {
    local name
    [ ! -e .env ] || return 0
    name=$(hostname -f 2>/dev/null || true)
    case $name in
        *.*) ;;
        *) name=localhost ;;
    esac
    (umask 077 && sed "s|^FAMILIAR_HUB_PUBLIC_URL=.*|FAMILIAR_HUB_PUBLIC_URL=https://$name|" .env.example >.env)
    say "Made .env; people reach the hub at https://$name. If that is wrong, change FAMILIAR_HUB_PUBLIC_URL there."
}

make_secrets() {
    mkdir -p -m 700 secrets
    mkdir -p certificates config
    if [ ! -s secrets/admin_password ]; then
        (umask 077 && new_password >secrets/admin_password)
        say "Made secrets/admin_password, the administrator's first password."
    fi
}

# Names that nothing reads are mistakes.
check_settings() {
    local name number
    [ -e .env ] || return 0
    # Compose takes more kinds of lines than these scripts do, and they have to read the same.
    while read -r number; do
        fault "Line $number of .env is no NAME=VALUE; write it so, without export and without spaces around =."
    done < <(sed -nE '/^[[:space:]]*(#|$|[A-Za-z_][A-Za-z0-9_]*=)/!=' .env)
    while read -r name; do
        grep -Eq "^#? ?$name=" .env.example || [[ $name == COMPOSE_* || $name == DOCKER_SOCKET_GID ]] ||
            fault ".env sets $name, which nothing reads; .env.example has all names."
    done < <(sed -n 's/^[[:space:]]*\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' .env)
    if [ "$(setting ENABLE_JUPYTERHUB_SSL 1)" = 1 ] && [ -z "$(setting FAMILIAR_HUB_PUBLIC_URL)" ]; then
        fault "FAMILIAR_HUB_PUBLIC_URL in .env is empty; write the address that people type, such as https://lab.example.org."
    fi
    for name in $(setting FAMILIAR_TLS_CERTIFICATE) $(setting FAMILIAR_TLS_KEY); do
        [ -r "certificates/$name" ] ||
            fault "There is no certificates/$name, which .env names; put your certificate and its key there, or name none."
    done
}

# The form of what Compose and Docker read themselves, and would refuse in words of theirs. All else the hub checks.
check_values() {
    local name value
    for name in FAMILIAR_HTTP_PORT FAMILIAR_HTTPS_PORT; do
        value=$(setting "$name")
        [[ -z $value || $value =~ ^[1-9][0-9]{0,4}$ && $value -le 65535 ]] ||
            fault "$name is $value; write a port from 1 to 65535."
    done
    for name in {EDGE,HUB,FILTER,MLFLOW,TENSORBOARD,GLANCES}_MEMORY; do
        value=$(setting "$name")
        [[ -z $value || $value =~ ^([0-9]{7,}|[0-9]+(\.[0-9]+)?[kKmMgGtT]([iI]?[bB])?)$ ]] ||
            fault "$name is $value; write a size such as 512m or 2g."
    done
    for name in {MLFLOW,TENSORBOARD,GLANCES}_CPUS; do
        value=$(setting "$name")
        [[ -z $value || $value =~ ^[0-9]*\.?[0-9]+$ && ! $value =~ ^[0.]+$ ]] ||
            fault "$name is $value; write a number of processors such as 2 or 0.5."
    done
    [ "$(setting FAMILIAR_HTTP_PORT 80)" != "$(setting FAMILIAR_HTTPS_PORT 443)" ] ||
        fault "FAMILIAR_HTTP_PORT and FAMILIAR_HTTPS_PORT are the same; write two ports."
    value=$(setting FAMILIAR_BIND)
    [[ -z $value || $value =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}$ || $value =~ ^\[[0-9A-Fa-f:.]+\]$ ]] ||
        fault "FAMILIAR_BIND is $value; write an address of this machine such as 127.0.0.1 or [::1], or nothing for all of them."
}

# A tool is a service here, and one that the hub knows: both or neither.
check_tools() {
    local name switch
    for name in mlflow tensorboard glances; do
        switch=ENABLE_SERVICE_${name^^}
        if has_profile "$name" && [ "$(setting "$switch" 0)" != 1 ]; then
            fault "COMPOSE_PROFILES names $name, and $switch is not 1: set both, or neither."
        elif ! has_profile "$name" && [ "$(setting "$switch" 0)" = 1 ]; then
            fault "$switch is 1, and COMPOSE_PROFILES does not name $name: set both, or neither."
        fi
    done
}

check_secrets() {
    local file
    for file in secrets/*; do
        [ -e "$file" ] || continue
        [ -z "$(find "$file" -perm /077)" ] ||
            fault "$file can be read by others; type: chmod 600 $file"
    done
}

# Whether this platform has the ports itself already.
is_up() {
    [ -n "$(docker ps --quiet --filter "label=com.docker.compose.project=$(project)" \
        --filter label=com.docker.compose.service=edge)" ]
}

check_ports() {
    local name port bind
    ! is_up || return 0
    bind=$(setting FAMILIAR_BIND 127.0.0.1)
    [ "$bind" != 0.0.0.0 ] || bind=127.0.0.1
    bind=${bind#[} bind=${bind%]}
    for name in FAMILIAR_HTTP_PORT:80 FAMILIAR_HTTPS_PORT:443; do
        port=$(setting "${name%:*}" "${name#*:}")
        [[ $port =~ ^[0-9]{1,5}$ ]] || continue # said above
        if (exec 3<>"/dev/tcp/$bind/$port") 2>/dev/null; then
            fault "Port $port is taken by another program; end that one, or set ${name%:*} in .env."
        fi
    done
}

# Two platforms with one network are each other's: labs find either hub, and the filters share a folder.
check_neighbours() {
    local network other
    network=$(setting DOCKER_NETWORK_NAME familiar-labs)
    while read -r other; do
        [ -z "$other" ] || [ "$other" = "$(project)" ] ||
            fault "The network $network is the platform $other's; end that one, or set DOCKER_NETWORK_NAME, FAMILIAR_HUB_PREFIX and FAMILIAR_SOCKETS in .env to others."
    done < <(docker ps --all --filter "network=$network" --filter label=com.docker.compose.service=hub \
        --format '{{.Label "com.docker.compose.project"}}')
}

check_memory() {
    local has lab
    has=$(($(docker info --format '{{.MemTotal}}') / 1048576))
    if [ "$has" -lt $((LEAST_MEMORY * 1024)) ]; then
        fault "Docker has $has MiB of memory; the platform and one lab need $LEAST_MEMORY GiB."
        return
    fi
    lab=$(setting FAMILIAR_HUB_MEMORY 4G | tr '[:lower:]' '[:upper:]')
    case $lab in
        *[!0-9GM]*) return ;; # the settings' own check says what is wrong
        *G) lab=$((${lab%G} * 1024)) ;;
        *M) lab=${lab%M} ;;
        *) return ;;
    esac
    [ "$has" -ge $((SERVICES_MEMORY + lab)) ] ||
        say "Note: one lab may take $lab MiB, and Docker has $has MiB in all; set FAMILIAR_HUB_MEMORY in .env to less."
}

check_images() {
    local image images name
    images=("$(hub_image)" "$(lab_image)")
    for name in mlflow tensorboard glances; do
        ! has_profile "$name" || images+=("$(setting "${name^^}_IMAGE" "localhost/familiar-tool-$name:latest")")
    done
    for image in "${images[@]}"; do
        docker image inspect "$image" >/dev/null 2>&1 || case $image in
            localhost/familiar-tool-*)
                name=${image#localhost/familiar-}
                fault "The image $image is not there; type: make build IMAGES=${name%%:*}"
                ;;
            localhost/*) fault "The image $image is not there; type: make build" ;;
            *) fault "The image $image is not there; type: make pull" ;;
        esac
    done
}

# The group that the filter needs, as containers see it: it may be another one than this machine says.
socket_group() {
    docker run --rm --network=none --entrypoint=stat --volume="$(engine_socket):/socket" "$(hub_image)" -c %g /socket
}

only_check=
case ${1-} in
    --help | -h) help && exit ;;
    --check) only_check=1 ;;
    '') ;;
    *) fail "There is no option $1; ./start.sh --help says which there are." ;;
esac

if [ -z "$only_check" ]; then
    alone
    make_settings
    make_secrets
elif [ ! -e .env ]; then
    say "There is no .env yet; ./start.sh makes it."
fi
check_settings
check_values
check_tools
check_secrets
if check_docker; then
    [ -S "$(engine_socket)" ] || fault "There is no socket $(engine_socket); write Docker's into .env as DOCKER_SOCKET."
    check_ports
    check_neighbours
    check_memory
    check_images
fi
end_with_faults "the platform cannot start"
if [ -n "$only_check" ]; then
    say "Nothing is in the way. The hub's own settings are checked by ./start.sh, before it stops anything."
    exit
fi
trap 'say "Interrupted; type ./start.sh again."; exit 130' INT TERM

# The hub makes it with the first lab; TensorBoard may be there before.
if has_profile tensorboard && [ "$(setting FAMILIAR_HUB_SHARED local)" = local ]; then
    docker volume create "$(prefix)--shared" >/dev/null
fi
keep_setting DOCKER_SOCKET "$(engine_socket)"
keep_setting DOCKER_SOCKET_GID "$(socket_group)"
# Settings that will not do are found before anything that runs is stopped for them.
compose run --rm --no-deps --no-TTY prepare || fail "Nothing was stopped or started. Mend what is named above and start again."
if [ "$(setting FAMILIAR_HUB_SHARED local)" = cifs ]; then
    # The volume leads to another machine. The hub could not make it: the filter lets through no options of volumes.
    compose run --rm --no-deps --no-TTY --volume "$(engine_socket):/socket" --env DOCKER_HOST=unix:///socket prepare \
        python -m familiar_hub.share || fail "The shared folder is not there."
fi
# One that runs and does not work would be waited for in vain.
sick=$(docker ps --quiet --filter "label=com.docker.compose.project=$(project)" --filter health=unhealthy)
# shellcheck disable=SC2086 # each an argument
[ -z "$sick" ] || docker restart $sick >/dev/null
if ! compose up --detach --wait --remove-orphans; then
    say "${0##*/}: The platform did not come up. What its services said last:"
    while IFS='|' read -r name state health code; do
        case $state/$health/$code in
            running/healthy/* | running//* | created/* | exited/*/0) ;;
            *) compose logs --no-color --no-log-prefix --tail 15 "$name" >&2 || true ;;
        esac
    done < <(compose ps --all --format '{{.Service}}|{{.State}}|{{.Health}}|{{.ExitCode}}')
    compose ps --all --format '{{.Service}}: {{.Status}}' >&2 || true
    fail "Mend what is named above and start again; \`make logs\` shows more."
fi
address=$(setting FAMILIAR_HUB_PUBLIC_URL "http://localhost:$(setting FAMILIAR_HTTP_PORT 80)")
base=$(setting JUPYTERHUB_BASE_URL /)
base=${base#/}
address=${address%/}/${base:+${base%/}/}
echo "The hub is at $address"
if [ "$(setting ENABLE_JUPYTERHUB_SSL 1)" = 1 ] && [ -z "$(setting FAMILIAR_TLS_CERTIFICATE)" ]; then
    echo "Browsers trust it once they have imported $PWD/certificates/ca.pem, which vouches for this address only."
fi
echo "Next: sign in as $(setting JUPYTERHUB_ADMIN admin). The first password is in secrets/admin_password; change it under 'Change password'."
echo "People ask for an account at ${address}hub/signup, and you approve them under 'Accounts'."
