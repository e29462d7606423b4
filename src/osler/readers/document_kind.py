"""Whether a picture shows a document or a medical image: a cheap look at a small copy, before any recognition.

Paper is bright, has hardly any color, and its ink stands in rows: many short dark runs along
some lines and none between them. An X-ray with burnt-in text is dark or gray where paper is
bright; a stained slide has color.
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageFilter

from osler.readers.blob import Blob
from osler.readers.dicom_errors import DECODE_ERRORS

Pictures = Literal["judge", "document", "image"]
"""What to take pictures for: judged one by one, all documents, or all images."""

_SIDE = 1000
_MOST_COLOR = 40.0
_LEAST_INK, _MOST_INK, _DEPTH = 0.003, 0.25, 38.0
_MOST_DARK, _EVEN = 0.12, 16.0
_RUNS, _LEAST_ROWS = 6, 4


def is_document(blob: Blob) -> bool:
    """Judges by content whether a picture is a page of text; false for what cannot be decoded."""
    try:
        with blob.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = PillowImage.open(stream, formats=("PNG", "JPEG", "TIFF", "MPO"))
            if picture.mode.startswith(("I", "F")):  # 16 bits and floats: no scanner of paper writes them
                return False
            picture.draft("RGB", (_SIDE, _SIDE))
            picture.thumbnail((_SIDE, _SIDE))
            ground = PillowImage.new("RGB", picture.size, (255, 255, 255))
            rgba = picture.convert("RGBA")
            ground.paste(rgba, mask=rgba.getchannel("A"))
    except (*DECODE_ERRORS, SyntaxError, PillowImage.DecompressionBombError):
        return False
    return looks_like_document(ground)


def looks_like_document(picture: PillowImage.Image) -> bool:
    """Judges a small RGB picture; see the head of this file."""
    rgb = np.asarray(picture, dtype=np.float32)
    if min(rgb.shape[:2]) < 64:
        return False
    gray = rgb.mean(axis=2)
    around = np.asarray(picture.convert("L").filter(ImageFilter.BoxBlur(12)), dtype=np.float32)
    paper = float(np.percentile(gray, 75))
    # Paper is bright and even: X-rays and scans of the body have large dark parts and soft shades.
    if paper < 150 or paper - float(np.median(gray)) > _EVEN or (around < paper - 60).mean() > _MOST_DARK:
        return False
    if float(np.percentile(rgb.max(axis=2) - rgb.min(axis=2), 60)) > _MOST_COLOR:
        return False
    ink = gray < around - 25
    if not _LEAST_INK < ink.mean() < _MOST_INK or float(np.median((around - gray)[ink])) < _DEPTH:
        return False
    return max(_text_rows(ink), _text_rows(ink.T)) >= _LEAST_ROWS


def _text_rows(ink: np.ndarray) -> int:
    """Bands of lines with many short runs of ink, parted by lines with few: rows of text."""
    runs = (np.diff(ink.astype(np.int8), axis=1) == 1).sum(axis=1)
    dense = runs >= _RUNS
    starts = np.flatnonzero(np.diff(dense.astype(np.int8)) == 1)
    heights = [int(np.argmin(np.append(dense[start + 1 :], False))) for start in starts]
    return sum(2 <= height <= 60 for height in heights)
