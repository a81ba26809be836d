# The filter is told which volume every lab may have, unless somebody named it: the hub's shared folder.

if [ -z "${SOCKET_SHARED_VOLUME:-}" ]; then
    prefix=${FAMILIAR_HUB_PREFIX:-jupyterlab}
    case ${FAMILIAR_HUB_SHARED:-local} in
        local) SOCKET_SHARED_VOLUME=$prefix--shared ;;
        cifs) SOCKET_SHARED_VOLUME=$prefix--shared-cifs ;;
        *) SOCKET_SHARED_VOLUME= ;;
    esac
    export SOCKET_SHARED_VOLUME
fi
