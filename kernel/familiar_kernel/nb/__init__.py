"""Notebooks without a browser: the ``nb`` command, and the same operations for other agents.

``document`` is a notebook's text and its edits, pure; ``store`` the files on disk; ``kernels`` the
processes; ``running`` sends cells to them. ``cli`` and ``mcp`` are the two ways in.
"""
