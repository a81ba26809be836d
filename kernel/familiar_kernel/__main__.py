"""``python -m familiar_kernel -f CONNECTION_FILE`` runs one kernel; a front end starts it so."""

from familiar_kernel.app import FamiliarKernelApp

if __name__ == "__main__":
    FamiliarKernelApp.launch_instance()
