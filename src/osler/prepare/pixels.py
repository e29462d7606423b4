"""The images of a request: 8-bit pixels, float batches, and the way back to the patient."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from osler.errors import GeometryError
from osler.prepare.contract import Preprocess
from osler.prepare.resize import PixelMap
from osler.prepare.windows import normalizer
from osler.study import Affine, Box2D, Box3D, SliceOrigin


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelBatches:
    """All images of a request, kept as uint8 and normalized a few at a time.

    85 images of 896 px are 205 MB as uint8 and 819 MB as float32.

    Args:
        rgb: What the network sees, before scaling: ``(image, row, column, channel)``.
        preprocess: The contract with mean and deviation.
    """

    rgb: UInt8[np.ndarray, "image size size 3"]
    preprocess: Preprocess

    def __len__(self) -> int:
        """The number of images."""
        return len(self.rgb)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of `array`: ``(image, 3, size, size)``."""
        count, rows, columns, channels = self.rgb.shape
        return count, channels, rows, columns

    def batches(self, *, size: int) -> Iterator[Float32[np.ndarray, "some 3 size size"]]:
        """Yields the normalized images, ``size`` at a time, in order.

        Args:
            size: Images in a batch; the last one may be smaller.
        """
        for start in range(0, len(self.rgb), size):
            yield self._normalized(self.rgb[start : start + size])

    def array(self) -> Float32[np.ndarray, "image 3 size size"]:
        """Returns all normalized images at once."""
        return self._normalized(self.rgb)

    def digests(self) -> tuple[str, ...]:
        """Returns the SHA-256 of each image, to know features of the same pixels again."""
        return tuple(hashlib.sha256(np.ascontiguousarray(image).data).hexdigest() for image in self.rgb)

    def _normalized(self, rgb: np.ndarray) -> np.ndarray:
        table = normalizer(self.preprocess)
        count, rows, columns, channels = rgb.shape
        out = np.empty((count, channels, rows, columns), dtype=np.float32)
        for index in range(count):  # one by one: the table look-up needs 8 bytes a pixel while it runs
            np.take(table, rgb[index].transpose(2, 0, 1), out=out[index], mode="clip")
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTile:
    """Where one tile lies on its slide.

    Args:
        number: Of the tile among those shown of the slide, from 1.
        box: The tile in px of level 0; it may reach over the edge of a small slide.
        pixel: The part of it on the slide, px of level 0.
        mm: The same in mm from the slide's upper left corner, if the file says how large a pixel is.
        level: Level that it was read from.
        magnification: At which it is shown, 10 being 1 micron a pixel.
    """

    number: int
    box: Box2D
    pixel: Box2D
    mm: Box2D | None
    level: int
    magnification: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownImage:
    """One image that the network sees, and how to go back from it.

    Args:
        series: Series identifier.
        modality: DICOM modality, may be empty.
        timepoint: Number of its time point in the study, from 0.
        slice: Index along the volume (0-based), ``None`` for a single image.
        number: The n of ``SLICE n`` in the prompt, ``None`` for a single image.
        origin: File and instance, if known.
        pixel_map: Pixels of the series to the network's pixels; the file's are those but for
            `SliceOrigin.shift`.
        affine: The series' voxel-to-patient map, if it has one.
        tile: Where it lies, if it is a tile of a slide; `pixel_map` then speaks of the tile's own pixels.
    """

    series: str
    modality: str
    timepoint: int
    slice: int | None
    number: int | None
    origin: SliceOrigin | None
    pixel_map: PixelMap
    affine: Affine | None
    tile: ShownTile | None = None

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)`` of the file's image, or of the tile as it was read, px."""
        return self.pixel_map.width, self.pixel_map.height

    def to_file(self, box: Box2D) -> Box2D:
        """Maps a box in the network's pixels to file pixels (of level 0, on a slide)."""
        if self.tile is not None:
            return self._on_slide(self.pixel_map.to_file(box))
        column, row = self._shift
        return _moved(self.pixel_map.to_file(box), column=column, row=row)

    def to_model(self, box: Box2D) -> Box2D:
        """Maps a box in file pixels (of level 0, on a slide) to the network's pixels."""
        if self.tile is not None:
            return self.pixel_map.to_model(self._on_tile(box))
        column, row = self._shift
        return self.pixel_map.to_model(_moved(box, column=-column, row=-row))

    def _on_slide(self, box: Box2D) -> Box2D:
        assert self.tile is not None
        place = self.tile.box
        across, down = (place.x1 - place.x0) / self.size[0], (place.y1 - place.y0) / self.size[1]
        return Box2D(
            x0=place.x0 + box.x0 * across,
            y0=place.y0 + box.y0 * down,
            x1=place.x0 + box.x1 * across,
            y1=place.y0 + box.y1 * down,
        )

    def _on_tile(self, box: Box2D) -> Box2D:
        assert self.tile is not None
        place = self.tile.box
        across, down = (place.x1 - place.x0) / self.size[0], (place.y1 - place.y0) / self.size[1]
        return Box2D(
            x0=(box.x0 - place.x0) / across,
            y0=(box.y0 - place.y0) / down,
            x1=(box.x1 - place.x0) / across,
            y1=(box.y1 - place.y0) / down,
        )

    @property
    def _shift(self) -> tuple[float, float]:
        """From a pixel of the series to that of the file: not zero where a tilted stack was straightened."""
        return self.origin.shift if self.origin is not None else (0.0, 0.0)

    def to_patient(self, box: Box2D) -> Box3D:
        """Maps a box in the network's pixels to patient LPS mm, one slice thick.

        Raises:
            GeometryError: If the file does not say where the image lies.
        """
        if self.affine is None:
            raise GeometryError(
                f"Series {self.series!r} has no place in the patient.", next_step="Use the box in file pixels."
            )
        return self.pixel_map.to_file(box).to_box3d(affine=self.affine, slice_index=self.slice or 0)

    def from_patient(self, box: Box3D) -> Box2D:
        """Maps a patient box (LPS mm) to the network's pixels of this image, whatever its depth.

        Raises:
            GeometryError: If the file does not say where the image lies.
        """
        if self.affine is None:
            raise GeometryError(f"Series {self.series!r} has no place in the patient.")
        voxel = box.to_voxel(self.affine)
        edges = Box2D(x0=voxel.low[0], y0=voxel.low[1], x1=voxel.high[0], y1=voxel.high[1])
        return self.pixel_map.to_model(edges)


def _moved(box: Box2D, *, column: float, row: float) -> Box2D:
    return Box2D(x0=box.x0 + column, y0=box.y0 + row, x1=box.x1 + column, y1=box.y1 + row, frame=box.frame)
