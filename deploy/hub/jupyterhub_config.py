"""What JupyterHub reads: everything comes from the environment, through familiar_hub."""

import os
import sys

from familiar_hub.config import configure
from familiar_hub.settings import Settings, SettingsError

try:
    settings = Settings.from_environment(os.environ)
except SettingsError as error:
    sys.exit(str(error))
configure(get_config(), settings)  # type: ignore[name-defined]  # noqa: F821  # JupyterHub defines it
