"""Times the DICOM reader and measures its memory.

    python benchmarks/read_dicom.py --slices folder/of/one/compressed/series

Three figures, each in fresh processes:

* ``decode``: a 275-slice JPEG 2000 CT, made in a temporary folder by repeating
  real slices at new positions, against pydicom in a loop over all cores (a
  process pool and a thread pool). In turns, the order reversed each round; median
  of the rounds, and of the ratios of each round. Processor seconds, children
  included, stand beside the wall clock, which other programs disturb.
* ``memory``: peak memory of reading a 500-slice CT of 512 x 512, made in code,
  over its decoded size.
* ``scan``: seconds to open a folder of 10,000 small files.

Without ``--slices``, the slices are made by compressing noise-free phantoms
(pydicom with pylibjpeg-openjpeg).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid


def _plain_slice(*, pixels: np.ndarray, index: int, step: float) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "P", "1.2.1", "1.2.2"
    ds.Modality, ds.InstanceNumber, ds.StudyDate = "CT", index + 1, "20240101"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, index * step], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.RescaleSlope, ds.RescaleIntercept = [0.7, 0.7], 1, -1024
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = pixels.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def _phantom(index: int) -> np.ndarray:
    rows, columns = np.mgrid[-1:1:512j, -1:1:512j]
    body = (rows**2 / 0.6 + columns**2 / 0.8) < 1
    texture = 40 * np.sin(40 * rows + index) * np.cos(33 * columns)
    return np.where(body, 1064 + texture, 24).astype("uint16")


def _compressed_series(folder: Path, *, source: Path | None, count: int) -> None:
    files = sorted(source.rglob("*.dcm")) if source else []
    originals = [dcmread(path) for path in files[:92]]
    for index in range(count):
        if originals:
            ds = originals[index % len(originals)]
        else:
            ds = _plain_slice(pixels=_phantom(index), index=index, step=1.0)
            ds.compress(JPEG2000Lossless)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.ImagePositionPatient, ds.InstanceNumber = [0, 0, float(index)], index + 1
        ds.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)


def _pydicom_slice(path: str) -> np.ndarray:
    ds = dcmread(path)
    return (ds.pixel_array * ds.RescaleSlope + ds.RescaleIntercept).astype(np.int16)


def _pydicom(folder: Path, *, pool: type[ProcessPoolExecutor] | type[ThreadPoolExecutor]) -> np.ndarray:
    paths = sorted(str(path) for path in folder.iterdir())
    with pool(max_workers=os.cpu_count()) as workers:
        if pool is ProcessPoolExecutor:
            return np.stack(list(workers.map(_pydicom_slice, paths, chunksize=8)))
        return np.stack(list(workers.map(_pydicom_slice, paths)))


def _once(task: str, folder: str) -> None:
    """One measured task in this process; prints JSON. Imports count for all alike."""
    place = Path(folder)
    start = time.perf_counter()
    if task == "osler":
        from osler.readers import open_study

        study = open_study(place)
        opened = time.perf_counter() - start
        array = study.volumes()[0].read()
    elif task == "scan":
        from osler.readers import open_study

        study = open_study(place)
        opened, array = time.perf_counter() - start, np.zeros(sum(v.shape[0] for v in study.volumes()))
    else:
        pool = ProcessPoolExecutor if task == "pydicom processes" else ThreadPoolExecutor
        opened, array = 0.0, _pydicom(place, pool=pool)
    seconds = time.perf_counter() - start
    result = {
        "seconds": seconds,
        "opened": opened,
        "bytes": array.nbytes,
        "slices": len(array),
        "sum": int(array.sum(dtype=np.int64)),
        "peak": _peak_bytes(),
        "cpu": _cpu_seconds(),
    }
    sys.stdout.write(json.dumps(result) + "\n")


def _peak_bytes() -> int:
    """Greatest resident memory of this process; its helpers are not counted, nor are pydicom's."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpu_seconds() -> float:
    """Processor time of this process and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _run(task: str, *, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def _report_decode(folder: Path, *, rounds: int, source: Path | None, count: int) -> list[str]:
    _compressed_series(folder, source=source, count=count)
    tasks = ("osler", "pydicom processes", "pydicom threads")
    results: dict[str, list[dict[str, float]]] = {task: [] for task in tasks}
    for number in range(rounds):
        for task in tasks if number % 2 == 0 else reversed(tasks):
            results[task].append(_run(task, folder=folder))
    if len({result["sum"] for runs in results.values() for result in runs}) != 1:
        raise SystemExit("The readers disagree about the voxels.")
    lines = []
    for task, runs in results.items():
        seconds, cpu = (statistics.median(result[name] for result in runs) for name in ("seconds", "cpu"))
        lines.append(f"| {count} slices, JPEG 2000, {task} | {seconds:.2f} s ({cpu:.2f} s of processor) |")
    for peer in tasks[1:]:
        ratios = [
            mine["seconds"] / other["seconds"] for mine, other in zip(results["osler"], results[peer], strict=True)
        ]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        lines.append(f"| Osler over {peer} | {statistics.median(ratios):.2f} ({spread}) |")
    return lines


def _report_memory(folder: Path) -> list[str]:
    for index in range(500):
        ds = _plain_slice(pixels=_phantom(index), index=index, step=0.7)
        ds.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)
    result = _run("osler", folder=folder)
    ratio = result["peak"] / result["bytes"]
    return [
        f"| 500-slice CT: decoded size | {result['bytes'] / 2**20:.0f} MiB |",
        f"| 500-slice CT: peak memory of the process | {result['peak'] / 2**20:.0f} MiB ({ratio:.2f}x) |",
        f"| 500-slice CT: read | {result['seconds']:.2f} s |",
    ]


def _report_scan(folder: Path, *, count: int) -> list[str]:
    pixels = _phantom(0)[::16, ::16]
    for index in range(count):
        ds = _plain_slice(pixels=pixels, index=index % 200, step=1.0)
        ds.SeriesInstanceUID = f"1.2.3.{index // 200}"
        (folder / f"{index // 200}").mkdir(exist_ok=True)
        ds.save_as(folder / f"{index // 200}/{index:05d}.dcm", enforce_file_format=True)
    result = _run("scan", folder=folder)
    if result["slices"] != count:
        raise SystemExit(f"{result['slices']} of {count} slices were found.")
    return [
        f"| Open {count:,} files (headers) | {result['opened']:.1f} s |",
        f"| Open one file (header) | {result['opened'] / count * 1e3:.2f} ms |",
        f"| Peak memory | {result['peak'] / 2**20:.0f} MiB |",
    ]


def main() -> None:
    """Runs what is asked and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=Path, help="folder of a compressed CT series whose slices are repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=275)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--only", choices=["decode", "memory", "scan"])
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        _once(options.task, options.folder)
        return
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "",
        "| | |",
        "|---|---|",
    ]
    for name in ("decode", "memory", "scan"):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                if name == "decode":
                    lines += _report_decode(folder, rounds=options.rounds, source=options.slices, count=options.count)
                elif name == "memory":
                    lines += _report_memory(folder)
                else:
                    lines += _report_scan(folder, count=options.files)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
