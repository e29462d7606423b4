"""``osler inspect``: the table, the JSON and the picture."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from osler.cli.demo import demo_scan
from osler.readers import dicom_pixels
from osler.readers.blob import DiskBlob
from osler.study import Affine
from osler.writers import is_own_picture, load_schema
from tests.cli.bad_inputs import PATIENT_ID, PATIENT_NAME, named_ct
from tests.cli.running import invoke, loaded_after
from tests.readers import make_slide
from tests.readers.make_dicom import base_dataset, geometry, save


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def test_the_table_names_dates_geometry_and_problems(folder: Path) -> None:
    result = invoke("inspect", demo_scan(), "--no-picture")
    assert result.exit_code == 0, result.output
    for part in (
        "1 patient, 1 time point (2019-10-19), 1 series",
        "CT",
        "Lv2 HEAD",
        "512 x 512",
        "0.431",
        "axial LPS",
        "HU",
    ):
        assert part in result.stdout
    assert "Problem: CT Lv2 HEAD:" in result.stdout
    assert os.listdir(folder) == []


def test_json_matches_its_schema(folder: Path) -> None:
    result = invoke("inspect", demo_scan(), "--json", "--picture", "seen.png")
    record = json.loads(result.stdout)
    schema = load_schema("inspection")
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(record)
    assert record["picture"] == str(folder / "seen.png")
    (series,) = record["timepoints"][0]["series"]
    assert series["size"] == [512, 512]
    assert series["units"] == "HU"
    assert series["plane"] == "axial"


def test_the_picture_shows_what_the_model_sees(folder: Path) -> None:
    from osler.model.config import get_config
    from osler.prepare import prepare_images, preprocess_for
    from osler.readers import open_study

    assert invoke("inspect", demo_scan()).exit_code == 0
    target = folder / "osler-inspect.png"
    assert is_own_picture(target)
    seen = prepare_images(open_study(demo_scan()), preprocess=preprocess_for(get_config("osler-mini"))).pixels.rgb[0]
    sheet = np.asarray(Image.open(target))
    left, top, side = 50, 72, 620
    shown = Image.fromarray(sheet[top : top + side, left : left + side]).resize((256, 256))
    middle = slice(64, 192)
    apart = np.abs(np.asarray(shown, float)[middle, middle] - seen[middle, middle]).mean()
    assert apart < 4
    mirrored = np.abs(np.asarray(shown, float)[middle, middle] - seen[middle, ::-1][:, middle]).mean()
    assert mirrored > 2 * apart


def test_the_default_picture_never_overwrites_a_foreign_file(folder: Path) -> None:
    target = folder / "osler-inspect.png"
    target.write_bytes(b"mine")
    result = invoke("inspect", demo_scan())
    assert result.exit_code == 0
    assert "No picture is drawn" in result.stderr
    assert target.read_bytes() == b"mine"


def test_an_own_picture_is_drawn_again_and_force_takes_the_rest(folder: Path) -> None:
    assert invoke("inspect", demo_scan()).exit_code == 0
    assert invoke("inspect", demo_scan()).exit_code == 0
    foreign = folder / "foreign.png"
    foreign.write_bytes(b"mine")
    assert invoke("inspect", demo_scan(), "--picture", foreign).exit_code == 2
    assert invoke("inspect", demo_scan(), "--picture", foreign, "--force").exit_code == 0
    assert is_own_picture(foreign)


def test_an_unknown_model_is_refused(folder: Path) -> None:
    result = invoke("inspect", demo_scan(), "--model", "osler-mni")
    assert result.exit_code == 2
    assert "Did you mean 'osler-mini'?" in result.stderr


def test_the_view_is_drawn_by_the_contract_of_the_model(folder: Path) -> None:
    from osler.prepare import Preprocess

    own = Preprocess(image_size=48, image_tokens=9)
    (folder / "mine").mkdir()
    (folder / "mine" / "preprocess.json").write_text(own.to_json())
    for model, code in ((folder / "mine", 0), ("gemma-3-270m", 2)):
        result = invoke("inspect", demo_scan(), "--model", model)
        assert result.exit_code == code, result.output
    assert "reads text only" in result.stderr


@pytest.mark.parametrize("options", [(), ("--json",), ("--no-picture",)])
def test_no_patient_is_named(folder: Path, options: tuple[str, ...]) -> None:
    scans = folder / "scans"
    scans.mkdir()
    named_ct(scans / "1.dcm")
    result = invoke("inspect", scans, *options)
    assert result.exit_code == 0, result.output
    for secret in (*PATIENT_NAME.split("^"), PATIENT_ID, "19070707"):
        assert secret not in result.output
        for written in folder.glob("*.png"):
            assert secret.encode() not in written.read_bytes()


def test_inspecting_does_not_load_torch(folder: Path) -> None:
    code = (
        "from osler.cli.app import app\n"
        "from typer.testing import CliRunner\n"
        f"assert CliRunner().invoke(app, ['inspect', {str(demo_scan())!r}]).exit_code == 0"
    )
    assert "torch" not in loaded_after(code)


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes are Linux's")
def test_a_name_that_is_not_utf8_is_no_fault(folder: Path) -> None:
    path = os.fsdecode(os.fsencode(folder) + b"/scan\xff.dcm")
    named_ct(Path(path))
    for options in ((), ("--json",)):
        result = invoke("inspect", path, "--no-picture", *options)
        assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["source"] == path


@pytest.mark.slow
def test_ten_thousand_files_cost_their_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts what is read of 10,000 files of half a megabyte (sparse on disk); nothing is timed."""
    count, pixels = 10_000, 512 * 512 * 2
    template = base_dataset(
        np.zeros((1, 2), np.int16),
        **geometry(Affine.from_parts(spacing=(1.0, 1.0, 1.0))),
        SOPInstanceUID="1.2.900000",
        Rows=512,
        Columns=512,
    )
    template.ImagePositionPatient = ["0", "0", "000000.0"]
    header = save(template, tmp_path / "template.dcm").read_bytes()[: -len(template.PixelData) - 4]
    for index in range(count):
        folder = tmp_path / "study" / str(index // 500)
        folder.mkdir(parents=True, exist_ok=True)
        numbered = header.replace(b"1.2.900000", b"1.2.9%05d" % index).replace(b"000000.0", b"%06d.0" % index)
        numbered = numbered.replace(b"1.2.3.2", b"1.2.3.%d" % (4 + index % 5))
        path = folder / f"{index}.dcm"
        path.write_bytes(numbered + struct.pack("<I", pixels))
        os.truncate(path, len(numbered) + 4 + pixels)
    read: list[int] = []

    class Counting(io.FileIO):
        def readinto(self, buffer: memoryview) -> int:
            read.append(len(buffer))
            return super().readinto(buffer)

        def readall(self) -> bytes:
            raise AssertionError("a file was read whole")

    monkeypatch.setattr(DiskBlob, "open", lambda blob: io.BufferedReader(Counting(blob.path)))
    monkeypatch.setattr(dicom_pixels, "decode_all", lambda *args, **rest: pytest.fail("pixels were decoded"))
    result = invoke("inspect", tmp_path / "study", "--json", "--no-picture")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert [series["slices"] for point in record["timepoints"] for series in point["series"]] == [2000] * 5
    assert record["left_out"] == record["problems"] == []
    assert sum(read) / count < 32_000  # of 524,288 and more


def test_a_slide_is_told_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = make_slide.tissue_pixels(width=3700, height=1800, blobs=((0.25, 0.5, 0.45), (0.75, 0.5, 0.45)))
    make_slide.write_svs(tmp_path / "a.svs", pixels)
    result = invoke("inspect", "a.svs", "--model", "medgemma-1.5-4b")
    assert result.exit_code == 0, result.output
    told = " ".join(result.stdout.split())
    assert "Slide a.svs: 0.5 microns a pixel, 20x objective; 2 levels (3700 x 1800, 1850 x 900)" in told
    assert "tissue in 100% of it; a model sees 2 of 2 tissue tiles at 10x (published)" in told
    assert (tmp_path / "osler-inspect.png").is_file()
    result = invoke("inspect", "a.svs", "--json", "--no-picture")
    (series,) = json.loads(result.stdout)["timepoints"][0]["series"]
    assert series["levels"] == [[3700, 1800], [1850, 900]]
    assert series["kind"] == "slide"
