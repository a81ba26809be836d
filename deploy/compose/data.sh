#!/usr/bin/env bash
# Back up and restore what the platform keeps, and remove it.
#
# Usage: ./data.sh backup [FILE]     write one file that only you can read; the platform goes on meanwhile
#        ./data.sh restore FILE      put everything back, on this machine or a new one; the platform must be down
#        ./data.sh clean             remove the platform with all its data; it asks first
#
# A backup holds the hub's database and secrets, the certificates' authority, the settings, and every person's home and
# workspace and the shared folder. Caches are left out, unless CACHES=1. It can be used to sign in as anybody: keep it
# as you keep passwords.
#
# restore does not write over what is there, unless OVERWRITE=1. clean asks; without a terminal it wants CONFIRM with
# the project's name.
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh
INSIDE=/data # where hub_setup.backup expects everything
PARTS=(secrets certificates)

help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "./${0##*/}"; }

# The volumes of people, of the folder that all share and of MLflow, as Docker has them now; not a share of another
# machine.
people_volumes() {
    local kinds=home,workspace
    [ -z "${CACHES-}" ] || kinds=$kinds,cache
    volumes_of "$kinds" "($(prefix)--shared|$(project)_mlflow-data)"
}

# All of them: KIND,KIND ... NAME
volumes_of() {
    docker volume ls --quiet | grep -E "^$(prefix)-[^-].*_(${1//,/|})$|^$2$" || true
}

runs() { [ -n "$(docker ps --quiet --filter "label=com.docker.compose.project=$(project)")" ]; }
labs() { docker ps --all --quiet --filter "name=^$(prefix)-"; }

# Run the hub's image on everything: CAPABILITIES MODE ACTION VOLUME ...; MODE is of the mounts: ro or rw.
on_everything() {
    local capabilities=$1 mode=$2 action=$3 options=() name
    shift 3
    for name in $capabilities; do options+=("--cap-add=$name"); done
    for name in "${PARTS[@]}"; do options+=("--volume=$PWD/$name:$INSIDE/$name:$mode"); done
    options+=("--volume=$scratch:$INSIDE/settings:$mode")
    for name in hub-data:hub authority:authority; do
        options+=("--volume=$(project)_${name%:*}:$INSIDE/${name#*:}:$mode")
    done
    for name in "$@"; do options+=("--volume=$name:$INSIDE/volumes/$name:$mode"); done
    docker run --rm --interactive --network=none --read-only --tmpfs=/tmp --user=0:0 --cap-drop=ALL \
        --security-opt=no-new-privileges --pids-limit=64 --entrypoint=python \
        "${options[@]}" "$(hub_image)" -m hub_setup.backup "$action"
}

backup() {
    local file=${1:-} volumes
    [ -e .env ] || fail "There is no .env, so there is no platform here to back up."
    docker volume inspect "$(project)_hub-data" >/dev/null 2>&1 ||
        fail "There is no volume $(project)_hub-data; nothing was started here yet."
    if [ -z "$file" ]; then
        mkdir -p -m 700 backups
        file=backups/$(project)-$(date -u +%Y%m%d-%H%M%S).tar
    fi
    [ ! -e "$file" ] || fail "$file is there already; name another file."
    mapfile -t volumes < <(people_volumes)
    cp -r .env config "$scratch"
    [ ! -e compose_override.yml ] || cp compose_override.yml "$scratch"
    umask 077
    # Whole, or not there.
    on_everything "CHOWN DAC_READ_SEARCH" ro write "${volumes[@]}" </dev/null >"$file.part" ||
        { rm -f "$file.part"; fail "The backup was not made."; }
    mv "$file.part" "$file"
    echo "$file: the hub, and ${#volumes[@]} volumes of people; $(du -h "$file" | cut -f 1)."
}

refuse_while_up() {
    ! runs || fail "The platform is up; type: make down"
    [ -z "$(labs)" ] || fail "Labs of people are there; stop them on the hub's admin page, or type: make down LABS=1"
}

