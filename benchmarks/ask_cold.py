"""Times `osler ask` from a cold start on a 64-slice CT, stage by stage.

    python -m benchmarks.ask_cold --out benchmarks/ask_cold

The CT (64 slices of 512 x 512, 1.25 mm apart, made here) is asked by a new process each
time. The first run starts with an empty cache folder, so it also joins and
checks the embedded weights; the median is over the others. What the stages do
not explain is the start of Python and the import of PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from benchmarks.machine import Machine, measure

SLICES, SIDE, TURNS = 64, 512, 5
QUESTION = "Which part of the body does this scan show?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--model", default="osler-mini")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    machine = measure(peaks=("bfloat16",))
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder, "ct")
        write_ct(scan)
        environment = {**os.environ, "OSLER_CACHE": str(Path(folder, "cache")), "OSLER_STUDY_CACHE": "off"}
        runs = [
            ask(scan, model=options.model, max_tokens=options.max_tokens, environment=environment)
            for _ in range(options.turns + 1)
        ]
    record = {"first": runs[0], "runs": runs[1:], "machine": asdict(machine)}
    text = report(record, machine=machine)
    sys.stdout.write(text)
    if options.out:
        options.out.with_suffix(".md").write_text(text)
        options.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def write_ct(folder: Path, *, slices: int = SLICES) -> None:
    """Writes an axial CT: an ellipse of soft tissue with two lungs and a spine, with noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    study, series, frame = (generate_uid() for _ in range(3))
    for index in range(slices):
        lung = 0.1 + 0.12 * np.sin(np.pi * index / slices)
        hu = np.where((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, 40.0, -1000.0)
        for side in (-1, 1):
            hu[((x - 0.38 * side) / 0.3) ** 2 + (y / 0.4) ** 2 < 4 * lung] = -850.0
        hu[x**2 + (y - 0.42) ** 2 < 0.01] = 500.0
        hu += rng.normal(0, 15, hu.shape)
        _slice(hu, index=index, uids=(study, series, frame)).save_as(folder / f"{index:03d}.dcm")


def _slice(hu: np.ndarray, *, index: int, uids: tuple[str, str, str]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = uids
    dataset.Modality, dataset.PatientID, dataset.SeriesDescription = "CT", "phantom", "Phantom"
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = [-180.0, -180.0, 1.25 * index]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1.25
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    dataset.Rows = dataset.Columns = SIDE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.clip(hu + 1024, 0, 4095).astype("<u2").tobytes()
    return dataset


def ask(scan: Path, *, model: str, max_tokens: int, environment: dict[str, str]) -> dict:
    """Runs the command once; returns seconds in all and by stage."""
    command = [sys.executable, "-m", "osler", "ask", str(scan), QUESTION, "--json", "--quiet"]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--model", model, "--max-tokens", str(max_tokens)], capture_output=True, text=True, env=environment
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr)
    answer = json.loads(done.stdout)
    stages = answer["timings"]
    return {
        "seconds": seconds,
        "stages": {**stages, "start": seconds - sum(stages.values())},
        "tokens": answer["tokens"],
        "text": answer["text"],
    }


def report(record: dict, *, machine: Machine) -> str:
    """Writes the table in Markdown."""
    first, runs = record["first"], record["runs"]

    def middle(stage: str) -> float:
        return statistics.median(run["stages"][stage] for run in runs)

    tokens = runs[0]["tokens"]
    lines = [
        f"# `osler ask` on a {SLICES}-slice CT, cold",
        "",
        f"`python -m benchmarks.ask_cold`: a new process each time, median of {len(runs)}; "
        f"{tokens['prompt']} tokens of prompt ({tokens['images']} of images), {tokens['answer']} of answer.",
        "",
        machine.markdown(),
        "",
        "| stage | first run, s | later runs, s |",
        "|---|---|---|",
        *(f"| {stage} | {first['stages'][stage]:.2f} | {middle(stage):.2f} |" for stage in first["stages"]),
        f"| **all** | **{first['seconds']:.2f}** | **{statistics.median(run['seconds'] for run in runs):.2f}** |",
        "",
        f"Question: {QUESTION} Answer: {runs[0]['text']!r}",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
