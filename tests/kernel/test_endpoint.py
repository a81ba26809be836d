"""Another server answers: a local model, as Ollama, llama.cpp and vLLM serve it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.error import UsageError

from endpoint import Endpoint, running_endpoint
from familiar_kernel.commands.endpoint import _read
from kernels import Kernel, running_kernel

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SCRIPTS = Path(__file__).parents[1] / "scripts"
OWN_KEY = "sk-ant-the-persons-own"


@pytest.fixture
def local() -> Iterator[Endpoint]:
    with running_endpoint(
        SCRIPTS / "local.yaml", model="qwen3:8b", only=("/v1/messages",)
    ) as running:
        yield running


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel of somebody who is signed in to Claude."""
    with running_endpoint(SCRIPTS / "tools.yaml", model="claude-opus-4-5") as usual:
        env = usual.environment | {"ANTHROPIC_API_KEY": OWN_KEY, "LOCAL_KEY": "for-the-local-one"}
        with running_kernel(tmp_path / "home", arguments=(), env=env) as running:
            yield running


def test_a_local_model_answers_and_what_it_lacks_is_said(kernel: Kernel, local: Endpoint) -> None:
    assert kernel.run("%claude hello").text().startswith("Hello.")
    chosen = kernel.run(f"%claude_endpoint {local.url}/").text()
    assert local.url in chosen
    assert "your sign-in is not sent there" in chosen
    assert "%claude_model" in chosen
    refused = kernel.run("%claude hello")
    assert refused.status == "error"
    assert "%claude_model" in refused.told
    kernel.run("%claude_model qwen3:8b")
    ran = kernel.run("%claude hello")
    assert "Hello from qwen3:8b." in ran.text()
    assert "$" not in ran.text()
    assert "qwen3:8b" in ran.text()
    kernel.run("%claude_budget 0.00001")  # at Claude's prices it would be used up
    assert kernel.run("%claude hello").status == "ok"
    kernel.run("%claude_budget none")
    told = kernel.run("%claude_endpoint").text()
    assert "none came" in told
    assert "not known for this model" in told
    assert "Cost so far" in kernel.run("%claude_status").text()
    # Tools work with it as with any model.
    kernel.run("shelf = ['Dune']")
    assert "Dune" in kernel.run("%claude list").text()
    # Also what the CLI asks beside the conversation goes to the model that was chosen.
    assert {r["model"] for r in local.requests[-3:]} == {"qwen3:8b"}


def test_the_persons_own_key_never_goes_there(kernel: Kernel, local: Endpoint) -> None:
    kernel.run(f"%claude_endpoint {local.url}")
    kernel.run("%claude_model qwen3:8b")
    assert kernel.run("%claude hello").status == "ok"
    assert local.headers
    assert OWN_KEY not in str(local.headers)
    kernel.run(f"%claude_endpoint {local.url} --key-env LOCAL_KEY")
    local.headers.clear()
    assert kernel.run("%claude hello").status == "ok"
    assert {h["authorization"] for h in local.headers} == {"Bearer for-the-local-one"}
    assert OWN_KEY not in str(local.headers)
    assert "for-the-local-one" not in kernel.run("%claude_endpoint").text()


def test_a_key_that_is_set_in_a_cell_is_used(kernel: Kernel, local: Endpoint) -> None:
    assert kernel.run("%claude hello").status == "ok"  # the host runs, without the key
    kernel.run("%env LATER_KEY=set-in-a-cell")
    kernel.run(f"%claude_endpoint {local.url} --key-env LATER_KEY")
    kernel.run("%claude_model qwen3:8b")
    assert kernel.run("%claude hello").status == "ok"
    assert {h["authorization"] for h in local.headers} == {"Bearer set-in-a-cell"}


def test_a_password_in_the_address_is_not_shown(tmp_path: Path, local: Endpoint) -> None:
    address = local.url.replace("//", "//somebody:the-password@") + "/?key=the-key"
    env = local.environment | {"ANTHROPIC_BASE_URL": address}
    with running_kernel(tmp_path / "home", arguments=(), env=env) as running:
        for command in ("%claude_status", "%claude_endpoint"):
            told = running.run(command).text()
            assert local.url in told
            assert "the-password" not in told
            assert "the-key" not in told


@pytest.mark.parametrize("key", ["", " --key-env LOCAL_KEY"])
def test_claudes_own_settings_lead_nowhere_else(
    kernel: Kernel, local: Endpoint, tmp_path: Path, key: str
) -> None:
    env = {
        "ANTHROPIC_AUTH_TOKEN": "token-of-the-settings",
        "ANTHROPIC_CUSTOM_HEADERS": "x-secret: header-of-the-settings",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "CLAUDE_CODE_USE_BEDROCK": "1",
    }
    folder = kernel.home / ".claude"
    folder.mkdir(exist_ok=True)
    settings = {"apiKeyHelper": "echo key-of-the-helper", "env": env}
    (folder / "settings.json").write_text(json.dumps(settings))
    kernel.run(f"%claude_endpoint {local.url}{key}")
    kernel.run("%claude_model qwen3:8b")
    ran = kernel.run("%claude hello")
    assert ran.status == "ok", ran.error
    assert local.headers
    assert not any(secret in str(local.headers) for secret in ("of-the-settings", "of-the-helper"))
    assert "for-the-local-one" not in str([p.cmdline() for p in kernel.family()])
    if key:
        assert {h["authorization"] for h in local.headers} == {"Bearer for-the-local-one"}


def test_a_rehearsal_is_led_nowhere_else(
    start_kernel: Callable[..., Kernel], local: Endpoint, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".claude").mkdir(parents=True)
    settings = {"apiKeyHelper": "echo helper", "env": {"ANTHROPIC_BASE_URL": local.url}}
    (home / ".claude" / "settings.local.json").write_text(json.dumps(settings))
    assert start_kernel(home=home).run("%claude hello").status == "ok"
    assert local.requests == []


def test_the_way_back(kernel: Kernel, local: Endpoint) -> None:
    kernel.run("%claude hello")
    kernel.run(f"%claude_endpoint {local.url}")
    kernel.run("%claude_model qwen3:8b")
    kernel.run("%claude hello")
    kernel.run("%claude_endpoint default")
    kernel.run("%claude_model default")
    seen = len(local.requests)
    ran = kernel.run("%claude hello")
    assert ran.text().startswith("Hello.")
    assert "claude-opus-4-5" in ran.text()
    assert len(local.requests) == seen
    assert kernel.value("get_ipython().kernel.familiar.number") == 3


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("localhost:11434", "write it as http://"),
        ("http://", "is no address"),
        ("http://[::1", "is no address"),
        ("http://h:99999999", "is no address"),
        ("http://h?key=abc", "would stay in the notebook"),
        ("http://sk-secret@h", "would stay in the notebook"),
        ("http://localhost:11434/v1", "leave /v1 away"),
        ("http://me:secret@localhost", "would stay in the notebook"),
        ("http://localhost:1 --key-env NOT_SET", "is not set"),
        ("http://localhost:1 --key", "takes a URL"),
    ],
)
def test_a_wrong_address_is_refused(written: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        _read(written.split())


def test_a_rehearsal_has_no_other_endpoint(start_kernel: Callable[..., Kernel]) -> None:
    ran = start_kernel().run("%claude_endpoint http://localhost:11434")
    assert ran.status == "error"
    assert "rehearsal" in ran.stream("stderr")
