"""``--backend``: every command that loads a model takes it, and what is wrong with it is said before any work."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from osler.cli.app import app
from osler.cli.checks import run_checks
from tests.cli.mini import needs_mini
from tests.cli.running import invoke, loaded_after, require_refusal, spawn

_LOADING = (
    "ask", "chat", "compare", "ehr", "evaluate", "extract", "findings", "index", "locate", "report", "search", "triage",
)  # fmt: skip


def commands() -> dict[str, set[str]]:
    """The options of every command."""
    root = get_command(app)
    context = root.context_class(root)
    found = {}
    for name in root.list_commands(context):  # type: ignore[attr-defined]
        command = root.get_command(context, name)  # type: ignore[attr-defined]
        found[name] = {option for parameter in command.params for option in parameter.opts}
    return found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    place = tmp_path / "picture.png"
    Image.new("L", (64, 64), 90).save(place)
    return place


def test_every_command_with_a_model_takes_a_backend() -> None:
    found = commands()
    assert {name for name, options in found.items() if {"--bits", "--model"} <= options} == set(_LOADING)
    assert {name for name, options in found.items() if "--backend" in options} == set(_LOADING)


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", "{picture}", "Which plane?"),
        ("chat", "{picture}"),
        ("compare", "{picture}", "{picture}"),
        ("ehr", "{picture}", "What?"),
        ("evaluate", "--data", "{folder}"),
        ("extract", "{picture}"),
        ("findings", "{picture}"),
        ("index", "{folder}", "--out", "{folder}/made.index"),
        ("locate", "{picture}", "right lung"),
        ("report", "{picture}"),
        ("search", "{folder}/absent.index", "words"),
        ("triage", "{folder}"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_backend_is_refused_with_the_nearest(arguments: tuple[str, ...], picture: Path) -> None:
    filled = [argument.format(picture=picture, folder=picture.parent) for argument in arguments]
    result = invoke(*filled, "--backend", "jaxx")
    require_refusal(result)
    assert "Unknown backend 'jaxx'" in result.stderr
    assert "Did you mean 'jax'?" in result.stderr


def test_without_jax_the_pip_command_is_given(monkeypatch: pytest.MonkeyPatch, picture: Path) -> None:
    real = importlib.import_module

    def without_jax(name: str, package: str | None = None) -> object:
        if name.split(".")[0] == "jax":
            raise ImportError("No module named 'jax'")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without_jax)
    result = invoke("ask", picture, "Which plane?", "--backend", "jax", "--json")
    error = require_refusal(result, as_json=True)
    assert "'jax', which is not installed" in error["problem"]
    assert error["next_step"] == "pip install 'osler[jax]'"


def test_doctor_without_jax_says_the_pip_command_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from osler.cli import checks

    real = checks._version
    monkeypatch.setattr(checks, "_version", lambda package: None if package == "jax" else real(package))
    check = next(check for check in run_checks() if check.name == "jax")
    assert (check.status, check.next_step) == ("note", "")
    assert "pip install 'osler[jax]'" in check.found


def test_doctor_says_what_jax_sees() -> None:
    jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")
    check = next(check for check in run_checks() if check.name == "jax")
    assert check.status == "ok"
    assert f"jax {jax.__version__}" in check.found
    assert f"{len(jax.devices())} x {jax.devices()[0].platform}" in check.found


def test_osler_and_its_commands_do_not_load_jax() -> None:
    code = "import osler, osler.cli.app, osler.engine.load, osler.engine.session, osler.tasks.ask; osler.load"
    assert "jax" not in loaded_after(code)


def test_a_backend_is_checked_without_torch() -> None:
    assert not {"torch", "jax"} & loaded_after("from osler.engine.backend import check_backend; check_backend('torch')")


@needs_mini
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed: pip install 'osler[jax]'")
def test_the_same_mistake_gets_the_same_words(picture: Path) -> None:
    """An unknown device, and one that is absent."""
    import jax
    import torch

    for device in ("gpuu", "cuda"):
        if device == "cuda" and (torch.cuda.is_available() or jax.default_backend() != "cpu"):
            continue
        said = []
        for backend in ("torch", "jax"):
            result = invoke("ask", picture, "Which plane?", "--backend", backend, "--device", device, "--json")
            said.append(require_refusal(result, as_json=True))
        texts = [error["problem"].replace("JAX", "PyTorch") for error in said]
        assert texts[0] == texts[1]
        assert said[0].get("allowed") == said[1].get("allowed")


@needs_mini
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed: pip install 'osler[jax]'")
def test_64_bits_set_by_the_user_are_refused(monkeypatch: pytest.MonkeyPatch, picture: Path) -> None:
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    run = spawn("ask", picture, "Which plane?", "--backend", "jax", "--json")
    assert run.returncode == 2, run.stderr
    error = json.loads(run.stdout)["error"]
    assert "64 bits" in error["problem"]
    assert "unset JAX_ENABLE_X64" in error["next_step"]
    assert "Traceback" not in run.stderr


@needs_mini
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed: pip install 'osler[jax]'")
def test_too_little_memory_is_told_in_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from osler.engine import load
    from osler.errors import CapacityError

    monkeypatch.setattr(load, "available_memory", lambda: 100 << 20)
    said = []
    for backend in ("torch", "jax"):
        with pytest.raises(CapacityError, match=r"GB of memory .* are free") as caught:
            load.load("osler-mini", bits=32, backend=backend, device="cpu")
        said.append(str(caught.value))
    assert said[0] == said[1]
