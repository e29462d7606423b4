"""Lung boxes on chest X-rays: drawn boxes, and boxes around the lung masks of Montgomery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from osler.errors import FileFormatError
from osler.evaluate.responder import blank_study
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.types import Case, Plan, Setting, missing_files, shuffled
from osler.evaluate.sets.xrays import open_xray, read_table
from osler.study import Box2D, Study
from osler.tasks.locate import locate
from osler.weights.skills import Skill

LUNGS = ("right lung", "left lung")
_TABLE = "cxr/lung-boxes/boxes.csv"
_LEAST_PIXELS = 50

Boxes = dict[str, Box2D]


class LungBoxes:
    """IoU of the likeliest box of each lung; a lung without a box counts 0."""

    name = "lung-boxes"
    title = "Lung boxes on chest X-rays"
    skills: frozenset[Skill] = frozenset({"boxes", "box_text"})
    measures = (
        Measure(name="mean IoU", field="iou"),
        Measure(name="IoU over 0.5", field="hit"),
        Measure(name="boxes given", field="given"),
    )
    batch = 1

    def __init__(self) -> None:
        # (source, patient) -> boxes as fractions of the picture, for the mean box
        self._known: list[tuple[str, str, Boxes]] = []

    def plan(self, setting: Setting) -> Plan:
        """Lists the X-rays with boxes or masks."""
        found = [*_drawn(setting.root), *_masked(setting.root)]
        self._known = [
            (source, patient, {name: box.to_unit(width=size[0], height=size[1]) for name, box in boxes.items()})
            for source, patient, _, size, boxes in found
        ]
        cases = [
            Case(name=f"{path.parent.parent.name}/{path.name}", patient=f"{source}:{patient}", content=(path, boxes))
            for source, patient, path, _, boxes in found
            if setting.keeps(source, patient=patient)
        ]
        absent = missing_files(setting.root, _TABLE) or "no held-out X-ray with boxes"
        notes = ("Mean box: the mean of the edges, as fractions of the picture, of other patients' boxes.",)
        return Plan(cases=shuffled(cases), absent="" if cases else absent, notes=notes)

    def open(self, setting: Setting, case: Case) -> Study:
        """Reads the picture."""
        return open_xray(case.content[0])

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row a lung."""
        rows = []
        for case in cases:
            path, truth = case.content
            study = case.opened or self.open(setting, case)
            width, height = study.images()[0].size
            found, blind = _located(setting, study), _located(setting, blank_study(study))
            mean = self._mean(setting, asked=case.patient)
            for lung, box in truth.items():
                mean_box = mean[lung].to_pixel(width=width, height=height) if lung in mean else None
                systems = {MODEL: found.get(lung), "blanked": blind.get(lung), "mean box": mean_box}
                overlaps = {system: other.iou(box) if other else 0.0 for system, other in systems.items()}
                rows.append(
                    Row(
                        case=case.name,
                        patient=case.patient,
                        group=lung,
                        values={
                            "iou": {system: (value, 1.0) for system, value in overlaps.items()},
                            "hit": {system: (float(value > 0.5), 1.0) for system, value in overlaps.items()},
                            "given": {MODEL: (float(lung in found), 1.0)},
                        },
                        asked=lung,
                        said=_edges(found.get(lung)),
                        truth=_edges(box),
                        picture={"file": str(path), "said": _corners(found.get(lung)), "truth": _corners(box)},
                    )
                )
        return rows

    def _mean(self, setting: Setting, *, asked: str) -> Boxes:
        means = {}
        for lung in LUNGS:
            edges = [
                (boxes[lung].x0, boxes[lung].y0, boxes[lung].x1, boxes[lung].y1)
                for source, patient, boxes in self._known
                if lung in boxes and self._learns(setting, source, patient, asked=asked)
            ]
            if edges:
                x0, y0, x1, y1 = (float(edge) for edge in np.mean(edges, axis=0))
                means[lung] = Box2D(x0=x0, y0=y0, x1=x1, y1=y1, frame="unit")
        return means

    @staticmethod
    def _learns(setting: Setting, source: str, patient: str, *, asked: str) -> bool:
        return f"{source}:{patient}" != asked and setting.learns(source, patient=patient, asked="")


