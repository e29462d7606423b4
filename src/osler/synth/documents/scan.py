"""Paper through a scanner or a fax: what a document looks like when it comes back as a picture.

The page is rendered, laid crooked on the glass, creased, unevenly lit and
compressed. The result is a JPEG, or a PDF that holds nothing but pictures, as
scanners make them: the text layer is gone.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from osler.errors import unknown_name

ScanStyle = Literal["clean", "office", "worn", "fax"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """How bad a scan is.

    Args:
        dpi: Dots per inch. tilt: Most degrees that a page lies crooked.
        blur: Radius (px). noise: Standard deviation of gray levels.
        shade: Gray levels between the brightest and the darkest part of the glass.
        folds: Creases across the page. specks: Dust, per square inch.
        quality: Of the JPEG. bilevel: Black and white only.
        color: Keep colors.
    """

    dpi: int
    tilt: float
    blur: float
    noise: float
    shade: float
    folds: int
    specks: float
    quality: int
    bilevel: bool = False
    color: bool = False


SCANNERS: dict[ScanStyle, Scanner] = {
    "clean": Scanner(dpi=200, tilt=0.4, blur=0.5, noise=1.5, shade=6, folds=0, specks=0.05, quality=82, color=True),
    "office": Scanner(dpi=150, tilt=1.2, blur=0.6, noise=4, shade=22, folds=0, specks=0.4, quality=62, color=True),
    "worn": Scanner(dpi=150, tilt=2.2, blur=0.8, noise=7, shade=46, folds=2, specks=1.5, quality=48),
    "fax": Scanner(dpi=120, tilt=1.0, blur=0.5, noise=14, shade=10, folds=0, specks=3.0, quality=60, bilevel=True),
}


def scan_pages(pdf: bytes, *, style: ScanStyle, key: int) -> list[Image.Image]:
    """Renders a PDF's pages as a scanner would see them on paper.

    Args:
        pdf: The document.
        style: How bad the scan is.
        key: 64 random bits: the same key gives the same scan.

    Raises:
        RequestError: If the style is unknown.
    """
    import pypdfium2

    if style not in SCANNERS:
        raise unknown_name("scan style", name=style, known=SCANNERS)
    scanner = SCANNERS[style]
    document = pypdfium2.PdfDocument(pdf)
    try:
        rendered = [page.render(scale=scanner.dpi / 72).to_pil().convert("RGB") for page in document]
    finally:
        document.close()
    return [
        _scanned(page, scanner=scanner, random=np.random.Generator(np.random.Philox(key=key + number)))
        for number, page in enumerate(rendered)
    ]


def scan_jpeg(pdf: bytes, *, style: ScanStyle, key: int, page: int = 0) -> bytes:
    """Scans one page to a JPEG; see `scan_pages`."""
    buffer = io.BytesIO()
    scanner = SCANNERS[style]
    scan_pages(pdf, style=style, key=key)[page].save(
        buffer, format="JPEG", quality=scanner.quality, dpi=(scanner.dpi, scanner.dpi)
    )
    return buffer.getvalue()


def scan_pdf(pdf: bytes, *, style: ScanStyle, key: int) -> bytes:
    """Scans all pages to a PDF of JPEG pictures without a text layer; see `scan_pages`."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, invariant=1)
    canvas.setTitle("Scan")
    canvas.setCreator("Osler")
    scanner = SCANNERS[style]
    for page in scan_pages(pdf, style=style, key=key):
        jpeg = io.BytesIO()
        page.save(jpeg, format="JPEG", quality=scanner.quality)
        jpeg.seek(0)
        width, height = (side * 72 / scanner.dpi for side in page.size)
        canvas.setPageSize((width, height))
        canvas.drawImage(ImageReader(jpeg), 0, 0, width=width, height=height)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def _scanned(page: Image.Image, *, scanner: Scanner, random: np.random.Generator) -> Image.Image:
    page = page if scanner.color else page.convert("L")
    paper = np.asarray(page, dtype=np.float32)
    paper = _toned(paper, random=random, color=scanner.color)
    for number in range(scanner.folds):
        paper = _folded(paper, at=(number + 1) / (scanner.folds + 1) + random.uniform(-0.01, 0.01), random=random)
    sheet = Image.fromarray(paper.clip(0, 255).astype(np.uint8))
    glass = tuple([int(random.uniform(222, 240))] * 3) if scanner.color else int(random.uniform(222, 240))
    degrees = random.uniform(0.25, 1) * scanner.tilt * random.choice([-1.0, 1.0])
    shift = tuple(int(v) for v in random.uniform(-0.006, 0.006, size=2) * page.size[0])
    sheet = sheet.rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=glass, translate=shift)
    sheet = sheet.filter(ImageFilter.GaussianBlur(scanner.blur))
    seen = np.asarray(sheet, dtype=np.float32)
    seen = _lit(seen, shade=scanner.shade, random=random)
    seen = _dusty(seen, scanner=scanner, random=random)
    grain = random.normal(0, scanner.noise, size=seen.shape[:2]).astype(np.float32)
    seen = seen + (grain[..., None] if seen.ndim == 3 else grain)
    if scanner.bilevel:
        seen = np.where(seen < 168, 0.0, 255.0)
    return Image.fromarray(seen.clip(0, 255).astype(np.uint8))


