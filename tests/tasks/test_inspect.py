"""A study described from its headers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import jsonschema
import numpy as np

from osler.study import Affine, Image, LeftOut, SliceOrigin, Study, TimePoint, Volume, Window
from osler.tasks.inspect import inspect_study
from osler.writers import load_schema


@dataclass(frozen=True)
class Unread:
    """Pixels that must not be read."""

    shape: tuple[int, ...]

    def read(self, *, slices: Sequence[int] | None = None) -> np.ndarray:
        raise AssertionError("inspect has read pixels")


def study() -> Study:
    """A dated CT volume of two files and an undated X-ray without geometry."""
    volume = Volume(
        series="1.2.3",
        pixels=Unread((3, 20, 10)),
        affine=Affine.from_parts(spacing=(0.5, 0.5, 2.0)),
        modality="CT",
        units="HU",
        description="thorax",
        body_part="CHEST",
        window=Window(low=-100, high=300),
        origins=(SliceOrigin(file="a"), SliceOrigin(file="b"), SliceOrigin(file="b", frame=1)),
        problems=("A slice is missing.",),
    )
    image = Image(series="x.png", pixels=Unread((8, 6, 3)), units="RGB", view="PA")
    return Study(
        timepoints=(TimePoint(series=(volume,), date=dt.date(2020, 2, 1)), TimePoint(series=(image,))),
        patient="secret",
        source="folder",
        left_out=(LeftOut(what="c", why="a report"),),
        problems=("Odd.",),
    )


def test_headers_are_told_and_pixels_stay_unread() -> None:
    first, second = inspect_study(study()).timepoints
    (volume,), (image,) = first.series, second.series
    assert first.date == "2020-02-01"
    assert second.date == ""
    assert (volume.kind, volume.slices, volume.size, volume.spacing) == ("volume", 3, (10, 20), (0.5, 0.5, 2.0))
    assert (volume.orientation, volume.plane, volume.files) == ("LPS", "axial", 2)
    assert (image.kind, image.slices, image.size, image.spacing) == ("image", 1, (6, 8), ())


def test_the_record_matches_the_schema_and_leaves_out_what_is_unknown() -> None:
    record = inspect_study(study()).to_dict()
    schema = load_schema("inspection")
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(record)
    volume, image = (point["series"][0] for point in record["timepoints"])
    assert volume["window"] == [-100, 300]
    assert volume["affine"] == np.diag([0.5, 0.5, 2.0, 1.0]).tolist()
    assert not {"spacing", "affine", "orientation", "plane", "window", "modality"} & image.keys()
    assert "date" not in record["timepoints"][1]
    assert "secret" not in str(record)


def test_every_key_of_the_record_is_in_the_schema() -> None:
    record = inspect_study(study()).to_dict()
    schema = load_schema("inspection")
    series = schema["$defs"]["series"]["properties"].keys()
    assert record.keys() <= schema["properties"].keys()
    for point in record["timepoints"]:
        assert point.keys() <= schema["$defs"]["timepoint"]["properties"].keys()
        assert all(entry.keys() <= series for entry in point["series"])
