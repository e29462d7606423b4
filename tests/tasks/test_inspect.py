"""A study described from its headers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import jsonschema
import numpy as np

from osler.prepare import Preprocess
from osler.study import Affine, Image, LeftOut, SliceOrigin, Study, TimePoint, Volume, Window
from osler.tasks.inspect import inspect_study
from osler.writers import load_schema
from tests.prepare.slides_in_memory import slide_of, stained_cells, study_of


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


def test_a_slide_is_told_with_its_levels_and_tiles() -> None:
    slide = slide_of(stained_cells(np.ones((2, 3), bool), side=896), steps=(8,), microns=1.0)
    headers = inspect_study(study_of(slide))
    assert slide.pixels.reads == []
    (entry,) = headers.timepoints[0].series
    assert (entry.kind, entry.size, entry.spacing) == ("slide", (2688, 1792), (0.001, 0.001))
    assert entry.levels == ((2688, 1792), (336, 224))
    assert entry.tissue is None
    looked = inspect_study(study_of(slide), preprocess=Preprocess(image_size=64, image_tokens=4))
    (entry,) = looked.timepoints[0].series
    assert entry.tissue == 1.0
    assert entry.tiles == "6 of 6 tissue tiles at 10x (published)"
    for inspection in (headers, looked):
        record = inspection.to_dict()
        jsonschema.validate(record, load_schema("inspection"))
        known = load_schema("inspection")["$defs"]["series"]["properties"].keys()
        assert record["timepoints"][0]["series"][0].keys() <= known
