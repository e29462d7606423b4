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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

_FEATURES = ("avx2", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8")
_PACKAGES = ("torch", "transformers", "numpy")
_BUFFER = 512 << 20
_SIDE = 2048


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
