"""The familiar: a Claude session bound to one kernel's life.

Two processes meet here. The kernel imports :mod:`.familiar`, :mod:`.link`, :mod:`.protocol` and
:mod:`.errors` and nothing of Claude's; the host (:mod:`.host`) runs claude-agent-sdk and the Claude
Code CLI. Nothing in this package imports ipykernel or IPython, so that other front ends can have a
familiar as well.
"""
