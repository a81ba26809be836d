"""Claude's Markdown stays what it says: ordinary text unchanged, sloppy text as it was meant."""

from __future__ import annotations

import re
import time

import pytest

from familiar_kernel.answer.characters import clean
from familiar_kernel.answer.inline import code_span, literal
from familiar_kernel.answer.markdown import Growing, defang
from familiar_kernel.text import whole

ORDINARY = r"""# A heading with `code`

A paragraph with **bold**, *italics*, ~~struck~~ and `List<int>`, and a [link](https://example.org/a_(b)
"title") and <https://example.org/c> and 3 < 4, x<=y, a -> b, a <- b and AT&T.
Costs $5 only. See [the guide][guide], note[^1] and array[0]: fine.

| type | holds |
|:-----|------:|
| `a` | 1 |
| `<b>` | 2 |

1. First

   ```html
   <div onclick="go()">x</div>
   ```
2. Second:
   - nested `<br>`

     ```python
     if a < b:

         print("$x", "</details>")
     ```

> Quoted `<i>`:
> ```sh
> cat <in.txt >"$HOME/out.txt"
> ```

- [ ] open
- [x] done

Inline $e^{i\pi} + 1 = 0$ and

$$
\begin{aligned} a &= b \\[4pt] c &= d \end{aligned}
$$

````markdown
```python
<b>nested</b>
```
````

~~~
tilde <b>
~~~

---

[guide]: https://example.org/guide "The guide"

[^1]: A note of several words.
"""


