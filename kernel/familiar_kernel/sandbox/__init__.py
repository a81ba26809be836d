"""The sandbox: the user's code in a container that has no network."""
