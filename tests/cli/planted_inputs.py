"""One patient in every kind of input, with identifiers in all places that a format has for them.

File names tell nothing: a name that the user gives is theirs to see again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from osler.study import Affine
from tests.evaluate.sets.folders import write_lungs
from tests.readers.make_dicom import geometry, set_elements
from tests.readers.make_document import make_pdf
from tests.readers.make_fhir import coded, observation, patient, resource, write
from tests.readers.make_slide import TILE, levels_of, tissue_pixels
from tests.tasks import planted as p

MIDDLE_NAME, MAIL = "Theodulf", "adalbert@quellwasser.example"
IDENTIFIERS = (*p.SECRETS, "1961-12-24", "24.12.1961", MIDDLE_NAME, MAIL)
"""What must stand in no log, no message and no file that the user has not named."""

_QUOTED = ("Quellwasser", "Sturmfels", "Walburga", p.NUMBER, p.DAY)
DIRECT = tuple(one for one in IDENTIFIERS if one not in (*_QUOTED, p.STUDY, p.SERIES, p.FRAME))
"""What an answer about images never shows either: it quotes descriptions of series, dates and UIDs alone."""

_AFFINE = Affine.from_parts(spacing=(4.0, 4.0, 5.0), origin=(-128.0, -128.0, 0.0))
_WHO = f"{p.NAME} {MIDDLE_NAME} {p.OTHER_NAME} {p.NUMBER} {p.ACCESSION} {p.PHONE} {p.ADDRESS} {p.BIRTH} {MAIL}"


def write_inputs(folder: Path) -> None:
    """Writes every file that the runs of the test name."""
    write_series(folder / "now", day=p.DAY, study=p.STUDY)
    write_series(folder / "prior", day="20230117", study=f"{p.STUDY}.9")
    _write_pictures(folder)
    write_slide(folder / "slide.tif")
    volume = nibabel.Nifti1Image(np.arange(4 * 16 * 16, dtype=np.int16).reshape(16, 16, 4), np.diag([4.0, 4, 5, 1]))
    volume.header["descrip"], volume.header["aux_file"] = p.NAME.encode(), p.NUMBER.encode()
    volume.header["db_name"] = p.BIRTH.encode()
    nibabel.save(volume, folder / "scan.nii.gz")
    _write_record(folder / "record.json")
    letter = (
        "Laboratory report", f"{p.NAME.replace('^', ', ')} {MIDDLE_NAME}", f"Born {p.BIRTH[:4]}-12-24, {p.ADDRESS}",
        f"Number {p.NUMBER} {p.ACCESSION} {p.PHONE} {MAIL}", "Collected 2023-08-17", "Potassium 5.8 mmol/L 3.5 - 5.1",
    )  # fmt: skip
    make_pdf(folder / "report.pdf", letter)
    (folder / "letter.txt").write_text("\n".join(letter) + "\nA pleural effusion on the left.\n", encoding="utf-8")
    for name in ("inbox", "archive"):
        shutil.copytree(folder / "now", folder / name / "1")
        shutil.copy(folder / "record.json", folder / name / "1" / "record.json")
        shutil.copy(folder / "letter.txt", folder / name / "1" / "report.txt")
    _write_tables(folder)
    _write_broken(folder)


def write_series(folder: Path, *, day: str, study: str) -> None:
    """Writes a chest CT of three slices, named by numbers."""
    z, y, x = np.ogrid[:3, :64, :64]
    body = (((x - 32) ** 2 + (y - 32) ** 2 < 600) * 1000 - 950 + 3 * z).astype(np.int16)
    for number in range(3):
        ds = p.planted(number=number + 1, day=day, pixels=np.ascontiguousarray(body[number]))
        set_elements(ds, **geometry(_AFFINE, index=number), BodyPartExamined="CHEST")
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{p.SERIES}.{day}"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{p.SERIES}.{day}.{number + 1}"
        p.save(ds, folder / f"{number}.dcm")


def _write_pictures(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 50)).astype(np.uint8)
    texts = PngInfo()
    for key in ("Author", "Comment", "Description"):
        texts.add_text(key, _WHO)
        texts.add_itxt(f"{key}2", _WHO)
    for name in ("now.png", "before.png"):
        Image.fromarray(pixels).save(folder / name, pnginfo=texts)
    for name, width in (("now.json", 30), ("before.json", 20)):
        (folder / name).write_text(f'[{{"label": "nodule", "x0": 1, "y0": 1, "x1": {1 + width}, "y1": 9}}]')
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x8298] = _WHO, p.NAME, p.ADDRESS
    Image.fromarray(pixels).save(folder / "chest.jpg", exif=exif, comment=_WHO.encode())
    tags = {270: _WHO, 315: p.NAME, 305: p.STATION, 316: p.SERIAL, 33432: p.ADDRESS}
    Image.fromarray(pixels).save(folder / "chest.tif", tiffinfo=tags)


def write_slide(path: Path) -> None:
    """Writes a small slide of two levels with identifiers in its tags."""
    levels = levels_of(tissue_pixels(width=1024, height=768, blobs=((0.5, 0.5, 0.3),)), count=2)
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(levels):
            file.write(
                level, tile=(TILE, TILE), photometric="rgb", compression="zlib", metadata=None, description=_WHO,
                subfiletype=1 if number else 0, software=p.STATION, resolution=(2e4 / 2**number,) * 2,
                resolutionunit=3, extratags=[(315, 2, 0, p.NAME, True), (33432, 2, 0, p.ADDRESS, True)],
            )  # fmt: skip


def _write_record(path: Path) -> None:
    person = patient(p.NUMBER, birth="1961-12-24") | {
        "name": [{"family": "Quellwasser", "given": ["Adalbert", MIDDLE_NAME]}],
        "telecom": [{"system": "phone", "value": p.PHONE}, {"system": "email", "value": MAIL}],
        "address": [{"line": ["Lindenallee 17"], "city": "Entenhausen", "text": p.ADDRESS}],
        "contact": [{"name": {"family": "Birkenhain", "given": ["Ottilie"]}}],
        "text": {"status": "generated", "div": f"<div>{_WHO}</div>"},
    }
    write(
        path, person, observation("HbA1c", 6.9, unit="%", code="4548-4", identity="o1", date="2023-03-05"),
        observation("HbA1c", 700, unit="furlong", code="4548-4", identity="o2", note=[{"text": _WHO}]),
        resource("Condition", id="c1", code=coded("Asthma"), clinicalStatus=coded("", "active"), note=[{"text": _WHO}]),
        resource("Observation", id=p.NUMBER, status="final", effectiveDateTime=_WHO, valueString=7),
        {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Sturmfels", "given": ["Walburga"]}]},
    )  # fmt: skip


def _write_tables(folder: Path) -> None:
    rows = ["path,question,answer", *(f"{name},Is it bright?,Yes" for name in ("now.png", "broken.dcm", "chest.jpg"))]
    (folder / "scans.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    write_lungs(folder / "data", count=4)
    table = folder / "data" / "cxr" / "lung-boxes" / "boxes.csv"
    table.write_text(table.read_text().replace("p1,", f"{p.NUMBER},").replace("p2,", f"{p.NAME},"), encoding="utf-8")
    (folder / "data" / "cxr" / "lung-boxes" / "images" / "2.png").write_bytes(_WHO.encode())


def _write_broken(folder: Path) -> None:
    """The same files cut or changed so that each reader fails, in a way that could quote what it met."""
    whole = (folder / "now" / "1.dcm").read_bytes()
    (folder / "broken.dcm").write_bytes(whole[: len(whole) - 5000])
    (folder / "broken-folder").mkdir()
    for number, length in enumerate((400, 1200, 3000)):
        (folder / "broken-folder" / f"{number}.dcm").write_bytes(whole[:length])
    ds = p.planted(number=1)
    set_elements(ds, **geometry(_AFFINE, index=0))
    p.save(ds, folder / "odd.dcm")
    odd = (folder / "odd.dcm").read_bytes()  # values of a name where numbers and dates stand
    (folder / "odd.dcm").write_bytes(
        odd.replace(b"DA\x08\x0020230817", b"DA\x08\x00Adalbert").replace(b"4\\4 ", b"Adal")
    )
    write_series(folder / "other", day="20220101", study=f"{p.STUDY}.8")
    for path in (folder / "other").iterdir():
        path.write_bytes(path.read_bytes().replace(p.NUMBER.encode(), b"PID-778899-Y"))
    record = (folder / "record.json").read_text(encoding="utf-8")
    (folder / "broken.json").write_text(record[: len(record) - 200], encoding="utf-8")
    other = json.loads(record.replace(p.NUMBER, "PID-778899-Z").replace("1961-12-24", "1950-01-01"))
    (folder / "other.json").write_text(json.dumps(other), encoding="utf-8")
    pdf = (folder / "report.pdf").read_bytes()
    (folder / "broken.pdf").write_bytes(pdf[: len(pdf) // 2])
    make_pdf(folder / "locked.pdf", (p.NAME, p.NUMBER), password="secret")
    for name in ("slide.tif", "chest.tif", "now.png", "scan.nii.gz"):
        data = (folder / name).read_bytes()
        (folder / f"broken-{name}").write_bytes(data[: len(data) - len(data) // 3])
    shutil.copytree(folder / "broken-folder", folder / "bad-inbox" / "1")
    shutil.copy(folder / "broken.json", folder / "bad-inbox" / "2.json")
