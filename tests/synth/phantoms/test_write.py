"""Writing volumes: what is read back, going on, and refusals."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from osler.errors import RequestError
from osler.readers import open_study
from osler.synth.phantoms.write import write_volumes


def run(out: Path, *, count: int = 1, seed: int = 3, spacing: float = 12.0, form: str = "nifti") -> list[dict]:
    return list(write_volumes(count=count, out=out, seed=seed, spacing=spacing, form=form))


def test_nifti_reads_back_with_its_boxes(tmp_path: Path) -> None:
    record = run(tmp_path / "set")[0]
    folder = tmp_path / "set"
    volume = open_study(folder / record["files"][0]).volumes()[0]
    assert list(volume.shape) == record["shape"]
    assert np.allclose(volume.affine.matrix, record["affine_lps"], atol=1e-3)
    labels = np.asarray(nib.load(folder / record["files"][2]).dataobj)
    for lesion in record["lesions"]:
        assert int((labels == lesion["lesion"]).sum()) == lesion["voxels"]


def test_a_second_run_goes_on_and_changes_nothing(tmp_path: Path) -> None:
    first = run(tmp_path / "set", form="npz")
    before = {p.name: p.read_bytes() for p in (tmp_path / "set").iterdir()}
    assert run(tmp_path / "set", count=2, form="npz")[0] == first[0]
    for name, data in before.items():
        assert (tmp_path / "set" / name).read_bytes() == data
    assert not [p for p in (tmp_path / "set").iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count of 0"),
        ({"count": -3}, "count of -3"),
        ({"count": 10**12}, "count of"),
        ({"spacing": 0.0}, "spacing of 0"),
        ({"seed": -1}, "Seed -1"),
    ],
)
def test_bad_numbers_are_refused_before_anything_is_written(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        run(tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


def test_other_data_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="holds other data"):
        run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_another_set_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "set", form="npz")
    with pytest.raises(RequestError, match="seed differ"):
        run(tmp_path / "set", seed=4, form="npz")
    (tmp_path / "set" / "volumes.json").write_text("{")
    with pytest.raises(RequestError, match="is damaged"):
        run(tmp_path / "set", form="npz")
    assert json.loads(next((tmp_path / "set").glob("3-*.json")).read_text())["boxes"] == "LPS mm"


@pytest.mark.parametrize("damage", ["{", "[]", "{}", "\x00"])
def test_a_damaged_record_is_drawn_again(tmp_path: Path, damage: str) -> None:
    first = run(tmp_path / "set", form="npz")
    record = tmp_path / "set" / f"{first[0]['name']}.json"
    record.write_text(damage)
    assert run(tmp_path / "set", form="npz") == first
    assert json.loads(record.read_text()) == first[0]


@pytest.mark.parametrize("form", ["nifti", "npz"])
def test_volumes_are_on_disk_before_their_record(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is flushed to disk under a hidden name before it takes its own; the record comes last."""
    flushed: list[tuple[str, ...]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        flushed.append(tuple(sorted(path.name for path in (tmp_path / "set").glob("3-*"))))

    monkeypatch.setattr(os, "fsync", fsync)
    record = run(tmp_path / "set", form=form)[0]
    assert len(flushed) == len(record["files"]) + 2  # and the set's manifest and the record
    assert not any(f"{record['name']}.json" in names for names in flushed)
    assert flushed[-1] == tuple(sorted(record["files"]))


@pytest.mark.parametrize("form", ["nifti", "npz"])
def test_the_same_set_is_the_same_bytes(tmp_path: Path, form: str) -> None:
    record = run(tmp_path / "one", form=form)[0]
    run(tmp_path / "two", form=form)
    for name in record["files"]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_lost_volume_is_drawn_again(tmp_path: Path) -> None:
    first = run(tmp_path / "set")
    volume = tmp_path / "set" / first[0]["files"][0]
    voxels = np.asarray(nib.load(volume).dataobj).copy()
    volume.unlink()
    assert run(tmp_path / "set") == first
    assert np.array_equal(np.asarray(nib.load(volume).dataobj), voxels)


@pytest.mark.parametrize("form", ["npz", "nifti"])
def test_a_damaged_volume_is_drawn_again(tmp_path: Path, form: str) -> None:
    (first,) = run(tmp_path / "set", form=form)
    file = tmp_path / "set" / first["files"][0]
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert run(tmp_path / "set", form=form) == [first]
    assert file.read_bytes() == whole


def test_a_set_of_another_version_is_refused_and_kept(tmp_path: Path) -> None:
    run(tmp_path / "set", form="npz")
    manifest = tmp_path / "set" / "volumes.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"osler": "0.0.0"}))
    before = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    with pytest.raises(RequestError, match="osler differ"):
        run(tmp_path / "set", form="npz")
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == before


def test_a_full_disk_keeps_the_volumes_that_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = run(tmp_path / "set", form="npz")
    before = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}

    def full(path: Path, *, data: bytes) -> Path:
        del path, data
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("osler.synth.phantoms.write.write_atomic", full)
        with pytest.raises(RequestError, match=r"No space left on device.*volumes that are there already stay"):
            run(tmp_path / "set", count=2, form="npz")
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == before
    assert run(tmp_path / "set", count=2, form="npz")[0] == first
