"""Studies are read before their turn, once, in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import osler.engine.ahead as ahead_module
from osler.engine.ahead import Ready, Request, read_ahead
from osler.errors import FileFormatError
from osler.prepare import Preprocess
from osler.study import Affine, Study
from tests.readers.make_dicom import ramp, write_series

CONTRACT = Preprocess(image_size=32, image_tokens=4)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    affine = Affine.from_parts(spacing=(0.8, 0.8, 2.0))
    for name in "abc":
        (tmp_path / name).mkdir()
        write_series(tmp_path / name, volume=ramp(3), affine=affine)
    return [tmp_path / name for name in "abc"]


def test_requests_come_in_order_with_their_images(paths: list[Path]) -> None:
    requests: list[Request] = [(paths[0], "one"), (None, "two"), (paths[1], "three"), (paths[1], "four")]
    ready = list(read_ahead(requests, preprocess=CONTRACT))
    assert all(isinstance(one, Ready) for one in ready)
    assert [one.question for one in ready] == ["one", "two", "three", "four"]
    assert [len(one.prepared.pixels) if one.prepared else 0 for one in ready] == [3, 0, 3, 3]
    assert ready[3].study is ready[2].study
    assert set(ready[2].seconds) == {"read", "prepare"}
    assert ready[3].seconds == {}


def test_what_cannot_be_read_does_not_stop_the_rest(paths: list[Path], tmp_path: Path) -> None:
    requests: list[Request] = [(paths[0], "one"), (tmp_path / "absent", "two"), (paths[2], "three")]
    first, second, third = read_ahead(requests, preprocess=CONTRACT)
    assert isinstance(first, Ready)
    assert isinstance(second, FileFormatError)
    assert isinstance(third, Ready)


def test_the_next_study_is_read_while_the_present_one_is_used(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = {path: threading.Event() for path in paths}
    plain = ahead_module.open_study

    def open_and_tell(path: Path) -> Study:
        study = plain(path)
        opened[path].set()
        return study

    monkeypatch.setattr(ahead_module, "open_study", open_and_tell)
    rows = read_ahead([(path, "?") for path in paths], preprocess=CONTRACT)
    next(rows)
    assert opened[paths[1]].wait(timeout=30)
    assert not opened[paths[2]].is_set()  # no more than one study ahead
    rows.close()


def test_requests_are_taken_only_as_needed(paths: list[Path]) -> None:
    taken: list[Path] = []

    def requests() -> Iterator[Request]:
        for path in paths:
            taken.append(path)
            yield path, "?"

    rows = read_ahead(requests(), preprocess=CONTRACT)
    next(rows)
    assert taken == paths[:2]
    rows.close()
