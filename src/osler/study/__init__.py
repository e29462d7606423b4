"""What a patient has: types without IO."""

from osler.study.affine import Affine
from osler.study.answer import (
    ANSWER_SCHEMA_VERSION,
    Answer,
    Evidence,
    Finding,
    FoundBox,
    ModelStamp,
    Progression,
    UsedSeries,
)
from osler.study.boxes import Box2D, Box3D
from osler.study.pixels import (
    ArrayPixels,
    Image,
    LeftOut,
    PixelSource,
    Series,
    SliceOrigin,
    Volume,
    Window,
)
from osler.study.study import ClinicalEvent, ReferenceRange, Study, TimePoint

__all__ = [
    "ANSWER_SCHEMA_VERSION",
    "Affine",
    "Answer",
    "ArrayPixels",
    "Box2D",
    "Box3D",
    "ClinicalEvent",
    "Evidence",
    "Finding",
    "FoundBox",
    "Image",
    "LeftOut",
    "ModelStamp",
    "PixelSource",
    "Progression",
    "ReferenceRange",
    "Series",
    "SliceOrigin",
    "Study",
    "TimePoint",
    "UsedSeries",
    "Volume",
    "Window",
]
