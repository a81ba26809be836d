"""Claude's tools for the notebook, as the CLI sees them: an MCP server inside the host.

The server holds names, descriptions and schemas. What a tool does happens in the kernel, to which
every use goes over the link.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, cast

from claude_agent_sdk import McpSdkServerConfig, SdkMcpTool, create_sdk_mcp_server

SERVER = "notebook"
"""The server's name; the CLI calls its tools ``mcp__notebook__NAME``."""


class Kernel(Protocol):
    """The kernel's end of the link, as the session sees it."""

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Have the kernel serve a tool, and return an MCP tool result."""

    def note_use(self, tool: str, tool_input: dict[str, Any], mode: str) -> None:
        """Tell the kernel of a tool that was used without asking."""


class ToolSpec(NamedTuple):
    """One tool. ``looks``: it only looks at what is there, so nobody is asked before it is
    used."""

    name: str
    looks: bool
    description: str
    properties: dict[str, Any]
    required: tuple[str, ...] = ()


_PAGE = {"type": "integer", "minimum": 1, "description": "Which page, from 1."}

TOOLS = (
    ToolSpec(
        "list_variables",
        True,
        "List the variables of the person's notebook: name, type, shape, size, a short value, and "
        "whether they are new or have changed since your last turn.",
        {
            "pattern": {"type": "string", "description": "Only names that match, e.g. df*."},
            "page": _PAGE,
        },
    ),
    ToolSpec(
        "describe_variable",
        True,
        "Describe one variable, or an attribute or item of one (df, df['x'], model.layers[0]): a "
        "data frame's columns, nulls and ranges, an array's statistics, a mapping's keys, an "
        "object's attributes. Nothing large is copied.",
        {
            "expression": {
                "type": "string",
                "description": "A name with attributes and constant subscripts; no calls.",
            },
            "page": _PAGE,
        },
        ("expression",),
    ),
    ToolSpec(
        "read_cells",
        True,
        "Read the cells that ran in this kernel, with what they printed, showed and raised, newest "
        "last. Pictures are included where one cell is asked for.",
        {
            "number": {
                "type": "integer",
                "description": "Only the cell with this execution count, as in In [7].",
            },
            "page": {**_PAGE, "description": "Which page, from 1, which is the newest."},
        },
    ),
    ToolSpec(
        "last_error",
        True,
        "Look at the last exception that a cell raised: its chain, and for each frame the source "
        "and the local variables (post mortem).",
        {"page": _PAGE},
    ),
    ToolSpec(
        "look_at_picture",
        True,
        "Look at a plot or an image: a matplotlib figure or axes, an image, an array of pixels, or "
        "whatever shows itself as a picture, by its expression; or the pictures that a cell "
        "showed, by its number. Large ones are scaled down.",
        {
            "expression": {
                "type": "string",
                "description": "A name with attributes and constant subscripts; no calls.",
            },
            "number": {"type": "integer", "description": "A cell's execution count."},
        },
    ),
    ToolSpec(
        "run_python",
        False,
        "Run Python in the person's notebook, with their variables, as a cell of theirs would: "
        "magics and top-level await work, the last expression is shown, and the output appears in "
        "the notebook below your answer. Returns what it printed, showed and raised. There is no "
        "time limit; the person can interrupt it.",
        {"code": {"type": "string", "description": "The code, as in a cell."}},
        ("code",),
    ),
    ToolSpec(
        "propose_cell",
        True,
        "Put code into a new cell below this one, for the person to look at and run themselves. "
        "The last proposal of a turn counts.",
        {"code": {"type": "string", "description": "The code, as in a cell."}},
        ("code",),
    ),
)


def full_name(name: str) -> str:
    """Return the name by which the CLI knows a tool."""
    return f"mcp__{SERVER}__{name}"


LOOKING = [full_name(spec.name) for spec in TOOLS if spec.looks]
"""The tools that need no permission, by the CLI's names."""


def server(kernel: Kernel) -> McpSdkServerConfig:
    """Return the server for the SDK's ``mcp_servers``."""
    config = create_sdk_mcp_server(SERVER, tools=[_tool(spec, kernel) for spec in TOOLS])
    # Or the CLI would keep their schemas back until Claude searches for them: a turn more.
    return cast("McpSdkServerConfig", {**config, "alwaysLoad": True})


def _tool(spec: ToolSpec, kernel: Kernel) -> SdkMcpTool[Any]:
    async def use(arguments: dict[str, Any]) -> dict[str, Any]:
        return await kernel.call(spec.name, arguments)

    schema = {
        "type": "object",
        "properties": spec.properties,
        "required": list(spec.required),
        "additionalProperties": False,
    }
    return SdkMcpTool(spec.name, spec.description, schema, use)
