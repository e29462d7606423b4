"""Measures what this machine can do, so that a figure can be read as a share of it.

    python -m benchmarks.machine            # Markdown
    python -m benchmarks.machine --json

Read bandwidth is the best of several kernels that only read (sum, maximum, dot
product) over 512 MiB, for one and two threads; peaks are square matrix products
in bfloat16, int8 and float32. Every benchmark measures it in its own run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

_FEATURES = ("avx2", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8")
_PACKAGES = ("torch", "transformers", "numpy")
_BUFFER = 512 << 20
_SIDE = 2048

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CLOCK: ContextVar[Callable[[], float]] = ContextVar("clock", default=time.perf_counter)

Ways = Mapping[str, Callable[[], object]]


class Seconds(float):
    """Time that a way has measured itself, and returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was measured and where.

    Args:
        bandwidth: GB/s that can be read, by threads.
        peaks: TFLOP/s (TOP/s for int8) of a matrix product, by precision and threads.
        load: Processes that wanted a core in the last minute, at the start.
    """

    processor: str
    cores: int
    memory_gb: float
    features: tuple[str, ...]
    system: str
    python: str
    packages: dict[str, str]
    commit: str
    load: float
    bandwidth: dict[int, float]
    peaks: dict[str, dict[int, float]]

    def markdown(self) -> str:
        """Describes the machine in a few lines of Markdown."""
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        lines = [
            f"- {self.processor}, {self.cores} cores, {self.memory_gb:.0f} GB; {', '.join(self.features) or 'no SIMD'}",
            f"- {self.system}, Python {self.python}, {packages}; commit {self.commit}; load {self.load:.1f}",
            "- read bandwidth: " + ", ".join(f"{gbs:.1f} GB/s ({n} thread)" for n, gbs in self.bandwidth.items()),
        ]
        for name, by_threads in self.peaks.items():
            unit = "TOP/s" if name == "int8" else "TFLOP/s"
            rates = ", ".join(f"{rate:.2f} {unit} ({threads} thread)" for threads, rate in by_threads.items())
            lines.append(f"- {name} matrix product: {rates}")
        return "\n".join(lines)


def median_seconds(run: Callable[[], object], *, repeats: int = 5, warmup: int = 1) -> float:
    """Times a call: the median of several after a warm-up, in seconds."""
    for _ in range(warmup):
        run()
    return statistics.median(_seconds(run) for _ in range(repeats))


def add_turn_options(parser: argparse.ArgumentParser, *, turns: int) -> None:
    """Adds the options of a benchmark that runs several ways in turns."""
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=turns)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: where others compute, with one thread")


def start_turns(parser: argparse.ArgumentParser, *, options: argparse.Namespace) -> None:
    """Sets threads, clock and seed as the options say."""
    if options.clock == "cpu" and options.threads > 1:
        parser.error("--clock cpu adds up the threads: use --threads 1")
    CLOCK.set(CLOCKS[options.clock])
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)


def page_head(machine: Machine, *, options: argparse.Namespace, what: str) -> str:
    """The first lines of a page: the machine, and how the figures were made."""
    return (
        f"{machine.markdown()}\n- {options.threads} threads, {options.clock} clock, {options.turns} turns after a "
        f"warm-up; {what}"
    )


def timed(way: Callable[[], object]) -> float:
    """Times one call by the chosen clock, seconds."""
    clock = CLOCK.get()
    started = clock()
    result = way()
    return result if isinstance(result, Seconds) else clock() - started


def in_turns(ways: Ways, *, turns: int) -> dict[str, list[float]]:
    """Times several ways in turns, after one warm-up each: seconds of each turn."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            taken = timed(way)
            if turn:
                seconds[name].append(taken)
    return seconds


def median_turns(ways: Ways, *, turns: int) -> dict[str, float]:
    """Times several ways in turns; medians in seconds."""
    return {name: statistics.median(values) for name, values in in_turns(ways, turns=turns).items()}


def measure(*, threads: Sequence[int] = (1, 2), peaks: Sequence[str] = ("bfloat16", "int8", "float32")) -> Machine:
    """Measures bandwidth and peaks; leaves PyTorch's number of threads as it was.

    Args:
        threads: For each of these.
        peaks: Precisions to measure; none for the bandwidth alone.
    """
    before = torch.get_num_threads()
    load = os.getloadavg()[0]
    found = {name: {} for name in peaks}
    bandwidth = {}
    try:
        for count in threads:
            torch.set_num_threads(count)
            bandwidth[count] = read_bandwidth()
            for name in peaks:
                found[name][count] = matrix_peak(name)
    finally:
        torch.set_num_threads(before)
    return Machine(
        processor=processor(),
        cores=os.cpu_count() or 1,
        memory_gb=psutil.virtual_memory().total / 1e9,
        features=cpu_features(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: number for name in _PACKAGES if (number := _version(name))},
        commit=commit(),
        load=load,
        bandwidth=bandwidth,
        peaks=found,
    )


def read_bandwidth() -> float:
    """Measures how fast memory is read with PyTorch's threads, GB/s."""
    buffer = torch.ones(_BUFFER // 4)
    kernels = (buffer.sum, buffer.amax, lambda: torch.dot(buffer, buffer))
    return _BUFFER / 1e9 / min(median_seconds(kernel) for kernel in kernels)


def matrix_peak(name: str) -> float:
    """Measures a square matrix product, in 10^12 operations a second."""
    if name == "int8":
        a, b = (torch.randint(-100, 100, (_SIDE, _SIDE), dtype=torch.int8) for _ in range(2))
        seconds = median_seconds(lambda: torch._int_mm(a, b))
    else:
        dtype = getattr(torch, name)
        x, w = torch.randn(_SIDE, _SIDE).to(dtype), torch.randn(_SIDE, _SIDE).to(dtype)
        seconds = median_seconds(lambda: torch.nn.functional.linear(x, w))
    return 2 * _SIDE**3 / seconds / 1e12


def processor() -> str:
    """Names the processor."""
    return _cpu_line("model name") or platform.processor() or platform.machine()


def cpu_features() -> tuple[str, ...]:
    """Lists the SIMD extensions that matter here."""
    flags = set(_cpu_line("flags").split())
    return tuple(name for name in _FEATURES if name in flags)


def commit() -> str:
    """Names the commit of the working tree, with ``+`` where files were changed."""
    root = Path(__file__).resolve().parent.parent
    try:
        name = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip()


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _cpu_line(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure this machine.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    machine = measure()
    sys.stdout.write((json.dumps(asdict(machine), indent=2) if options.json else machine.markdown()) + "\n")


if __name__ == "__main__":
    main()
