"""The error of a look, apart from what looks: who only hands it on need not load that."""


class ProbeError(ValueError):
    """What was asked for cannot be looked at; the message says why and what to do."""
