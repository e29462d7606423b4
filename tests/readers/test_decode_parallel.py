"""Decoding over all cores: the same values by threads, by processes, and when a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pydicom
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

from osler.errors import FileFormatError
from osler.readers import decode_parallel, open_study
from osler.readers.blob import DiskBlob
from osler.readers.decode_job import Job
from osler.readers.decode_parallel import decode_all
from osler.readers.decode_process import DecodeProcess
from tests.readers.make_dicom import ramp, write_series

PACKED = Path(pydicom.__file__).parent / "data/test_files/MR_small_jp2klossless.dcm"


def _jobs(count: int) -> list[Job]:
    blob = DiskBlob(PACKED, PACKED.stat().st_size)
    return [
        Job(blob=blob, syntax=JPEG2000Lossless, frames=(0,), targets=(number,), shape=(64, 64))
        for number in range(count)
    ]


def _decode(jobs: list[Job], *, packed: bool) -> dict[int, np.ndarray]:
    taken: dict[int, np.ndarray] = {}
    decode_all(jobs, take=lambda target, array: taken.update({target: array}), packed=packed)
    return taken


@pytest.fixture
def several_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_parallel, "cores", lambda: 3)
    monkeypatch.setattr(decode_parallel, "_PROCESS_FROM", 1)


def _check(taken: dict[int, np.ndarray], *, count: int) -> None:
    expected = dcmread(PACKED).pixel_array
    assert sorted(taken) == list(range(count))
    assert all(np.array_equal(array, expected) and array.dtype == expected.dtype for array in taken.values())


def test_threads() -> None:
    _check(_decode(_jobs(20), packed=False), count=20)


def _count_processes(monkeypatch: pytest.MonkeyPatch, started: list[DecodeProcess]) -> None:
    original = DecodeProcess.start

    def counted() -> DecodeProcess | None:
        process = original()
        if process is not None:
            started.append(process)
        return process

    monkeypatch.setattr(DecodeProcess, "start", counted)


@pytest.mark.usefixtures("several_cores")
def test_processes_take_part_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[DecodeProcess] = []
    _count_processes(monkeypatch, started)
    # Nothing is decoded in this process.
    monkeypatch.setattr(decode_parallel, "decode_frames", lambda *args, **kwargs: iter(()))
    _check(_decode(_jobs(30), packed=True), count=30)
    assert len(started) == 3
    assert not any(process.is_running() for process in started)


@pytest.mark.usefixtures("several_cores")
def test_a_process_that_dies_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[DecodeProcess] = []
    _count_processes(monkeypatch, started)
    taken: dict[int, np.ndarray] = {}

    def take(target: int, array: np.ndarray) -> None:
        taken[target] = array
        if len(taken) == 5:
            for process in started:
                process.stop()

    decode_all(_jobs(40), take=take, packed=True)
    _check(taken, count=40)


@pytest.mark.usefixtures("several_cores")
def test_a_python_that_cannot_start_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    _check(_decode(_jobs(20), packed=True), count=20)


@pytest.mark.usefixtures("several_cores")
@pytest.mark.parametrize("packed", [True, False])
def test_an_error_in_any_thread_is_raised_once(tmp_path: Path, packed: bool) -> None:
    raw = bytearray(PACKED.read_bytes())
    start = raw.index(b"\xff\x4f\xff\x51")
    raw[start : start + 60] = bytes(60)
    (tmp_path / "bad.dcm").write_bytes(raw)
    bad = DiskBlob(tmp_path / "bad.dcm", len(raw))
    jobs = _jobs(30)
    jobs[17] = Job(blob=bad, syntax=JPEG2000Lossless, frames=(0,), targets=(17,), shape=(64, 64))
    with pytest.raises(FileFormatError, match=r"bad\.dcm: its pixels \(JPEG 2000.*cannot be decoded"):
        _decode(jobs, packed=packed)


def test_a_frame_of_another_size_is_refused() -> None:
    (job,) = _jobs(1)
    wrong = Job(blob=job.blob, syntax=job.syntax, frames=(0,), targets=(0,), shape=(32, 32))
    with pytest.raises(FileFormatError, match=r"\(64, 64\) pixels where the header says \(32, 32\)"):
        _decode([wrong], packed=False)


def test_frames_that_are_not_there() -> None:
    (job,) = _jobs(1)
    wrong = Job(blob=job.blob, syntax=job.syntax, frames=(0, 5), targets=(0, 1), shape=(64, 64))
    with pytest.raises(FileFormatError, match="MR_small_jp2klossless"):
        _decode([wrong], packed=False)


_ENDLESS = """
import os, pathlib, sys
from osler.readers import decode_parallel
from osler.readers.blob import DiskBlob
from osler.readers.decode_job import Job

decode_parallel.cores, decode_parallel._PROCESS_FROM = (lambda: 2), 1
path = pathlib.Path(sys.argv[1])
blob = DiskBlob(path, path.stat().st_size)
jobs = [
    Job(blob=blob, syntax="1.2.840.10008.1.2.4.90", frames=(0,), targets=(number,), shape=(64, 64))
    for number in range(10**6)
]
decode_parallel.decode_all(jobs, take=lambda target, array: os.write(1, b"%d\\n" % target), packed=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_ends_the_processes_too() -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS, PACKED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    while int(run.stdout.readline()) < 100:
        continue
    helpers = psutil.Process(run.pid).children()
    assert len(helpers) == 2
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert psutil.wait_procs(helpers, timeout=60)[1] == []


def test_values_are_the_same_whatever_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, volume=ramp(40))
    (volume,) = open_study(tmp_path).volumes()
    monkeypatch.setattr(decode_parallel, "cores", lambda: 1)
    alone = volume.read()
    monkeypatch.setattr(decode_parallel, "cores", lambda: 4)
    assert np.array_equal(volume.read(), alone)


@pytest.mark.usefixtures("several_cores")
def test_processes_take_the_short_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = np.random.default_rng(3).integers(-900, 900, (12, 48, 40)).astype("int16")
    for path in write_series(tmp_path, volume=voxels):
        ds = dcmread(path)
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        ds.save_as(path)
    (volume,) = open_study(tmp_path).volumes()
    monkeypatch.setattr(decode_parallel, "decode_frames", lambda *args, **kwargs: iter(()))
    assert np.array_equal(volume.read(), voxels)
    assert np.array_equal(volume.read(slices=[7, 2]), voxels[[7, 2]])


def test_the_worker_needs_neither_torch_nor_pydicom() -> None:
    code = (
        "import sys, openjpeg, osler.readers.decode_worker;"
        "print(sorted({'torch', 'nibabel', 'pydicom'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_worker_imports_nothing_from_the_folder_it_runs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("open('taken', 'w').close()\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    process = DecodeProcess.start()
    assert process is not None
    try:
        (job,) = _jobs(1)
        assert process.send(job)
        (array,) = process.receive(job)
        assert np.array_equal(array, dcmread(PACKED).pixel_array)
    finally:
        process.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["json.py"]
