"""What a patient has: types without IO."""

from osler.study.affine import Affine
from osler.study.answer import (
    ANSWER_SCHEMA_VERSION,
    NO_MODEL,
    Answer,
    Change,
    Evidence,
    Finding,
    FoundBox,
    Match,
    ModelStamp,
    Progression,
    Statement,
    Step,
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
from osler.study.record import ClinicalEvent, Document, EventKind, Precision, ReferenceRange
from osler.study.slide import Slide, SlideLevel, SlideSource
from osler.study.study import Study, TimePoint

__all__ = [
    "ANSWER_SCHEMA_VERSION",
    "NO_MODEL",
    "Affine",
    "Answer",
    "ArrayPixels",
    "Box2D",
    "Box3D",
    "Change",
    "ClinicalEvent",
    "Document",
    "EventKind",
    "Evidence",
    "Finding",
    "FoundBox",
    "Image",
    "LeftOut",
    "Match",
    "ModelStamp",
    "PixelSource",
    "Precision",
    "Progression",
    "ReferenceRange",
    "Series",
    "SliceOrigin",
    "Slide",
    "SlideLevel",
    "SlideSource",
    "Statement",
    "Step",
    "Study",
    "TimePoint",
    "UsedSeries",
    "Volume",
    "Window",
]