def test_ordinary_markdown_is_not_touched() -> None:
    expected = ORDINARY.replace("Costs $5", r"Costs \$5")
    assert defang(ORDINARY) == expected


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        # HTML is text, wherever it is no code.
        ("<b>x</b>", "&lt;b>x&lt;/b>"),
        ("a <!-- b --> <?php ?> <!DOCTYPE x>", "a &lt;!-- b --> &lt;?php ?> &lt;!DOCTYPE x>"),
        ("\\<b>", "&lt;b>"),
        ("    <b>", "    &lt;b>"),
        ("<div>\n\n`<b>`\n\n</div>", "&lt;div>\n\n`<b>`\n\n&lt;/div>"),
        ("</details>", "&lt;/details>"),
        # Links that act are text; others are links.
        ("[a](javascript:b)", "[a]&#40;javascript:b)"),
        ("[a](mailto:b@c.de)", "[a](mailto:b@c.de)"),
        ("[a](../b.md#c) [d](#e)", "[a](../b.md#c) [d](#e)"),
        ("[a](http://b/$c)", "[a](http://b/%24c)"),
        # Dollars: prices and variables are none of TeX's business.
        ("$5", r"\$5"),
        ("$5 and $6", r"<span>\$</span>5 and <span>\$</span>6"),
        ("$HOME, $x$", r"<span>\$</span>HOME, $x$"),
        ("`$HOME` and `$PATH`", "`$HOME` and `$PATH`"),
        ("between $5-$10", r"between <span>\$</span>5-<span>\$</span>10"),
        # Formulas: TeX's own delimiters are made Jupyter's, and no formula opens a tag.
        ("$a<b$", "$a< b$"),
        (r"\(E=mc^2\)", "$E=mc^2$"),
        ("so\n\\[\na_1 < b\n\\]\n", "so\n$$a_1 < b$$\n"),
        (r"\[not a link\]", r"\[not a link\]"),
        (r"$\href{javascript:a}{b}$", r"$\ href{javascript:a}{b}$"),
        (r"$\mmlToken{mi}[href=a]{b}$ $\csname a$", r"$\ mmlToken{mi}[href=a]{b}$ $\ csname a$"),
        # Entities, which only the finished page shows: no edge of a formula, and no command.
        (r"&#36;x&dollar; &#x024;", "<span>&#36;</span>x<span>&#36;</span> <span>&#36;</span>"),
        (r"$\hr&#101;f{a}$", r"$\hr &#101;f{a}$"),
        (r"\hr&#101;f &#92;href", r"\hr<span></span>&#101;f <span>&#92;</span>href"),
        (r"\\&lpar;x\\&rpar;", r"\\<span></span>&lpar;x\\<span></span>&rpar;"),
        (r"\&lpar; AT&amp;T R&D `&#36;`", r"\&lpar; AT&amp;T R&D `&#36;`"),
        (r"$\alpha&\beta \\ &c$ http://b/?&#36;c", r"$\alpha&\beta \\ &c$ http://b/?%24c"),
        ("| a |\n|---|\n| $|x|$ |", "| a |\n|---|\n| $\\vert x\\vert $ |"),
        # Code in a table may hold what parts its cells.
        ("| a |\n|---|\n| `x|y` |", "| a |\n|---|\n| <code>x&#124;y</code> |"),
        ("`x|y`", "`x|y`"),
    ],
)
def test_inline(text: str, safe: str) -> None:
    assert defang(text) == safe


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("```py\nx", "```py\nx\n```\n"),
        ("```", "```\n```\n"),
        ("~~~\nx\n```", "~~~\nx\n```\n~~~\n"),
        # A line that could close a fence for some renderer and not for another closes none.
        ("````\n```\n````\n", "````\n```\n````\n"),
        ("```\n```~\nx\n```\n", "````\n```~\nx\n````\n"),
        # Closed at the margin, or with contents there: still the list item's.
        ("1. a\n   ```\n   x\n```\nb", "1. a\n   ```\n   x\n   ```\nb"),
        ("- a\n  ```\n<script>\n  ```\n", "- a\n  ```\n  <script>\n  ```\n"),
        # Indented too far, by an author who counts differently.
        ("- a:\n      ```\n      x\n      ```\n", "- a:\n\n  ```\n  x\n  ```\n"),
        ("    ```\n    x\n      y\n    ```\n", "```\nx\n  y\n```\n"),
        ("\t```\n\tx\n\t```\n", "```\nx\n```\n"),
        ("- ```py\n  x\n  ```\n- b", "- ```py\n  x\n  ```\n- b"),
        # Jupyter takes the dollars of such code for a formula, up to the next blank line.
        ("- ```\n  echo $A\n  ```\n- b", "- ```\n  echo $A\n  ```\n\n- b"),
        ("```\n\\begin{a}\n```\nb", "```\n\\begin{a}\n```\n\nb"),
        # A quotation ends its fence.
        ("> ```\n> x\nout", "> ```\n> x\n> ```\n\nout"),
        ("> ```\n> x\n```\nout", "> ```\n> x\n> ```\nout"),
        # What stands behind the opening is for the highlighter, and no more.
        ('```js title="a.js"\n```\n', '```js title="a.js"\n```\n'),
        ("~~~ x<script>\n~~~\n", "~~~xscript\n~~~\n"),
        ("``` no `fence`\n", "&#96;&#96;&#96; no `fence`\n"),
    ],
)
def test_fences(text: str, safe: str) -> None:
    assert defang(text).replace("<code>fence</code>", "`fence`") == safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[1;31mred\x1b[0m and \x1b]0;title\x07plain", "red and plain"),
        ("bell\x07 nul\x00 del\x7f esc\x1b!", "bell␇ nul␀ del␡ esc␛!"),
        ("c1 \x85\x9f", "c1 ⟦85⟧⟦9F⟧"),
        ("tab\tnewline\n", "tab\tnewline\n"),
        ("\ud83d\ude00 \ud83d \ude00", "😀 \ufffd \ufffd"),
        ("user\u202egnp.exe", "user⟦RLO⟧gnp.exe"),
        ("\u2067عربي\u2069 \u200fكتب", "\u2067عربي\u2069 \u200fكتب"),
        ("zero\u200bwidth 👩\u200d🚀 e\u0301", "zero\u200bwidth 👩\u200d🚀 e\u0301"),
    ],
)
def test_characters(text: str, shown: str) -> None:
    assert clean(text) == shown
    assert defang(text) == shown


def test_code_hides_no_direction() -> None:
    """The trick by which a program reads as another: bidirectional controls in code are seen."""
    sly = "if admin:\u2066 # \u2069 return"
    assert defang(f"`{sly}`") == "`if admin:⟦LRI⟧ # ⟦PDI⟧ return`"
    assert defang(f"```\n{sly}\n```\n") == "```\nif admin:⟦LRI⟧ # ⟦PDI⟧ return\n```\n"
    assert code_span(sly) == "`if admin:⟦LRI⟧ # ⟦PDI⟧ return`"


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["\ud83d", "\ude00"], "😀"),
        (["a\r", "\nb"], "a\nb"),
        (["\x1b", "[3", "1mred"], "red"),
        (["a\x1b"], "a␛"),
        (["a\ud83d"], "a\ufffd"),
        (["``", "`py\nx\n``", "`\n`<b", ">`"], "```py\nx\n```\n`<b>`"),
    ],
)
def test_a_cut_anywhere_leaves_no_trace(pieces: list[str], shown: str) -> None:
    growing = Growing()
    for piece in pieces:
        growing.append(piece)
        growing.read()
    assert growing.read() == shown


