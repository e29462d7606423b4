"""Output files of commands: checked before any work, written together, nothing overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from osler.cli.demo import demo_scan
from osler.cli.outputs import Outputs
from osler.errors import GeometryError, RequestError, UnsupportedError
from osler.readers import open_study
from osler.readers.dicom_annotations import annotation_kind
from tests.cli.mini import needs_mini
from tests.cli.running import invoke, require_refusal
from tests.writers.imaging import answer_about, ct_study

_NAMES = {"markdown": "a.md", "fhir": "a.json", "sr": "a.sr.dcm", "seg": "a.seg.dcm", "gsps": "a.pr.dcm"}


def wanted(folder: Path) -> dict[str, Path]:
    return {name: folder / file for name, file in _NAMES.items()}


def test_all_files_are_written_and_hold_what_they_say(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    (tmp_path / "out").mkdir()
    outputs = Outputs.checked(**wanted(tmp_path / "out"))
    written: list[tuple[str, Path]] = []
    outputs.write(
        answer_about(study), study=study, question="Why?", on_written=lambda name, path: written.append((name, path))
    )
    assert [name for name, _path in written] == list(_NAMES)
    kinds = [annotation_kind(path) for _name, path in written]
    assert kinds == ["", "", "SR", "SEG", "PR"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(_NAMES.values())


def test_one_that_cannot_be_made_does_not_take_the_others_along(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    (tmp_path / "out").mkdir()
    outputs = Outputs.checked(**wanted(tmp_path / "out"))
    boxes = answer_about(study).boxes[1:]  # none lies on a single slice: no presentation state
    with pytest.raises(RequestError, match="no box on an image"):
        outputs.write(answer_about(study, boxes=boxes), study=study)
    made = {file.name for file in (tmp_path / "out").iterdir()}
    assert made == set(_NAMES.values()) - {_NAMES["gsps"]}


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("mine")
    with pytest.raises(RequestError, match=r"a\.md' exists, and is kept.*--force"):
        Outputs.checked(markdown=tmp_path / "a.md")
    assert Outputs.checked(markdown=tmp_path / "a.md", force=True).markdown == tmp_path / "a.md"


def test_two_options_with_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--fhir and --sr name the same file"):
        Outputs.checked(fhir=tmp_path / "a", sr=tmp_path / "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder_is_refused_first(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RequestError, match="Cannot write"):
        Outputs.checked(sr=tmp_path / "a.dcm")


def test_a_full_disk_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = ct_study(tmp_path / "ct")
    outputs = Outputs.checked(sr=tmp_path / "a.dcm")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RequestError, match="No space left on device"):
        outputs.write(answer_about(study), study=study)
    assert not (tmp_path / "a.dcm").exists()


def test_dicom_objects_need_dicom_images(tmp_path: Path) -> None:
    import nibabel as nib
    import numpy as np

    from tests.readers.make_dicom import ramp

    nib.save(nib.Nifti1Image(ramp(), np.eye(4)), tmp_path / "a.nii.gz")
    study = open_study(tmp_path / "a.nii.gz")
    with pytest.raises(UnsupportedError, match=r"--sr: .*a\.nii\.gz holds no DICOM images.*--seg mask\.nii\.gz"):
        Outputs.checked(sr=tmp_path / "a.dcm").refuse_unfit(study)
    Outputs.checked(seg=tmp_path / "m.nii.gz", markdown=tmp_path / "a.md").refuse_unfit(study)


def test_a_box_outside_writes_nothing(tmp_path: Path) -> None:
    import dataclasses

    study = ct_study(tmp_path / "ct")
    (tmp_path / "a.dcm").write_text("mine")
    box = dataclasses.replace(answer_about(study).boxes[0], slice=99)
    with pytest.raises(GeometryError, match="outside of slice 100"):
        Outputs.checked(sr=tmp_path / "a.dcm", force=True).write(answer_about(study, boxes=(box,)), study=study)
    assert (tmp_path / "a.dcm").read_text() == "mine"


@pytest.mark.parametrize("option", ["--sr", "--seg", "--gsps", "--capture"])
def test_dicom_outputs_without_a_scan_are_refused(option: str, tmp_path: Path) -> None:
    result = invoke("ask", "--no-image", "Why?", option, tmp_path / "a.dcm")
    require_refusal(result)
    assert f"{option} without images" in result.stderr


@needs_mini
@pytest.mark.slow
def test_ask_writes_everything_it_can(tmp_path: Path) -> None:
    result = invoke(
        "ask", demo_scan(), "Which part of the body does this scan show?", "--max-tokens", "4", "--quiet",
        "--sr", tmp_path / "a.dcm", "--markdown", tmp_path / "a.md", "--fhir", tmp_path / "a.json",
        "--picture", tmp_path / "a.png", "--capture", tmp_path / "c.dcm",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"DICOM SR: {tmp_path / 'a.dcm'}" in result.stdout
    assert "a.png" in (tmp_path / "a.md").read_text()
    shown = invoke("inspect", tmp_path / "a.dcm")
    assert "a DICOM structured report" in shown.stdout
    assert "Research software" in shown.stdout
