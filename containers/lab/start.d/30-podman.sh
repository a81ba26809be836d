# How podman stores images and connects containers: what works is found by trying it. A person's own settings stay.

podman_conf=$HOME/.config/containers

# Try to mount one folder over another, in namespaces like those of rootless podman: PROGRAM [ARGUMENT ...], which is
# run where lower, upper, work and merged are.
mounts() {
    local place
    place=$(mktemp -d "$podman_store/.try.XXXXXX") || return 1
    # As root of the namespace, which may also remove what the mount leaves behind.
    # shellcheck disable=SC2016 # the inner shell's
    timeout 10 unshare --user --map-root-user --mount sh -c '
        cd "$1" && shift && mkdir lower upper work merged && echo low >lower/file || exit 1
        "$@" && echo high >merged/file && mkdir merged/new && [ "$(cat lower/file upper/file)" = "low
high" ]
        works=$?
        umount merged
        rm -rf -- lower upper work merged
        exit $works' sh "$place" "$@" >/dev/null 2>&1
    local works=$?
    rm -rf -- "$place"
    return $works
}

podman_storage() {
    local driver why options=
    if mounts mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr merged; then
        driver=overlay why="this kernel mounts layers for an ordinary user there"
    elif [ ! -w /dev/fuse ]; then
        driver=vfs why="overlay cannot be mounted there and there is no /dev/fuse, so every layer is copied: mount a volume"
    elif mounts fuse-overlayfs -o lowerdir=lower,upperdir=upper,workdir=work merged; then
        driver=overlay why="overlay cannot be mounted there, fuse-overlayfs can"
        options=$'[storage.options.overlay]\nmount_program = "/usr/bin/fuse-overlayfs"\n'
    else
        driver=vfs why="neither overlay nor fuse-overlayfs can be mounted there, so every layer is copied: mount a volume"
    fi
    mkdir -p "$podman_conf"
    cat >"$podman_conf/storage.conf" <<CONF
# Written when the lab started, since nothing was here: $why.
[storage]
driver = "$driver"
graphroot = "$podman_store"
rootless_storage_path = "$podman_store"
$options
CONF
    [ -z "$options" ] || driver="$driver by fuse-overlayfs"
    say "podman stores images in $podman_store with $driver: $why."
}

podman_network() {
    # slirp4netns and pasta, which give a container a network of its own, both need it.
    [ ! -w /dev/net/tun ] || return 0
    mkdir -p "$podman_conf"
    printf '# Written when the lab started, since nothing was here: there is no /dev/net/tun.\n[containers]\nnetns = "host"\n' \
        >"$podman_conf/containers.conf"
    say "podman's containers share the lab's network: there is no /dev/net/tun."
}

podman_ready() {
    local told
    if ! unshare --user true 2>/dev/null; then
        say "podman cannot run here, because user namespaces are refused; its seccomp profile must be unconfined."
    elif ! told=$(podman unshare true 2>&1); then
        say "podman cannot run here; the container needs the capabilities SETUID and SETGID, and" \
            "no-new-privileges must be off: ${told##*$'\n'}"
    elif ! unshare --user --map-root-user --mount --pid --fork --mount-proc true 2>/dev/null; then
        say "podman can start no containers here, because parts of /proc are masked; unmask them (Docker and podman:" \
            "systempaths=unconfined or unmask=ALL, Kubernetes: procMount Unmasked)."
    fi
}

podman_store=${FAMILIAR_PODMAN_STORE:-$WORK/.containers}
if [ -e "$podman_conf/storage.conf" ]; then
    say "podman stores images as your $podman_conf/storage.conf says."
elif unshare --user true 2>/dev/null; then
    mkdir -p "$podman_store"
    podman_storage
fi
[ -e "$podman_conf/containers.conf" ] || podman_network
podman_ready
