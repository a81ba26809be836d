# The work directory, and the folders that the image's variables name.

[ -d "$WORK" ] || fail "There is no $WORK; mount a volume there."
[ -w "$WORK" ] || fail "$WORK cannot be written by user $(id -u); give it to that user" \
    "(on Kubernetes: fsGroup 1000), or mount another volume."
for folder in "$XDG_RUNTIME_DIR" "$CLAUDE_CONFIG_DIR" "$IPYTHONDIR" "$JUPYTER_CONFIG_DIR"; do
    mkdir -p -m 700 "$folder" || fail "$folder cannot be made; choose another with the variable that names it."
done
