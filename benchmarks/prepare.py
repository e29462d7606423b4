"""Times the preparation of a study: windows, resizing and the prompt, without reading files.

Run from the project's root: ``python benchmarks/prepare.py``. Prints a Markdown
table; medians of five, the reference (the image processor of ``transformers``
over the same windowed slices) in the same run where it is installed.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from PIL import Image as PillowImage

from osler.model.config import get_config
from osler.prepare import Preprocess, prepare_images, preprocess_for
from osler.prepare.windows import ct_to_rgb
from osler.study import Affine, ArrayPixels, Study, TimePoint, Volume

_RUNS = 5


def ct_study(*, slices: int) -> Study:
    """A noisy 512x512 CT in memory."""
    values = np.random.default_rng(0).integers(-1024, 2000, (slices, 512, 512)).astype(np.int16)
    volume = Volume(
        series="1",
        pixels=ArrayPixels(values),
        affine=Affine.from_parts(spacing=(0.7, 0.7, 3)),
        modality="CT",
        units="HU",
    )
    return Study(timepoints=(TimePoint(series=(volume,)),))


def median_seconds(job: Callable[[], object]) -> float:
    """Returns the median time of the job after one warm-up."""
    job()
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def reference_job(study: Study, *, preprocess: Preprocess) -> Callable[[], object] | None:
    """The same slices through the processor of ``transformers``, or ``None`` without it."""
    try:
        from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
    except ImportError:
        return None
    size = preprocess.image_size
    processor = Gemma3ImageProcessorPil(size={"height": size, "width": size}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    values = study.volumes()[0].read()

    def job() -> object:
        pictures = [PillowImage.fromarray(ct_to_rgb(plane, windows=preprocess.ct_windows)) for plane in values]
        return processor(images=pictures, return_tensors="np")["pixel_values"]

    return job


def main() -> None:
    """Prints the table."""
    lines = [
        f"Machine: {platform.processor() or platform.machine()}, Python {platform.python_version()}",
        "",
        "| contract | slices | to uint8, s | to float32, s | reference, s | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, slices in (("osler-mini", 64), ("medgemma-1.5-4b", 16)):
        preprocess, study = preprocess_for(get_config(name)), ct_study(slices=slices)
        prepare = median_seconds(lambda s=study, p=preprocess: prepare_images(s, preprocess=p))
        pixels = prepare_images(study, preprocess=preprocess).pixels
        normalize = median_seconds(lambda x=pixels: [batch.shape for batch in x.batches(size=8)])
        job = reference_job(study, preprocess=preprocess)
        reference = median_seconds(job) if job else None
        shown = f"{reference:.2f} | {reference / (prepare + normalize):.1f}" if reference else "not installed |"
        lines.append(f"| {name} | {slices} | {prepare:.2f} | {normalize:.2f} | {shown} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
