"""The house keeps its order: a folder imports only from folders above it, and heavy things only where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "osler"
ORDER = (
    "study", "readers", "prepare", "model", "weights", "quant", "jax", "engine",
    "tasks", "writers", "synth", "train", "evaluate", "serve", "cli",
)  # fmt: skip
NO_TORCH = ("study", "readers", "prepare", "writers", "synth", "cli")
FORBIDDEN = {"pickle", "marshal", "shelve", "requests", "httpx", "urllib3", "socket", "urllib.request", "http.client"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Names of the modules that a file imports, ``from a import b`` as ``a``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def folder_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_above(path: Path) -> None:
    folder = folder_of(path)
    modules = list(imports(path))
    assert not FORBIDDEN & set(modules)
    if folder not in ORDER:
        return
    below = set(ORDER[ORDER.index(folder) + 1 :])
    found = {module for module in modules if module.startswith("osler.") and module.split(".")[1] in below}
    assert not found, f"{folder}/ imports from below: {sorted(found)}"


@pytest.mark.parametrize("folder", NO_TORCH)
def test_torch_stays_out_of(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        found = [
            module for module in imports(path, top_level=True) if module.split(".")[0] in {"torch", "transformers"}
        ]
        assert not found, path


def test_only_commands_print() -> None:
    for path in FILES:
        calls = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        ]
        assert folder_of(path) == "cli" or not calls, f"{path} prints in lines {calls}"


def test_every_folder_is_in_the_order() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} <= set(ORDER)
