"""How fast the kernel is, next to what it is compared with.

``python -m benchmarks`` (``make bench``) measures every figure of the project's promises together
with its peer, in one run and in turn, so that whatever else the machine does meets both alike. What
comes out is a table of ratios of medians with their spread, and a JSON file. It is no test: a
missed target is shown, not enforced.
"""
