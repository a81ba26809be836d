# git: who commits, and how it signs in elsewhere. Written as git's settings of the system, so that what a person sets
# with `git config --global` goes before.
#
# FAMILIAR_GIT_NAME, FAMILIAR_GIT_EMAIL   who commits
# FAMILIAR_GIT_CREDENTIALS_FILE           lines https://USER:TOKEN@HOST, as git's credential store has them
# FAMILIAR_GIT_SSH_KEY_FILE               a private key
# FAMILIAR_GIT_KNOWN_HOSTS_FILE           the keys of servers; without it, those seen first are kept on the volume
# FAMILIAR_GIT_INSTEAD_OF                 lines NEW OLD: addresses that begin with OLD are taken from NEW

git_set() { git config --file "$GIT_CONFIG_SYSTEM" --add "$@"; }

# The path in a variable, given its name, as a word of a shell's command; fail where nothing can be read there.
git_file() {
    [ -r "${!1}" ] || fail "$1 names ${!1}, which cannot be read."
    printf %q "${!1}"
}

git_setup() {
    local path new old key ssh
    mkdir -p -m 700 "$(dirname "$GIT_CONFIG_SYSTEM")"
    rm -f "$GIT_CONFIG_SYSTEM"
    [ ! -e /etc/gitconfig ] || git_set include.path /etc/gitconfig
    [ -z "${FAMILIAR_GIT_NAME:-}" ] || git_set user.name "$FAMILIAR_GIT_NAME"
    [ -z "${FAMILIAR_GIT_EMAIL:-}" ] || git_set user.email "$FAMILIAR_GIT_EMAIL"
    if [ -n "${FAMILIAR_GIT_CREDENTIALS_FILE:-}" ]; then
        path=$(git_file FAMILIAR_GIT_CREDENTIALS_FILE)
        # It is asked only: git would also write into it, and a Secret cannot be written.
        git_set credential.helper "!f() { test \"\$1\" != get || git credential-store --file=$path get; }; f"
    fi
    if [ -n "${FAMILIAR_GIT_SSH_KEY_FILE:-}" ]; then
        git_file FAMILIAR_GIT_SSH_KEY_FILE >/dev/null
        # A copy of one's own, since ssh refuses a key that others may read, and a Secret's mode is somebody else's.
        key=$HOME/.config/familiar/git-ssh-key
        (umask 077 && tr -d '\r' <"$FAMILIAR_GIT_SSH_KEY_FILE" >"$key.new" && echo >>"$key.new" && mv "$key.new" "$key")
        ssh="ssh -i $key -o IdentitiesOnly=yes -o StrictHostKeyChecking="
        if [ -n "${FAMILIAR_GIT_KNOWN_HOSTS_FILE:-}" ]; then
            ssh+="yes -o UserKnownHostsFile=$(git_file FAMILIAR_GIT_KNOWN_HOSTS_FILE)"
        else
            mkdir -p -m 700 "$WORK/.ssh"
            ssh+="accept-new -o UserKnownHostsFile=$WORK/.ssh/known_hosts"
        fi
        git_set core.sshCommand "$ssh"
    fi
    while read -r new old; do
        [ -n "$new" ] || continue
        [ -n "$old" ] || fail "FAMILIAR_GIT_INSTEAD_OF has the line '$new'; write two addresses on it: NEW OLD."
        git_set "url.$new.insteadOf" "$old"
    done <<<"${FAMILIAR_GIT_INSTEAD_OF:-}"
}
git_setup
