# proxy-mullvad [N], proxy-tor, proxy-off, proxy-status: which proxy this shell's traffic goes through.
#
# For /etc/profile.d or ~/.bashrc. A choice holds in this shell and in what it starts, until proxy-off. What it
# means is said in one place, for notebooks (%proxy) as well: `familiar proxy` prints the lines that change the
# environment, and this shell evaluates them. They hold passwords, so they are in no argument list, and are not
# traced.

# Other shells than bash read no further: a function's name with a dash in it would end them.
[ -n "${BASH_VERSION:-}" ] || return 0
! shopt -qo posix || return 0

_familiar_proxy() {
    local - lines # with the dash, the next line holds for this function only
    set +x
    lines=$(familiar proxy "$@" --shell) || return
    eval "$lines"
}

proxy-mullvad() { _familiar_proxy mullvad "$@"; }
proxy-tor() { _familiar_proxy tor "$@"; }
proxy-off() { _familiar_proxy off "$@"; }
proxy-status() { familiar proxy status "$@"; }
