"""Small folders laid out as the publishers of the report's imaging benchmarks lay them out.

Every picture or volume has one value, which tells a scripted model which one it sees.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image as Picture

from osler.evaluate.published import PromptStyle
from osler.evaluate.responder import Inquiry
from osler.evaluate.sets.chest_imagenome import _TABLE as IMAGENOME
from osler.evaluate.sets.ms_cxr_t import _TABLE as MS_CXR_T
from osler.evaluate.sets.volume_conditions import EIGHTEEN
from osler.evaluate.sets.xray_labels import FIVE
from osler.study import Image, Volume
from tests.evaluate.sets.folders import write_csv
from tests.evaluate.test_runner import Counting
from tests.readers.make_slide import tissue_pixels, write_svs

STEP = 10
_CT = -900
_MIMIC = "cxr/mimic-cxr"


class Scripting(Counting):
    """Sees which picture or volume it is asked about, and answers as a test says.

    Args:
        answers: What it says to a number and a question; the number of a blanked picture is -1.
        style: How it is asked.
        trained: What it is asked for.
    """

    def __init__(
        self, answers: Callable[[int, str], str], *, style: PromptStyle, trained: Sequence[str] = ("answers",)
    ) -> None:
        super().__init__()
        self.answers = answers
        self.style = style
        self.trained = frozenset(trained)
        self.asked: list[tuple[int, str]] = []
        self.systems: set[str] = set()

    def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
        """Answers in order."""
        texts = []
        for inquiry in inquiries:
            number = number_of(inquiry)
            self.systems.add(inquiry.system)
            if number >= 0:
                self.asked.append((number, inquiry.question))
            texts.append(self.answers(number, inquiry.question))
        return texts


def number_of(inquiry: Inquiry) -> int:
    """The number of the last picture or volume; -1 for a blanked or another one."""
    assert inquiry.study is not None
    series = [one for one in inquiry.study.series() if isinstance(one, Image | Volume)]
    if not series or series[-1].series.startswith("blanked:"):
        return -1
    value = float(np.median(series[-1].read()))
    return round((value - _CT if value < 0 else value) / STEP)


def write_picture(path: Path, *, number: int, size: tuple[int, int] = (40, 40)) -> None:
    """A picture of one gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.full(size[::-1], number % 25 * STEP, dtype=np.uint8)).save(path)


def write_gzip(path: Path, rows: list[dict[str, object]]) -> None:
    """A table packed by gzip."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.getvalue().encode()))


def write_cxr14(root: Path, labels: Sequence[tuple[str, str, str]]) -> None:
    """CXR14 with Google's adjudicated labels: opacity, pneumothorax and fracture of each picture."""
    rows: list[dict[str, object]] = []
    for number, (opacity, pneumothorax, fracture) in enumerate(labels):
        name = f"{number:08d}_000.png"
        write_picture(root / "cxr" / "nih" / "images" / name, number=number)
        rows.append(
            {"Image Index": name, "Finding Labels": "No Finding", "Patient ID": number // 2, "Fracture": fracture,
             "Pneumothorax": pneumothorax, "Airspace opacity": opacity, "Nodule or mass": "NO"}
        )  # fmt: skip
    write_csv(root / "cxr" / "nih" / "four_findings_expert_labels" / "test_labels.csv", rows)


def write_chexpert(root: Path, labels: Sequence[Sequence[str]], *, table: str = "test_labels.csv") -> None:
    """CheXpert's test set, or its validation set, whose paths begin with the folder of the release."""
    folder = root / "cxr" / "chexpert"
    before, part = ("", "test") if table == "test_labels.csv" else ("CheXpert-v1.0-small/", "valid")
    rows: list[dict[str, object]] = []
    for number, cells in enumerate(labels):
        place = f"{part}/patient{64740 + number}/study1/view1_frontal.jpg"
        write_picture(folder / place, number=number)
        rows.append({"Path": before + place, "No Finding": "0.0", **dict(zip(FIVE, cells, strict=True))})
    write_csv(folder / table, rows)


def mimic_place(number: int) -> str:
    """Where picture ``number`` lies below ``files``, without its ending."""
    return f"p1{number % 2}/p1{number % 2}000{number:03d}/s5000{number:04d}/{number:08x}-dicom"


def write_mimic(root: Path, labels: Sequence[Sequence[str]], *, table: str = "mimic-cxr-2.0.0-chexpert.csv") -> None:
    """MIMIC-CXR-JPG: a test split of which every fourth picture is lateral, and one picture of the train split."""
    split: list[dict[str, object]] = []
    views: list[dict[str, object]] = []
    rows: list[dict[str, object]] = []
    for number, cells in enumerate(labels):
        place = mimic_place(number)
        _, patient, study, dicom = place.split("/")
        write_picture(root / _MIMIC / "files" / f"{place}.jpg", number=number, size=(64, 48))
        keys = {"dicom_id": dicom, "study_id": study[1:], "subject_id": patient[1:]}
        split.append({**keys, "split": "train" if number == len(labels) - 1 else "test"})
        views.append({"dicom_id": dicom, "ViewPosition": "LATERAL" if number % 4 == 3 else ("AP", "PA")[number % 2]})
        rows.append({"subject_id": patient[1:], "study_id": study[1:], **dict(zip(FIVE, cells, strict=True))})
    write_gzip(root / _MIMIC / "mimic-cxr-2.0.0-split.csv.gz", split)
    write_gzip(root / _MIMIC / "mimic-cxr-2.0.0-metadata.csv.gz", views)
    write_gzip(root / _MIMIC / f"{table}.gz", rows)


