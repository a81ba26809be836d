"""What runs inside a sandbox: the kernel of the user's code.

The image holds ipykernel and nothing of ours. The outer kernel sends the source of what it needs
over the bridge, the socket between the two, so an image fits every version of this package.
:data:`.sources.MODULES` names those modules; they import the standard library, ipykernel and each
other.
"""
