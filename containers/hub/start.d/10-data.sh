# What the hub keeps: a folder that it can write. The filter and the preparation keep nothing there.

if [ "$1" = jupyterhub ]; then
    data=${FAMILIAR_HUB_DATA:-/srv/jupyterhub}
    [ -d "$data" ] || fail "There is no $data; mount a volume there."
    [ -w "$data" ] || fail "$data cannot be written by user $(id -u); give the volume to that user."
    # The database and the cookies' secret are nobody else's.
    umask 077
fi