restore() {
    local file=${1:-} told volumes name there=()
    [ -n "$file" ] || fail "Name the file: ./data.sh restore FILE"
    [ -r "$file" ] || fail "There is no $file that can be read."
    told=$(tar --extract --to-stdout --occurrence=1 --file="$file" manifest.json 2>/dev/null) ||
        fail "$file is no backup of this platform."
    grep -q '"format": 1,' <<<"$told" || fail "$file was made by another version; use the data.sh of that version."
    if [ ! -e .env ] || [ -n "${OVERWRITE-}" ]; then
        [ ! -e .env ] || refuse_while_up
        # What the project is called stands there, and with it whose volumes these are.
        (umask 077 && tar --extract --to-stdout --file="$file" settings/.env >"$scratch/.env" 2>/dev/null) ||
            fail "$file is damaged: its settings cannot be read. Nothing was changed."
        [ ! -e .env ] || cp -p .env .env.before-restore
        mv "$scratch/.env" .env
    fi
    refuse_while_up
    mapfile -t volumes < <(sed -n '/"volumes": \[/,/\]/s/^ *"\([A-Za-z0-9][A-Za-z0-9_.-]*\)",\{0,1\}$/\1/p' <<<"$told")
    for name in "$(project)_hub-data" "$(project)_authority" "${volumes[@]}"; do
        ! docker volume inspect "$name" >/dev/null 2>&1 || there+=("$name")
    done
    for name in "${PARTS[@]}"; do
        [ -z "$(ls -A "$name" 2>/dev/null)" ] || there+=("the folder $name")
    done
    if [ ${#there[@]} -gt 0 ] && [ -z "${OVERWRITE-}" ]; then
        fail "There are data already, which this would write over: ${there[*]}. To do it, set OVERWRITE=1."
    fi
    docker image inspect "$(hub_image)" >/dev/null 2>&1 || fail "The image $(hub_image) is not there; type: make build"
    mkdir -p -m 700 secrets
    mkdir -p certificates config
    # Compose wants to have made its own volumes. The hub has one that the preparation has not.
    compose up --no-start --no-deps prepare hub >/dev/null 2>&1 || fail "Compose could not make its volumes; ./start.sh --check may say why."
    on_everything "CHOWN DAC_OVERRIDE FOWNER FSETID" rw put "${volumes[@]}" <"$file" ||
        fail "The restore did not come to its end; what is there now is not to be used. Mend what is named above, and do it again with OVERWRITE=1."
    cp -r "$scratch/config/." config/
    [ ! -e "$scratch/compose_override.yml" ] || cp "$scratch/compose_override.yml" .
    echo "Everything of $file is back. Next: ./start.sh"
}

clean() {
    local volumes sockets
    [ -e .env ] || fail "There is no .env, so there is no platform here to remove."
    mapfile -t volumes < <(volumes_of home,workspace,cache "$(prefix)--shared(-cifs)?")
    confirm "This removes the hub, its accounts, secrets and authority, and the files of all people (${#volumes[@]} volumes). Nothing but a backup brings them back." \
        "$(project)"
    labs | xargs --no-run-if-empty docker rm --force >/dev/null
    compose --profile '*' down --volumes --remove-orphans
    [ ${#volumes[@]} -eq 0 ] || docker volume rm "${volumes[@]}" >/dev/null
    # What belongs to root and to the filter here.
    sockets=$(setting FAMILIAR_SOCKETS /var/lib/familiar-hub/sockets)
    if docker image inspect "$(hub_image)" >/dev/null 2>&1; then
        docker run --rm --network=none --user=0:0 --volume="$PWD/certificates:/given" --volume="$sockets:/sockets" \
            --entrypoint=sh "$(hub_image)" -c 'rm -rf /given/ca.pem /sockets/hub /sockets/people'
    fi
    rm -rf secrets
    echo "All of it is gone. Still there: .env, config, your own certificates, and backups."
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch" 2>/dev/null || true' EXIT
action=${1-}
[ $# -eq 0 ] || shift
case $action in
    backup | restore | clean)
        check_docker || true
        end_with_faults "this cannot be done"
        [ "$action" = backup ] || alone
        "$action" "$@"
        ;;
    --help | -h | help | '') help ;;
    *) fail "There is no $action; ./data.sh --help says what there is." ;;
esac
