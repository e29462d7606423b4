"""The X-ray tube and the detector: from points of the body to pixels and back.

The body frame is LPS in mm (x to the patient's left, y to the back, z to the head). A
frontal image is shown as one faces the patient: the patient's left lies at the image's
right, whether the beam entered from the back (PA) or the front (AP). A left lateral
image shows the front at the image's left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from osler.errors import RequestError

View = Literal["PA", "AP", "lateral"]
Body = Literal["usual", "mirrored"]
VIEWS: tuple[View, ...] = ("PA", "AP", "lateral")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beam:
    """A point source and a flat detector at right angles to the central ray.

    Args:
        view: Direction of the beam.
        source_mm: Place of the focal spot along the beam's axis (y, or x of a lateral view).
        detector_mm: Place of the detector along the same axis.
        center_mm: Where the central ray meets the image's axes: across, and z.
        pixel_mm: Pixel size on the detector.
        rows: Pixels down. columns: Pixels across.
        yaw: How far the patient is turned about z (radians).
        body: "mirrored" for a body drawn as the mirror image of the usual one; a negative `Anatomy.shape`.
    """

    view: View
    source_mm: float
    detector_mm: float
    center_mm: tuple[float, float]
    pixel_mm: float
    rows: int
    columns: int
    yaw: float = 0.0
    body: Body = "usual"

    def __post_init__(self) -> None:
        if self.view not in VIEWS:
            raise RequestError(f"An X-ray view {self.view!r}.", allowed=f"Views: {', '.join(VIEWS)}.")

    def scale(self, depth: np.ndarray | float) -> np.ndarray | float:
        """Size of things at a place along the beam's axis relative to their shadow: 1 at the detector."""
        return (depth - self.source_mm) / (self.detector_mm - self.source_mm)

    def turned(self, points: np.ndarray) -> np.ndarray:
        """Body points (N, 3) in the frame of the room: turned by the yaw about z."""
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], axis=-1)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shadows of body points.

        Args:
            points: (N, 3) mm.

        Returns:
            Column and row (pixel centers are at whole numbers plus a half), and pixels per mm there.
        """
        room = self.turned(points * [-1.0, 1.0, 1.0] if self.body == "mirrored" else points)
        across, depth = (room[..., 1], room[..., 0]) if self.view == "lateral" else (room[..., 0], room[..., 1])
        scale = self.scale(depth)
        column = (across - self.center_mm[0]) / scale / self.pixel_mm + self.columns / 2
        if self.body == "mirrored" and self.view != "lateral":
            column = self.columns - column
        row = -(room[..., 2] - self.center_mm[1]) / scale / self.pixel_mm + self.rows / 2
        return column, row, 1 / (scale * self.pixel_mm)

    def plane(self, depth: float, *, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Body coordinates where the rays meet a plane at right angles to the beam.

        Args:
            depth: Place of the plane along the beam's axis.
            step: Pixels between rays.

        Returns:
            x (1, columns), y (1, columns) and z (rows, 1), mm, float32.
        """
        scale = self.scale(depth)
        u = (np.arange(-(-self.columns // step)) + 0.5) * step - self.columns / 2
        v = (np.arange(-(-self.rows // step)) + 0.5) * step - self.rows / 2
        across = self.center_mm[0] + u * scale * self.pixel_mm
        along = np.full_like(across, depth)
        x, y = (along, across) if self.view == "lateral" else (across, along)
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        body_x, body_y = cosine * x + sine * y, -sine * x + cosine * y
        z = self.center_mm[1] - v * scale * self.pixel_mm
        return (
            body_x.astype(np.float32)[None, :],
            body_y.astype(np.float32)[None, :],
            z.astype(np.float32)[:, None],
        )