def test_halves_of_characters_are_joined() -> None:
    assert whole("\ud83d\ude00") == "😀"
    assert whole("x\ude00") == "x\ufffd"


def test_plain_text_in_markdown() -> None:
    assert literal("a*b_c <d> [e] `f` $g\nh") == (
        "a&#42;b&#95;c &#60;d> &#91;e&#93; &#96;f&#96; <span>&#36;</span>g h"
    )
    assert code_span("ls -l *.py | wc") == "`ls -l *.py | wc`"
    assert code_span("echo `date`") == "<code>echo &#96;date&#96;</code>"
    assert code_span("kill $$") == "<code>kill &#36;&#36;</code>"
    assert code_span(" \n ") == ""


def test_a_long_answer_is_read_quickly_while_it_grows() -> None:
    growing = Growing()
    took = []
    while sum(map(len, growing._pieces)) + len(growing.read()) < 100_000:
        for line in ORDINARY.splitlines(keepends=True):
            growing.append(line)
            start = time.perf_counter()
            growing.read()
            took.append(time.perf_counter() - start)
    took.sort()
    # The goal is 5 ms for each; the bound leaves room for a machine that does other things as well.
    assert took[len(took) // 2] < 0.005
    assert sum(took) < 3


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ("It said so. And `then` it went on and on. " * 300, r"\.\n\n(It|And)"),
        ("no full stop in sight " * 600, r"[a-z]\n\n[a-z]"),
        ("one line\nand the next\n" * 600, r"\n\n(one|and)"),
        ("- an item\n  - and one in it\n" * 500, r"\n\n- an"),
        ("这是一个很长的段落没有空格。" * 800, "。\n\n这"),
    ],
)
def test_prose_without_end_gets_a_blank_line_where_it_hurts_least(text: str, breaks: str) -> None:
    shown = defang(text)
    added = [m.start() for m in re.finditer("\n\n", shown)]
    assert 1 <= len(added) <= 2 * len(text) / 8192
    assert re.sub(r"\s|\\", "", shown) == re.sub(r"\s", "", text)
    for at in added:
        assert re.search(breaks, shown[at - 3 : at + 8])


def test_a_table_without_end_is_headed_anew_where_it_is_cut() -> None:
    row = "| `x` | some words that fill the table | $y^2$ |\n"
    header = "| name | what | formula |\n|---|:-:|---|\n"
    shown = defang("Here it is:\n\n" + header + row * 600)
    tables = shown.split("\n\n")[1:]
    assert len(tables) > 2
    assert all(table.startswith(header) for table in tables)
    assert shown.count(row.strip()) == 600


def test_a_quoted_fence_before_a_line_without_end_is_kept() -> None:
    text = ">>```\n>> code\n" + "word " * 4000
    growing = Growing()
    for start in range(0, len(text), 500):
        growing.append(text[start : start + 500])
        growing.read()
    assert growing.read() == defang(text)
    assert "> > code" in growing.read()


def test_one_paragraph_without_end_is_read_quickly_while_it_grows() -> None:
    growing, took = Growing(), []
    for _ in range(2000):
        growing.append("The `mean` of **x** is $a_1$, and it goes on. ")
        start = time.process_time()
        growing.read()
        took.append(time.process_time() - start)
    assert sorted(took)[-20] < 0.02  # 3 ms; 30 ms without the cuts


@pytest.mark.parametrize(
    "piece",
    [
        "`", "` ", "$x ", "$$", "\\[ a = ", "\\", "\\!", "!", "- ", "> ", "](", "]:", "[a]: x\n",
        "*[a\n", "[a\n", "$$\n",
        "<a ", "![a", "https://", "\\begin{a} ", "](a \"", "```\n", "\x1b]", "\x9d", "\ud800",
        " \n", "](&#106;", "*", "~~~", "1. ", "|", "\t",
    ],
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    """A text that is made to be slow takes about as long as its length, not as its square."""

    def seconds(length: int) -> float:
        start = time.perf_counter()
        defang(piece * (length // len(piece)))
        return time.perf_counter() - start

    assert seconds(60_000) < 4
