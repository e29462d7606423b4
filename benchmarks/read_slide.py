"""Times the reading of whole slides and measures its memory.

    python -m benchmarks.read_slide [--slide slide.svs] [--side 60000]

Each figure in a fresh process:

* ``open``: seconds to open the headers, packages imported before.
* ``tiles``: seconds to choose 126 tiles and to read them at 896 px, the bytes read
  from the file, and the peak of memory above that of the imports.

Without ``--slide``: a slide of ``--side`` px a side, made by storing two JPEG tiles
thousands of times, once as a single level and once as a pyramid. A small slide
shows fewer tiles than 126; ``--tiles spread`` and ``--repeat`` make up for it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_TILE = 1024


def write_slide_of(path: Path, *, side: int, levels: int) -> None:
    """Writes a slide of any size from two tiles: stained noise, and glass."""
    import imagecodecs
    import tifffile

    noise = np.random.default_rng(0).integers(90, 200, (_TILE, _TILE, 1)) + np.array([20, -40, 10])
    pieces = [imagecodecs.jpeg8_encode(x.astype(np.uint8), level=70) for x in (np.full((_TILE, _TILE, 3), 244), noise)]
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(levels):
            size = side >> (2 * level)
            count = -(-size // _TILE)
            blocks = max(1, count // 8)
            file.write(
                (pieces[(row // blocks + column // blocks) % 2] for row in range(count) for column in range(count)),
                shape=(size, size, 3), dtype=np.uint8, tile=(_TILE, _TILE), photometric="rgb", compression="jpeg",
                metadata=None, resolution=(20_000 / 4**level, 20_000 / 4**level), resolutionunit=3,
                subfiletype=1 if level else 0,
            )  # fmt: skip


def _child(path: Path, *, tiles: str, repeat: int) -> None:
    import PIL.Image  # noqa: F401
    import psutil
    import tiffslide  # noqa: F401

    from osler.prepare import Preprocess, prepare_images
    from osler.readers import open_study

    process = psutil.Process()
    idle, started = _peak(), time.perf_counter()
    study = open_study(path)
    opened = time.perf_counter() - started
    before = process.io_counters().read_chars
    contract = Preprocess(image_size=896, image_tokens=256, tiles=tiles)
    started = time.perf_counter()
    for _ in range(repeat):
        prepared = prepare_images(study, preprocess=contract)
    seconds = time.perf_counter() - started
    record = {
        "open_seconds": opened,
        "tiles": len(prepared.images) * repeat,
        "tile_seconds": seconds,
        "read_megabytes": (process.io_counters().read_chars - before) / 1e6,
        "peak_megabytes": (_peak() - idle) / 1e6,
        "of_which_tiles_megabytes": prepared.pixels.rgb.nbytes / 1e6,
        "view": prepared.used[0].view,
    }
    print(json.dumps(record))


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _run(path: Path, *, tiles: str, repeat: int) -> dict[str, object]:
    command = [sys.executable, __file__, "--child", str(path), "--tiles", tiles, "--repeat", str(repeat)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(run.stdout.splitlines()[-1])


def _commit() -> str:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--side", type=int, default=60_000)
    parser.add_argument("--tiles", choices=("published", "spread"), default="published")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        _child(options.child, tiles=options.tiles, repeat=options.repeat)
        return
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, commit {_commit()}"
    print(f"Machine: {machine}")
    with tempfile.TemporaryDirectory() as folder:
        if options.slide is not None:
            cases = {options.slide.name: options.slide}
        else:
            cases = {"one level": Path(folder) / "one.tif", "pyramid": Path(folder) / "pyramid.tif"}
            for (_, path), levels in zip(cases.items(), (1, 4), strict=True):
                write_slide_of(path, side=options.side, levels=levels)
        for name, path in cases.items():
            record = _run(path, tiles=options.tiles, repeat=options.repeat)
            print(f"{name} ({path.stat().st_size / 1e6:.0f} MB): {json.dumps(record)}")


if __name__ == "__main__":
    main()