def _located(setting: Setting, study: Study) -> Boxes:
    """The likeliest box of each lung, in pixels of the file."""
    session = setting.responder.session
    assert session is not None
    answer = locate(session, study, LUNGS)
    best: dict[str, tuple[float, Box2D]] = {}
    for found in answer.boxes:
        if found.pixel is not None and found.score > best.get(found.label, (-1.0, None))[0]:
            best[found.label] = (found.score, found.pixel)
    return {label: box for label, (_, box) in best.items()}


def _drawn(root: Path) -> list[tuple[str, str, Path, tuple[int, int], Boxes]]:
    """Boxes drawn by people; pictures that Hannover has too keep Hannover's patient, as in training."""
    if not (root / _TABLE).is_file():
        return []
    rows = read_table(root / _TABLE, columns=("image", "patient", "label", "x0", "y0", "x1", "y1"))
    table = root / "cxr" / "hannover" / "data.csv"
    owners = {}
    if table.is_file():
        owners = {row["image_id"]: row["patient_id"] for row in read_table(table, columns=("image_id", "patient_id"))}
    found: dict[str, tuple[str, str, Path, tuple[int, int], Boxes]] = {}
    for row in rows:
        path = root / "cxr" / "lung-boxes" / "images" / row["image"]
        if row["label"] not in LUNGS or not path.is_file():
            continue
        owner = owners.get(path.stem)
        source, patient = ("hannover", owner) if owner else ("lung-boxes", row["patient"])
        if row["image"] not in found:
            found[row["image"]] = (source, patient, path, _size(path), {})
        edges = {edge: float(row[edge]) for edge in ("x0", "y0", "x1", "y1")}
        found[row["image"]][4][row["label"]] = Box2D(**edges)
    return list(found.values())


def _masked(root: Path) -> list[tuple[str, str, Path, tuple[int, int], Boxes]]:
    """Boxes around masks: the patient's right lung lies in the left half of a frontal picture."""
    found = []
    for path in sorted((root / "cxr" / "montgomery" / "images").glob("*")):
        mask = root / "cxr" / "montgomery" / "lung_masks" / f"{path.stem}.png"
        if mask.is_file():
            found.append(("montgomery", path.stem.split("_")[1], path, _size(path), lungs_of(mask, size=_size(path))))
    return found


def lungs_of(path: Path, *, size: tuple[int, int]) -> Boxes:
    """Boxes of both lungs in the pixels of a picture of a given size.

    Args:
        path: A mask of both lungs, of the same shape at any size.
        size: Width and height of the picture.

    Raises:
        FileFormatError: If the mask cannot be read.
    """
    try:
        with Picture.open(path) as opened:
            mask = np.asarray(opened.convert("L")) > 127
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path.name} is not a readable mask.") from error
    middle = mask.shape[1] // 2
    scale_x, scale_y = size[0] / mask.shape[1], size[1] / mask.shape[0]
    boxes = {}
    for lung, half, offset in ((LUNGS[0], mask[:, :middle], 0), (LUNGS[1], mask[:, middle:], middle)):
        rows, columns = np.flatnonzero(half.any(axis=1)), np.flatnonzero(half.any(axis=0))
        if half.sum() >= _LEAST_PIXELS:
            boxes[lung] = Box2D(
                x0=float(columns[0] + offset) * scale_x,
                y0=float(rows[0]) * scale_y,
                x1=float(columns[-1] + 1 + offset) * scale_x,
                y1=float(rows[-1] + 1) * scale_y,
            )
    return boxes


def _size(path: Path) -> tuple[int, int]:
    try:
        with Picture.open(path) as opened:
            return opened.size
    except OSError:
        return 1, 1  # the runner meets the broken file again, and counts it


def _edges(box: Box2D | None) -> str:
    return "no box" if box is None else f"{box.x0:.0f}, {box.y0:.0f} to {box.x1:.0f}, {box.y1:.0f} px"


def _corners(box: Box2D | None) -> list[float]:
    return [] if box is None else [box.x0, box.y0, box.x1, box.y1]
