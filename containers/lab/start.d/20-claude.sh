# Claude's settings, where the person has none.

"$LIB/claude-settings" "$CLAUDE_CONFIG_DIR"
