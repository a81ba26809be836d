"""What Claude writes cannot act: rendered by nbconvert, it has no element or address of its own.

nbconvert's renderer sanitises nothing and reads formulas before everything else, which makes it the
hardest of those that an answer meets. The others (JupyterLab's marked, markdown-it, GitHub's)
disagree with it at the edges; the cases in DISAGREEMENTS were found by rendering some hundred
thousand random texts with all of them, each as short as it could be made, with what makes them
agree.
"""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nbconvert.filters.markdown import markdown2html

from familiar_kernel.answer import markdown
from familiar_kernel.answer.inline import code_span, literal
from familiar_kernel.answer.markdown import Growing, defang
from familiar_kernel.answer.record import Answer
from familiar_kernel.answer.render import final
from familiar_kernel.answer.transcript import Transcript
from familiar_kernel.familiar.protocol import TextDelta, ThinkingDelta, ToolUse, TurnFinished

MARKDOWN_ELEMENTS = {
    "a", "abbr", "blockquote", "br", "code", "dd", "del", "div", "dl", "dt", "em", "h1", "h2", "h3",
    "h4", "h5", "h6", "hr", "img", "input", "li", "ol", "p", "pre", "section", "span", "strong",
    "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
OUR_ELEMENTS = MARKDOWN_ELEMENTS | {"details", "summary", "small"}
ATTRIBUTES = {
    "alt", "align", "checked", "class", "disabled", "href", "id", "src", "start", "title", "type"
}  # fmt: skip
STYLES = re.compile(r"text-align: ?(left|right|center);?|margin-bottom: 1em|opacity: 0\.75")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class Faults(HTMLParser):
    """Collects what an answer may not contain."""

    def __init__(self, elements: set[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.elements = elements
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.elements:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            text = re.sub(r"[\x00-\x20]", "", value or "")
            if name == "style" and STYLES.fullmatch(value or ""):
                continue
            if name not in ATTRIBUTES:
                self.found.append(f"<{tag} {name}>")
            scheme = SCHEME.match(text)
            if (
                name == "href"
                and scheme
                and scheme[0].lower() not in ("http:", "https:", "mailto:")
            ):
                self.found.append(f"link to {value}")
            loads = scheme and not text.startswith("data:image/png;base64,")
            if name == "src" and (loads or text.startswith(("/", "\\"))):
                self.found.append(f"loads {value}")

    def handle_comment(self, data: str) -> None:
        self.found.append("a comment")

    def handle_decl(self, decl: str) -> None:
        self.found.append("a declaration")

    def handle_pi(self, data: str) -> None:
        self.found.append("a processing instruction")


def faults(markdown: str, elements: set[str] = MARKDOWN_ELEMENTS) -> list[str]:
    parser = Faults(elements)
    parser.feed(str(markdown2html(markdown)))
    parser.close()
    return parser.found


# Pieces that mean something to Markdown, HTML or TeX, most of them broken off.
PIECES = r"""
` `` ``` ```` ~~~ ~~~~ <b> <script>x</script> <!-- --> </details> <a&nbsp;href=" "> <? <![CDATA[
]]> <img&nbsp;src=http://e/x&nbsp;onerror=a> <iframe&nbsp;src=x> $ $$ \ \$ \` \< text b|c | - 1. *
> # ![ ]( [ ] ](http://e/x) ](javascript:alert(1)) ![a](http://e/x) [a](x&nbsp;" ") ") ' ( ) ][
[r] ![r] ![x][r] [r]: [r]:&nbsp;javascript:x [^1] [^1]: <https://a.b> <javascript:a> https://a.b/
www.a.b `<i>` ``<i>`x`` `|<i>` html mermaid \\[ \\] \\( \\) \begin{a} \end{a}
\href{javascript:x}{y} &lt; &#60;b&#62; &colon; javascript&colon;x ** _ ~~ == !! ! *[b]: a@b.c
@@0@@ + 10. \( \) [[ ]] { } &#33;[x](http://e/x) ](data:text/html,x) data:image/png;base64,AAAA
![q](a.png) \![x](http://e/x) !\[x](http://e/x) : ^
""".replace("&nbsp;", "\0").split()
PIECES = [piece.replace("\0", " ") for piece in PIECES] + [
    "\n", "\n\n", "\n", " ", "    ", "\t", "|---|---|\n", "---\n", "===\n", "```html\n<b>\n```\n",
    "   ```\n", "    ```", "- ```\n", "> ```\n", "\u2028", "\x0b", "\x0c", "\r", "\x85", "\xa0",
    "\x00", "\x1b[1m", "\x1b]0;x\x07", "\ud83d", "\ude00",
]  # fmt: skip
PREFIXES = [
    "",
    "",
    "",
    "  ",
    "   ",
    "    ",
    "\t",
    "- ",
    "1. ",
    "  - ",
    "   - ",
    "> ",
    "> > ",
    "> - ",
]
PREFIXES += ["- > ", "2. ", ">", "      ", "* ", "10. "]

salad = st.lists(st.sampled_from(PIECES), min_size=1, max_size=25).map("".join)
lines = st.lists(
    st.tuples(
        st.sampled_from(PREFIXES), st.lists(st.sampled_from(PIECES), max_size=3).map(" ".join)
    ),
    min_size=1,
    max_size=14,
).map(lambda rows: "\n".join(prefix + body for prefix, body in rows))
anything = st.text(st.characters(codec=None), max_size=60)
hostile = st.one_of(salad, lines, anything)

thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@thorough
@given(hostile)
@example("a ` b\nc `<script>alert(1)</script>` d")
@example('[a](x "`") `b` <script> `c`')
@example("```mermaid\n</pre><script>alert(1)</script>\n```")
@example("$$ `x`\n\n```\n$$ <script>\n```")
def test_no_element_of_claudes_own(text: str) -> None:
    assert faults(defang(text)) == []


@thorough
@given(hostile, hostile, hostile)
def test_no_element_of_claudes_own_in_a_whole_answer(thought: str, text: str, summary: str) -> None:
    markdown = bundle(thought, text, summary)["text/markdown"]
    assert faults(markdown, OUR_ELEMENTS) == []
    html = str(markdown2html(markdown))
    assert html.count("<details") == html.count("</details>") == markdown.count("<details")
    assert html.count("<small") == html.count("</small>") == markdown.count("<small")


def bundle(thought: str, text: str, summary: str) -> dict[str, str]:
    transcript = Transcript(clock=lambda: 0.0)
    for event in (
        ThinkingDelta("t", thought),
        TextDelta("t", text),
        ToolUse("t", "1", "Bash", summary, "running"),
        TextDelta("t", text),
        TurnFinished("t", "stopped", seconds=1.0, model=summary),
    ):
        transcript.add(event)
    data: dict[str, str] = final(transcript)[0]
    return data


@pytest.mark.parametrize("longest", [markdown._LONGEST, 24])
@thorough
@given(text=hostile, chance=st.randoms(use_true_random=False))
def test_growing_ends_as_the_whole(longest: int, text: str, chance: random.Random) -> None:
    """What is shown at the end is the same at whatever places the text was cut on its way."""
    with patch.object(markdown, "_LONGEST", longest):
        _grow(text, chance)


def _grow(text: str, chance: random.Random) -> None:
    growing = Growing()
    position = 0
    while position < len(text):
        size = chance.randint(1, 12)
        growing.append(text[position : position + size])
        position += size
        if chance.random() < 0.7:
            assert faults(growing.read()) == []
    assert growing.read().rstrip("\n") == defang(text).rstrip("\n")


@pytest.mark.parametrize("longest", [markdown._LONGEST, 24])
@thorough
@given(text=hostile)
def test_what_stands_for_good_can_be_shown_apart(longest: int, text: str) -> None:
    with patch.object(markdown, "_LONGEST", longest):
        _settle(text)


def _settle(text: str) -> None:
    growing, start = Growing(), 0
    for character in text:
        growing.append(character)
        whole = growing.read()
        settled = growing.settled(start)
        assert faults(whole[start:settled]) == []
        start = settled


@thorough
@given(hostile)
def test_plain_text_stays_plain(text: str) -> None:
    for made in (literal(text), f"- **{literal(text)}** {code_span(text)}"):
        assert "\n" not in made
        assert faults(made) == []


@thorough
@given(anything)
def test_whatever_comes_can_be_stored(text: str) -> None:
    data = bundle(text, text, text)
    for stored in data.values():
        stored.encode("utf-8")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", stored)
    transcript = Transcript(clock=lambda: 0.0)
    transcript.add(TextDelta("t", text))
    transcript.stop("stopped")
    str(Answer.from_transcript(transcript)).encode("utf-8")


DISAGREEMENTS = {
    # An address that goes on over what looks like its end.
    "](http://x)`<i>`": "](http://x)<code>&#60;i&#62;</code>",
    "http://a\xa0`<x>`": "http://a\xa0<code>&#60;x&#62;</code>",
    "http://e<d`<i>`": "http://e&lt;d<code>&#60;i&#62;</code>",
    "$http://6$`<i>`": "\\$http://6%24<code>&#60;i&#62;</code>",
    # Backticks that some pair otherwise.
    "~`<x>`": "~<code>&#60;x&#62;</code>",
    "`>``>`*`<i>*`": "<code>&#62;&#96;&#96;&#62;</code>*<code>&#60;i&#62;&#42;</code>",
    "*``<t>`*``": "*<code>&#60;t&#62;&#96;&#42;</code>",
    "~~\\ ```<t>~~```": "~~\\ <code>&#60;t&#62;&#126;&#126;</code>",
    "a ` b\nc `<b>` d": "a <code>b c</code>&lt;b>&#96; d",
    "[```](a:)```": "&#91;<code>&#93;&#40;a&#58;&#41;</code>",
    "[`)``]()<i>`": "&#91;<code>&#41;&#96;&#96;&#93;&#40;&#41;&#60;i&#62;</code>",
    "[](\\)`)<t>`": "[](\\)<code>&#41;&#60;t&#62;</code>",
    "`|<i>`\n|": "<code>&#124;&#60;i&#62;</code>\n|",
    # Formulas that end elsewhere, or in a code block.
    "`$$ <i>` and `$$`": "<code>&#36;&#36; &#60;i&#62;</code> and <code>&#36;&#36;</code>",
    "\\\\[\n```\n\\\\]<b>": "\\\\&#91;\n```\n\\\\]<b>\n```\n",
    "\\\\begin{a}\n```\n\\end{a}<i>": "&#92;begin{a}\n```\n\\end{a}<i>\n```\n",
    "y$$\n$$\n```\n<i>$$": "y$$ $$\n```\n<i>$$\n```\n",
    "```\n\\begin{a}\n```\n\\end{a}": "```\n\\begin{a}\n```\n\n&#92;end{a}",
    'http://b\\\\["\\\\]': "http://b\\\\[''\\\\]",
    # Links and pictures behind backslashes, brackets and entities.
    "[r]:)&colon;\n[r]": "[r]&#58;)&colon;\n[r]",
    "[[!\\[](/)]()": "[[&#33;\\[](/)]()",
    "[[!\\![](/)]()": "[[!&#33;[](/)]()",
    '[[]( " ](t:")': '[[]( " ]&#40;t:")',
    "[a\n\n```\nb]: http://c\n<i>\n```\n": "&#91;a\n\n```\nb]: http://c\n<i>\n```\n",
    "*[a [b\n\n```\nc]: d\n<i>\n```\n": "*&#91;a [b\n\n```\nc]: d\n<i>\n```\n",
    # A fence that is an address, part of a paragraph, or in a list that some see and others do not.
    "[r]:\n```\n<b>": "[r]&#58;\n```\n<b>\n```\n",
    "+ :\n> ```\n><b>": "+ :\n\n> ```\n> <b>\n> ```\n",
    "> - ```\n2. ```\n\n<b>": "> ```\n> ```\n\n2. ```\n\n   <b>\n   ```\n",
    ">-\n2. $\n>%\nd\n~~~\n<b>": ">-\n2. \\$\n>%\nd\n\n~~~\n<b>\n~~~\n",
    "- }\n      %\n      ~~~\n<!-->": "- }\n      %\n\n  ~~~\n  <!-->\n  ~~~\n",
    "`\n: \n - ```\n><b>": "&#96;\n&#58; \n\n- ```\n  ><b>\n  ```\n",
    "x\n\t\n2. ~~~\n1. <details |": "x\n\n2. ~~~\n   1. <details |\n   ~~~\n",
}


@pytest.mark.parametrize("text", DISAGREEMENTS)
def test_renderers_have_nothing_to_disagree_about(text: str) -> None:
    assert defang(text) == DISAGREEMENTS[text]
    assert faults(defang(text)) == []


@pytest.mark.parametrize(
    "picture",
    [
        "![a](http://e.example/?q=secret)",
        "![a](//e.example/x.png)",
        "![a](\\\\e.example\\x.png)",
        "![a](https&colon;//e.example/x.png)",
        "![a](/hub/logout)",
        "![a](data:image/svg+xml;base64,AAAA)",
        "![a](<http://e.example/x.png>)",
        '![a](http://e.example/x.png "t")',
        "![a][r]\n\n[r]: http://e.example/x.png",
        "![r]\n\n[r]: http://e.example/x.png",
        "![r][]\n\n[r]: http://e.example/x.png",
        "[![a](http://e.example/x.png)](http://e.example)",
        "!![a](http://e.example/x.png)",
        "![a\n](http://e.example/x.png)",
        '<img src="http://e.example/x.png">',
    ],
)
def test_pictures_of_strangers_are_not_loaded(picture: str) -> None:
    assert "<img" not in str(markdown2html(defang(picture)))


def test_a_picture_of_a_stranger_is_a_link() -> None:
    assert defang("see ![a cat](https://e.example/cat.png)") == (
        "see [image: a cat](https://e.example/cat.png)"
    )
    html = str(markdown2html(defang("![a cat][r]\n\n[r]: https://e.example/cat.png")))
    assert '<a href="https://e.example/cat.png">image: a cat</a>' in html


@pytest.mark.parametrize(
    "picture",
    ["![plot](plot.png)", "![p](figures/p_1.jpeg)", "![d](data:image/png;base64,iVBORw0KGgo=)"],
)
def test_pictures_that_ask_no_stranger_stay(picture: str) -> None:
    assert defang(picture) == picture
    assert "<img" in str(markdown2html(picture))


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        "javascript&colon;alert(1)",
        "&#106;avascript:alert(1)",
        "&#x6A;&#x61;vascript&#58;alert(1)",
        "&#" + "0" * 300 + "106;avascript:alert(1)",
        "java\\script:alert(1)",
        " \n javascript:alert(1)",
        "<javascript:alert(1)>",
        "vbscript:x",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize(
    "form", ["[a]({})", "[a][r]\n\n[r]: {}", '[a]({} "t")', "<{}>", "![a]({})"]
)
def test_links_that_act_are_text(form: str, address: str) -> None:
    assert faults(defang(form.format(address))) == []


@pytest.mark.parametrize(
    "diagram",
    [
        'A@{ img: "https://e.example/x" }',
        "A-->B</pre><script>alert(1)</script>",
        "%%{init: {'themeCSS': '* {}'}}%%",
        'click A "javascript:alert(1)"',
        "A[<img src=x>]",
    ],
)
@pytest.mark.parametrize("info", ["mermaid", "Mermaid", "mermaidx"])
def test_diagrams_that_could_load_something_are_shown_as_source(info: str, diagram: str) -> None:
    assert defang(f"```{info}\ngraph TD\n{diagram}\n```\n").startswith("```text\n")


def test_diagrams_stay() -> None:
    text = "```mermaid\ngraph TD\nA[one<br/>line] -->|yes| B{two}\n```\n"
    assert defang(text) == text