def write_reports(root: Path, sections: dict[int, dict[str, str]]) -> None:
    """Reports of MIMIC-CXR on the studies of some pictures, by heading."""
    for number, parts in sections.items():
        path = root / _MIMIC / "files" / f"{mimic_place(number).rpartition('/')[0]}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f" {heading}: \n \n {words}\n \n" for heading, words in parts.items()]
        path.write_text("FINAL REPORT\n".rjust(48) + "".join(lines), encoding="utf-8")


def write_imagenome(root: Path, boxes: Sequence[tuple[int, str, Sequence[object]]]) -> None:
    """The gold boxes of Chest ImaGenome: number of the picture of MIMIC-CXR, structure, edges in its pixels."""
    rows: list[dict[str, object]] = []
    for number, name, (x0, y0, x1, y1) in boxes:
        rows.append(
            {"image_id": f"{Path(mimic_place(number)).name}.dcm", "x1": 1, "y1": 1, "x2": 2, "y2": 2, "bbox_name": name,
             "original_x1": x0, "original_x2": x1, "original_y1": y0, "original_y2": y1, "annotator": "C"}
        )  # fmt: skip
    write_csv(root / IMAGENOME, rows)


def write_ms_cxr_t(root: Path, pairs: Sequence[tuple[int, int, dict[str, str]]]) -> None:
    """MS-CXR-T: number of the prior, of the current picture, and the changes that are judged."""
    names = ("consolidation", "edema", "pleural_effusion", "pneumonia", "pneumothorax")
    rows: list[dict[str, object]] = []
    for before, now, changes in pairs:
        rows.append(
            {"dicom_id": mimic_place(now), "previous_dicom_id": mimic_place(before), "study_id": now,
             "subject_id": f"p{now}", **{f"{name}_progression": changes.get(name, "") for name in names}}
        )  # fmt: skip
    write_csv(root / MS_CXR_T, rows)


def write_volume(path: Path, *, number: int, modality: str) -> None:
    """A volume of six slices of one value; of CT with air and bone at its edges."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((12, 12, 6), number * STEP + (_CT if modality == "ct" else 0), dtype=np.int16)
    values[0], values[-1] = (-1000, 200) if modality == "ct" else (0, 500)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0])), path)


def write_ct_rate(root: Path, labels: Sequence[Sequence[str]]) -> None:
    """CT-RATE's validation split: two reconstructions of each scan, two scans of each patient."""
    folder = root / "ct" / "ct-rate"
    rows: list[dict[str, object]] = []
    for number, cells in enumerate(labels):
        patient, scan = f"valid_{number // 2 + 1}", f"valid_{number // 2 + 1}_{'ab'[number % 2]}"
        for reconstruction in (1, 2):
            name = f"{scan}_{reconstruction}.nii.gz"
            write_volume(folder / "valid_fixed" / patient / scan / name, number=number, modality="ct")
            rows.append({"VolumeName": name, **dict(zip(EIGHTEEN, cells, strict=True))})
    write_csv(folder / "multi_abnormality_labels" / "valid_predicted_labels.csv", rows)


def write_conditions(root: Path, modality: str, questions: Sequence[tuple[int, str, str, str]]) -> None:
    """A table of one's own: number of the volume, condition, label, history."""
    folder = root / modality / "conditions"
    rows: list[dict[str, object]] = []
    for number, condition, label, history in questions:
        name = f"volumes/{number}.nii.gz"
        write_volume(folder / name, number=number, modality=modality)
        rows.append(
            {"volume": name, "patient": f"p{number}", "condition": condition, "label": label, "history": history}
        )
    write_csv(folder / "questions.csv", rows)


def write_diagnoses(root: Path, diagnoses: Sequence[tuple[str, str]]) -> None:
    """Slides beside a table of specimens and diagnoses."""
    (root / "slides").mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for number, (specimen, diagnosis) in enumerate(diagnoses):
        pixels = tissue_pixels(width=960, height=960, blobs=((0.5, 0.5, 0.45),), seed=number)
        write_svs(root / "slides" / f"{number}.svs", pixels)
        rows.append({"slide": f"{number}.svs", "patient": f"p{number}", "specimen": specimen, "diagnosis": diagnosis})
    write_csv(root / "slides" / "diagnoses.csv", rows)
