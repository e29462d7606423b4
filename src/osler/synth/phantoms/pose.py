"""How a body lies or stands while it is imaged: the same organs, moved by breath, bed and arms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """The pose of one exam; the default is that of a CT: on the back, a full breath held, arms over the head.

    Args:
        position: Whether fluid layers behind the lungs or sinks to their base, and air rises to the front or the apex.
        arms: "down" beside the trunk, "raised" beside the head as in a CT, or "forward": lifted in front, out of the
            way of a lateral film.
        breath_mm: How much higher the diaphragm stands than after a full breath.
        heart: Factor on the heart's size.
        blades_mm: How far the shoulder blades are turned out.
    """

    position: Literal["supine", "upright"] = "supine"
    arms: Literal["raised", "down", "forward"] = "raised"
    breath_mm: float = 0.0
    heart: float = 1.0
    blades_mm: float = 0.0


CT_POSE = Pose()
