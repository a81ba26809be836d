"""The lab's defaults for its kernels. A person's own file, and commands, go before them."""

import os

if os.environ.get("FAMILIAR_BYPASS_PERMISSIONS") == "1":
    get_config().Permissions.mode = "bypass"  # noqa: F821  # IPython defines it
