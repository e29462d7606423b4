"""Runs: the same bytes however they are made, and after whatever stops them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from osler.errors import CapacityError, DataError, RequestError
from osler.synth.manifest import JOURNAL, MANIFEST, read_manifest
from osler.synth.report_run import write_reports
from osler.synth.shards import ReportRun

RUN = ReportRun(count=3000, seed=9, shard_patients=128)
SOURCES = Path(__file__).parents[2] / "src"


def digests(folder: Path) -> dict[str, str]:
    return {
        entry.name: hashlib.sha256(entry.read_bytes()).hexdigest()
        for entry in sorted(folder.iterdir())
        if not entry.name.startswith(".osler-")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    write_reports(RUN, folder=folder, workers=1)
    return folder


def test_a_run_has_exactly_its_reports(whole: Path) -> None:
    files = sorted(whole.glob("*.parquet"))
    assert len(files) > 4
    assert sum(pq.read_metadata(file).num_rows for file in files) == RUN.count
    manifest = read_manifest(whole)
    assert manifest is not None
    assert manifest.state == "complete"
    assert manifest.rows == RUN.count
    assert manifest.bytes == sum(file.stat().st_size for file in files)
    assert {shard.name: shard.sha256 for shard in manifest.shards}.items() <= digests(whole).items()
    assert not (whole / JOURNAL).exists()


def test_two_workers_write_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    write_reports(RUN, folder=tmp_path / "out", workers=2)
    assert digests(tmp_path / "out") == digests(whole)


@pytest.mark.slow
def test_ray_writes_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the ray engine needs the package ray")
    write_reports(RUN, folder=tmp_path / "out", workers=1, engine="ray")
    assert digests(tmp_path / "out") == digests(whole)


def test_progress_counts_reports(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_reports(
        ReportRun(count=500, shard_patients=64),
        folder=tmp_path,
        workers=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[0] == (0, 500)
    assert seen[-1] == (500, 500)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_finished_run_is_checked_and_left_alone(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "copy")
    before = {entry.name: entry.stat().st_mtime_ns for entry in folder.glob("*.parquet")}
    result = write_reports(RUN, folder=folder, workers=1)
    assert result.written == 0
    assert {entry.name: entry.stat().st_mtime_ns for entry in folder.glob("*.parquet")} == before
    assert digests(folder) == digests(whole)


def test_damaged_and_lost_shards_are_named_and_made_again(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "copy")
    first, second, *_ = sorted(folder.glob("*.parquet"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    second.unlink()
    result = write_reports(RUN, folder=folder, workers=1)
    assert result.remade == (first.name, second.name)
    assert result.written == 2
    assert digests(folder) == digests(whole)


def test_a_shard_that_cannot_be_made_again_is_an_error(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "copy")
    text = (folder / MANIFEST).read_text()
    manifest = read_manifest(folder)
    assert manifest is not None
    (folder / MANIFEST).write_text(text.replace(manifest.shards[0].sha256, "0" * 64))
    with pytest.raises(DataError, match=r"reports-00000\.parquet.*not what was recorded"):
        write_reports(RUN, folder=folder, workers=1)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_a_random_moment_it_goes_on_to_the_same_bytes(whole: Path, tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "out"
    command = [
        sys.executable, "-m", "osler", "synth", "reports", "--count", str(RUN.count), "--seed", str(RUN.seed),
        "--shard-size", str(RUN.shard_patients), "--workers", str(workers), "--out", str(folder),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(folder.glob("*.parquet")) and process.poll() is None:
        assert time.monotonic() < deadline, "no shard was written in two minutes"
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.2))
    process.kill()
    _, told = process.communicate(timeout=60)  # ends when the workers and the cleaner of semaphores have ended
    assert told == b""
    journal = folder / JOURNAL
    assert journal.exists() or (folder / MANIFEST).exists()
    write_reports(RUN, folder=folder, workers=1)
    assert digests(folder) == digests(whole)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs signals of Unix")
def test_an_interrupt_while_workers_start_is_one_line(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    command = [sys.executable, "-m", "osler", "synth", "reports", "--count", "900000", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--shard-size", "512", "--workers", "2"],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while len(psutil.Process(process.pid).children()) < 3:  # two workers and Python's tracker of semaphores
        assert time.monotonic() < deadline, "no worker began in a minute"
        time.sleep(0.01)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip() == "Interrupted; nothing was written half."


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    code = (
        "import sys, pathlib\n"
        "from osler.synth.report_run import write_reports\n"
        "from osler.synth.shards import ReportRun\n"
        "if __name__ == '__main__':\n"
        f"    run = ReportRun(count=2_000_000, shard_patients=4096)\n"
        f"    write_reports(run, folder=pathlib.Path({str(tmp_path / 'out')!r}), workers=2)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(SOURCES)})
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob(".osler-*.part")):
        assert time.monotonic() < deadline, "no worker began in two minutes"
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive


def test_a_run_that_does_not_fit_the_disk_is_refused_with_the_numbers(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    folder = tmp_path / "out"
    with pytest.raises(CapacityError) as refusal:
        write_reports(ReportRun(count=10**12), folder=folder)
    told = re.search(r"but ([\d,.]+) GB are free", str(refusal.value))
    assert told
    assert float(told[1].replace(",", "")) == pytest.approx(free / 1e9, rel=0.2)
    assert "1,000,000,000,000 reports need about 400,000.0 GB" in str(refusal.value)
    assert not folder.exists()


@pytest.mark.parametrize("workers", [0, -1, 5000])
def test_the_number_of_workers_is_checked(tmp_path: Path, workers: int) -> None:
    with pytest.raises(RequestError, match=r"Allowed: 1 to 1,024"):
        write_reports(RUN, folder=tmp_path / "out", workers=workers)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("field", "value"), [("number", 77), ("rows", "a"), ("sha256", 5), ("name", "../x.parquet")])
def test_a_record_that_is_not_of_the_run_is_refused(whole: Path, tmp_path: Path, field: str, value: object) -> None:
    folder = shutil.copytree(whole, tmp_path / "copy")
    record = json.loads((folder / MANIFEST).read_text())
    record["shards"][1][field] = value
    (folder / MANIFEST).write_text(json.dumps(record))
    before = digests(folder)
    with pytest.raises(DataError, match="damaged record of its shards"):
        write_reports(RUN, folder=folder, workers=1)
    assert digests(folder) == before


def test_a_folder_named_like_a_part_stays(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "copy")
    (folder / ".osler-mine.part").mkdir()
    assert write_reports(RUN, folder=folder, workers=1).written == 0
    assert (folder / ".osler-mine.part").is_dir()


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Cannot write"):
        write_reports(RUN, folder=tmp_path / ("a" * 300), workers=1)
