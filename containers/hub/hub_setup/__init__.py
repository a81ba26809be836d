"""Prepares a deployment on Docker Compose before its services start, and backs it up.

It runs once at each start, as root of a container that has no network and next to no rights, since
what it hands out belongs to several users: the hub gets secrets, the edge certificates, the filter
a folder for its sockets, and each tool what it shares with the hub.
"""

HUB = (1000, 1000)
"""User and group of the hub."""
FILTER = (64101, HUB[1])
"""Of the filter. The number is nobody's on an ordinary machine: what lies in its folder on the host
is nobody else's either. The group is the hub's, which may use the hub's socket."""
EDGE = (65532, 65532)
"""Of Traefik."""
TOOLS = {
    "mlflow": (64110, 64110),
    "tensorboard": (64110, 64110),
    # It sees all processes of the machine, and may be nobody of those.
    "glances": (64111, 64111),
}
"""Of the tools beside the labs; see containers/tools."""
