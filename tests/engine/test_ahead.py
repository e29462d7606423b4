"""Studies are read before their turn, once, in order."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch

import osler.engine.ahead as ahead_module
from osler.engine.ahead import Ready, Request, draw_ahead, read_ahead, run_ahead, when_to_encode
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


def test_work_is_done_in_order_and_no_more_than_is_held_ready() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number**2

    rows = run_ahead(range(9), work, ahead=2)
    assert next(rows) == 0
    assert max(begun, default=0) <= 2
    assert list(rows) == [number**2 for number in range(1, 9)]
    assert begun == list(range(9))


def test_a_generator_is_drawn_in_a_thread_of_its_own_and_closed() -> None:
    threads: set[str] = set()
    closed = threading.Event()

    def source() -> Generator[int, None, None]:
        try:
            for number in range(100):
                threads.add(threading.current_thread().name)
                yield number
        finally:
            closed.set()

    rows = draw_ahead(source(), ahead=3)
    assert [next(rows) for _ in range(5)] == [0, 1, 2, 3, 4]
    rows.close()
    assert closed.is_set()
    assert all(name.startswith("osler-ahead") for name in threads)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("osler-ahead")]
    assert list(draw_ahead(source(), ahead=3)) == list(range(100))


def test_an_exception_comes_up_in_its_turn() -> None:
    def source() -> Generator[int, None, None]:
        yield 1
        yield 2
        raise ZeroDivisionError

    rows = draw_ahead(source(), ahead=5)
    assert (next(rows), next(rows)) == (1, 2)
    with pytest.raises(ZeroDivisionError):
        next(rows)
    assert list(rows) == []


def test_images_are_encoded_ahead_only_where_a_core_is_free() -> None:
    cpu = torch.device("cpu")
    assert when_to_encode(cpu, threads=1, cores=2) == ("ahead", "the network uses 1 of 2 cores")
    assert when_to_encode(cpu, threads=2, cores=2) == ("in turn", "the network uses all 2 cores")
    assert when_to_encode(torch.device("cuda"), threads=1, cores=16).value == "in turn"
