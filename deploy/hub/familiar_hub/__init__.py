"""A lab for a group: JupyterHub with the accounts, volumes, limits and groups of this platform.

``settings`` says what may be chosen, ``spawning`` what a lab is then like (pure), ``spawner`` asks
Docker for it, ``accounts`` says who may come in, and ``config`` hands all of it to JupyterHub.
"""
