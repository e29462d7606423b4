"""Programs that are found again: without tracing, apart for every shape and setting, and compiled anew if broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

from osler.jax.compilation import SETTING, keep_compiled_programs, kept_in  # noqa: E402
from osler.jax.kv_cache import LayerKeys  # noqa: E402
from osler.jax.programs import Program  # noqa: E402
from tests.jax.test_compilation import as_before  # noqa: E402, F401 (a fixture)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(SETTING, str(tmp_path))
    keep_compiled_programs()
    found = kept_in()
    assert found is not None
    return found


def counted() -> tuple[Program, list[int]]:
    """A program of a function that notes when it is traced; as a new process makes it."""
    traced: list[int] = []

    def scaled(x: jax.Array, rest: dict, *, config: int) -> dict:
        traced.append(config)
        return {"sum": x * config + rest["y"], "rest": (x, None)}

    return Program(scaled, donate=("rest",)), traced


def run(program: Program, size: int = 3, config: int = 2) -> np.ndarray:
    x, y = (jax.device_put(np.ones(size)) for _ in range(2))
    return np.asarray(program(x, {"y": y}, config=config)["sum"])


def test_a_second_process_does_not_trace(folder: Path) -> None:
    first, traced = counted()
    assert run(first).tolist() == run(first).tolist() == [3.0] * 3
    assert (len(traced), first.shapes, len(list(folder.glob("scaled-*.program")))) == (1, 1, 1)
    second, traced = counted()
    assert run(second).tolist() == [3.0] * 3
    assert traced == []
    # Another shape and another configuration are programs of their own.
    assert run(second, size=4).tolist() == [3.0] * 4
    assert run(second, config=5).tolist() == [6.0] * 3
    assert traced == [2, 5]


def test_named_tuples_come_back_as_their_types(folder: Path) -> None:
    def turned(keys: LayerKeys, *, config: int) -> tuple[LayerKeys, list[jax.Array]]:
        return LayerKeys(keys.values * config, keys.keys), [keys.keys]

    given = LayerKeys(*(jax.device_put(np.full(2, value)) for value in (1.0, 2.0)))
    Program(turned)(given, config=3)
    assert len(list(folder.glob("turned-*.program"))) == 1

    def never(keys: LayerKeys, *, config: int) -> None:
        raise AssertionError("traced again")

    never.__name__ = "turned"
    found, (alone,) = Program(never)(given, config=3)
    assert isinstance(found, LayerKeys)
    assert (found.keys.tolist(), found.values.tolist(), alone.tolist()) == ([6.0] * 2, [1.0] * 2, [1.0] * 2)


def test_jax_settings_keep_programs_apart(folder: Path) -> None:
    run(counted()[0])
    with jax.default_matmul_precision("bfloat16"):
        program, traced = counted()
        run(program)
    assert traced == [2]


@pytest.mark.parametrize("broken", [b"", b"no program", None])
def test_a_broken_file_is_compiled_anew(broken: bytes | None, folder: Path) -> None:
    run(counted()[0])
    (path,) = folder.glob("*.program")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if broken is None else broken)
    program, traced = counted()
    assert run(program).tolist() == [3.0] * 3
    assert traced == [2]
    assert run(counted()[0]).tolist() == [3.0] * 3


def test_off_by_request_and_in_a_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv(SETTING, "off")
    assert kept_in() is None
    assert run(counted()[0]).tolist() == [3.0] * 3
    monkeypatch.delenv(SETTING)
    jax.config.update("jax_compilation_cache_dir", str(folder.parent / "own"))
    assert kept_in() is None
    assert not list(folder.glob("*.program"))