def _toned(paper: np.ndarray, *, random: np.random.Generator, color: bool) -> np.ndarray:
    """Ink is never black and paper never white, and paper is a little yellow."""
    low, high = random.uniform(18, 40), random.uniform(238, 249)
    toned = low + paper * ((high - low) / 255)
    if color:
        toned = toned * np.array([1.0, random.uniform(0.985, 0.997), random.uniform(0.945, 0.985)], dtype=np.float32)
    return toned


def _folded(paper: np.ndarray, *, at: float, random: np.random.Generator) -> np.ndarray:
    """A crease across the page: a dark line beside a bright one, paper shaded toward it, ink worn off."""
    rows = np.arange(paper.shape[0], dtype=np.float32)
    columns = np.arange(paper.shape[1], dtype=np.float32)
    slope = random.uniform(-0.006, 0.006)
    wave = 1.2 * np.sin(columns / random.uniform(60, 140) + random.uniform(0, 6))
    distance = rows[:, None] - (at * paper.shape[0] + slope * (columns - columns.mean()) + wave)[None]
    strength = random.uniform(0.7, 1.0)
    dark = -46 * strength * np.exp(-((distance / 1.1) ** 2))
    bright = 26 * strength * np.exp(-(((distance - 3) / 1.6) ** 2))
    wide = -15 * np.exp(-np.abs(distance) / 46) * np.where(distance < 0, 1.0, -0.35)
    wear = np.clip(random.normal(0.28, 0.2, size=paper.shape[1]), 0, 0.8)[None] * np.exp(-((distance / 2.2) ** 2))
    change = (dark + bright + wide).astype(np.float32)
    wear = wear.astype(np.float32)
    if paper.ndim == 3:
        change, wear = change[..., None], wear[..., None]
    return paper + change + wear * (236 - paper)


def _lit(seen: np.ndarray, *, shade: float, random: np.random.Generator) -> np.ndarray:
    """Uneven light: a slope over the glass, and one darker edge where the lid stood open."""
    height, width = seen.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    angle = random.uniform(0, 2 * np.pi)
    slope = 0.5 * shade * (np.cos(angle) * x + np.sin(angle) * y)
    side = x if random.uniform() < 0.5 else -x
    edge = -0.9 * shade * np.exp(-(1 - side) / random.uniform(0.04, 0.12))
    light = (slope + edge - 0.3 * shade).astype(np.float32)
    return seen * (1 + (light[..., None] if seen.ndim == 3 else light) / 255)


def _dusty(seen: np.ndarray, *, scanner: Scanner, random: np.random.Generator) -> np.ndarray:
    """Dark specks of one to three pixels."""
    height, width = seen.shape[:2]
    count = int(scanner.specks * height * width / scanner.dpi**2)
    seen = seen.copy()
    for _ in range(count):
        row, column = int(random.integers(height)), int(random.integers(width))
        size = int(random.integers(1, 4))
        seen[row : row + size, column : column + int(random.integers(1, 4))] *= random.uniform(0.25, 0.8)
    return seen
