"""The kernel that a front end sees where the user's code runs in a sandbox."""
