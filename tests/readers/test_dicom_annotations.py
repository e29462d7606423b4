"""Structured reports and segmentations that others wrote, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from osler.errors import FileFormatError, UnsupportedError
from osler.readers import open_study
from osler.readers.dicom_annotations import annotation_kind, read_annotations
from tests.readers.make_dicom import base_dataset, ramp, save
from tests.shared_data import SHARED_DATA, needs_shared_data


def foreign(name: str) -> Path:
    assert SHARED_DATA is not None
    return SHARED_DATA / "dicom-odd" / "dcmqi" / name


@needs_shared_data
def test_a_foreign_segmentation_lies_on_its_ct(tmp_path: Path) -> None:
    for name in ("01.dcm", "02.dcm", "03.dcm"):
        (tmp_path / name).symlink_to(foreign(name))
    study = open_study(tmp_path)
    found = read_annotations(foreign("liver.dcm"), study=study)
    (segment,) = found.segments
    assert (segment.label, segment.voxels, segment.frames) == ("Liver", 107_098, 3)
    assert segment.mask is not None
    assert segment.mask.voxels.sum() == 107_098
    stored = dcmread(foreign("liver.dcm")).pixel_array
    volume = study.volumes()[0]
    assert sorted(segment.mask.voxels.sum(axis=(1, 2)).tolist()) == sorted(stored.sum(axis=(1, 2)).tolist())
    rows, columns = np.nonzero(segment.mask.voxels.any(axis=0))
    low = volume.affine.apply((columns.min(), rows.min(), 0))[:2] - np.asarray(volume.spacing[:2]) / 2
    np.testing.assert_allclose(found.boxes[0].patient.low[:2], low, atol=0.01)


@needs_shared_data
@pytest.mark.parametrize("name", ["sparse-labelmap-noppv.dcm", "sparse-labelmap-ppv5.dcm"])
def test_a_label_map_is_read(name: str) -> None:
    found = read_annotations(foreign(name))
    assert [(segment.label, segment.voxels) for segment in found.segments] == [("Background", 0), ("Liver", 630)]


@needs_shared_data
def test_overlapping_segments_stay_apart() -> None:
    found = read_annotations(foreign("partial_overlaps.dcm"))
    assert [segment.label for segment in found.segments] == ["GREEN", "ORANGE", "PURPLE", "LIGHT_BLUE", "DARK_BLUE"]
    assert found.boxes[0].pixel is not None
    assert (found.boxes[0].pixel.x0, found.boxes[0].pixel.y1) == (129.0, 268.0)


@needs_shared_data
def test_a_foreign_report_gives_its_measurements() -> None:
    found = read_annotations(foreign("sr.dcm"))
    assert ("primary tumor", "Volume", 33.5824, "ml") in found.measurements
    assert found.references == 193
    assert found.boxes == ()


@needs_shared_data
def test_kinds_are_told_from_the_header() -> None:
    assert [annotation_kind(foreign(name)) for name in ("sr.dcm", "seg.dcm", "01.dcm")] == ["SR", "SEG", ""]


def test_what_is_no_object_about_images_is_refused(tmp_path: Path) -> None:
    image = save(base_dataset(ramp(1)[0]), tmp_path / "ct.dcm")
    assert annotation_kind(image) == annotation_kind(tmp_path / "absent.dcm") == annotation_kind(tmp_path) == ""
    with pytest.raises(UnsupportedError, match=r"modality 'CT'.*SR, SEG and PR"):
        read_annotations(image)
    (tmp_path / "noise.dcm").write_bytes(b"\0" * 128 + b"DICM" + bytes(range(200)))
    with pytest.raises((FileFormatError, UnsupportedError), match=r"noise\.dcm"):
        read_annotations(tmp_path / "noise.dcm")


@needs_shared_data
@pytest.mark.parametrize("name", ["sr.dcm", "seg.dcm", "liver.dcm"])
def test_a_truncated_object_is_an_error_of_one_kind(name: str, tmp_path: Path) -> None:
    data = foreign(name).read_bytes()
    for length in (140, 600, len(data) // 2, len(data) - 100):
        (tmp_path / name).write_bytes(data[:length])
        with pytest.raises((FileFormatError, UnsupportedError), match=name):
            read_annotations(tmp_path / name)


@needs_shared_data
def test_in_a_folder_it_is_left_out_with_the_way_to_see_it(tmp_path: Path) -> None:
    for name in ("01.dcm", "02.dcm", "sr.dcm"):
        (tmp_path / name).symlink_to(foreign(name))
    # The report is of another patient than the CT: what is left out takes no part in that check.
    left = open_study(tmp_path).left_out
    assert any("`osler inspect` of that file alone says what it holds" in entry.why for entry in left)
