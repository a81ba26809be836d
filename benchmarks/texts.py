"""The texts to work on: answers as a model writes them, and cells as people write them."""

from __future__ import annotations

_PIECE = """\
## {n}. Fitting the model

The residuals of group {n} look **roughly normal**, so ordinary least squares is a fair start;
the slope is `{n}.25 ± 0.04`, which agrees with [run {n}](https://example.org/runs/{n}), not with:

$$\\hat\\beta = (X^T X)^{{-1}} X^T y, \\qquad \\sigma^2 = \\frac{{1}}{{n - p}} \\sum_i e_i^2$$

- check the *leverage* of the {n} largest points,
- drop the first column if $p < 0.05$ does not hold,
- and plot `residuals` against "fitted values".

```python
def fit_{n}(x, y):
    design = np.column_stack([np.ones_like(x), x])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    return coefficients, y - design @ coefficients
```

| group | slope | error |
| --- | ---: | ---: |
| {n} | {n}.25 | 0.04 |
| next | 3.14 | 0.15 |

"""
_WORDS = "the slope of the line is what the data say it is, and no more than that; "
_LINES = "    total = total + weights[index] * values[index]  # one step of the sum\n"

CELL = """\
import math
from collections import Counter

def mean(values):
    values = list(values)
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)

words = "the quick brown fox jumps over the lazy dog".split()
lengths = [len(word) for word in words]
counts = Counter(lengths)
spread = math.sqrt(mean((n - mean(lengths)) ** 2 for n in lengths))
table = {word: counts[len(word)] for word in sorted(words)}
print(f"{len(words)} words, {spread:.2f}")
for length, count in counts.most_common(3):
    print(length, count)
longest = max(words, key=len)
longest, table[longest]
"""
"""A cell of twenty lines as it stands in many notebooks."""


def mixed(size: int) -> str:
    """Return ``size`` bytes of what a model writes: headings, lists, formulae, code and tables."""
    text = "".join(_PIECE.format(n=n) for n in range(1, size // len(_PIECE) + 3))
    return text.encode()[:size].decode(errors="ignore")


def one_fence(size: int) -> str:
    """Return ``size`` bytes that are one block of code, to its end."""
    return ("```python\n" + _LINES * (size // len(_LINES) + 1))[:size]


def one_paragraph(size: int) -> str:
    """Return ``size`` bytes without a line's end."""
    return (_WORDS * (size // len(_WORDS) + 1))[:size]


def code(size: int) -> str:
    """Return a cell of about ``size`` characters of plain Python."""
    piece = "\n".join(line for line in CELL.splitlines()[3:] if line.strip()) + "\n"
    return piece * (size // len(piece) + 1)


def code_about_prompts(size: int) -> str:
    """Return a cell of about ``size`` characters that names ``%claude`` where it is no prompt."""
    piece = 'x = 1  # %claude is no prompt here\ns = """\n%claude nor here\n"""\n' + CELL
    return piece * (size // len(piece) + 1)


def pieces(text: str, size: int) -> list[str]:
    """Return a text cut into pieces of ``size`` characters."""
    return [text[at : at + size] for at in range(0, len(text), size)]
