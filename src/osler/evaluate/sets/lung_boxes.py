"""Boxes on chest X-rays, and those of lungs: drawn ones, and ones around the lung masks of Montgomery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from osler.errors import FileFormatError, GeometryError
from osler.evaluate.responder import blank_study
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.other_patients import OtherPatients
from osler.evaluate.sets.types import Case, Plan, Setting, missing_files, shuffled
from osler.evaluate.sets.xrays import open_xray, read_table
from osler.study import Box2D, Study
from osler.tasks.locate import draw_boxes
from osler.weights.skills import Skill

LUNGS = ("right lung", "left lung")
_TABLE = "cxr/lung-boxes/boxes.csv"
_EDGES = ("x0", "y0", "x1", "y1")
_LEAST_PIXELS = 50
_UNREAD = (1, 1)

Boxes = dict[str, Box2D]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxedXray:
    """An X-ray and the boxes on it.

    Args:
        source: Data set. patient: Key within it.
        path: Of the picture. size: Its width and height, px.
        boxes: By structure, in pixels of the picture.
        problem: What is wrong with its boxes; it fails by itself.
    """

    source: str
    patient: str
    path: Path
    size: tuple[int, int]
    boxes: Boxes
    problem: str = ""

    @property
    def name(self) -> str:
        """Unique within the set."""
        return f"{self.path.parent.parent.name}/{self.path.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxedXrays:
    """What a data set lists.

    Args:
        xrays: Whose pictures are there.
        absent: Why there are none.
        notes: What a reader must know.
    """

    xrays: tuple[BoxedXray, ...] = ()
    absent: str = ""
    notes: tuple[str, ...] = ()


class XrayBoxes:
    """IoU of the likeliest box of each structure; a structure without a box counts 0.

    A subclass lists its X-rays in `found`.
    """

    name: str
    title: str
    skills: frozenset[Skill] = frozenset({"boxes", "box_text"})
    measures = (
        Measure(name="mean IoU", field="iou"),
        Measure(name="IoU over 0.5", field="hit"),
        Measure(name="boxes given", field="given"),
    )
    batch = 1
    blind = True
    """Whether blanked pictures are asked about, too: twice the work where boxes are written as text."""

    def __init__(self) -> None:
        self._others: OtherPatients | None = None

    def found(self, setting: Setting) -> BoxedXrays:
        """Lists the X-rays with boxes.

        Raises:
            OslerError: If a table is at fault.
        """
        raise NotImplementedError

    def plan(self, setting: Setting) -> Plan:
        """Lists the X-rays of patients that may be asked about."""
        listed = self.found(setting)
        self._others = OtherPatients(setting)
        for xray in listed.xrays:
            for name, box in xray.boxes.items() if xray.size != _UNREAD else ():
                unit = box.to_unit(width=xray.size[0], height=xray.size[1])
                edges = (unit.x0, unit.y0, unit.x1, unit.y1)
                self._others.add(name, edges, source=xray.source, patient=xray.patient)
        cases = [
            Case(name=xray.name, patient=f"{xray.source}:{xray.patient}", content=xray)
            for xray in listed.xrays
            if setting.keeps(xray.source, patient=xray.patient)
        ]
        absent = listed.absent or "no held-out X-ray with boxes"
        mean = "Mean box: the mean of the edges, as fractions of the picture, of other patients' boxes."
        return Plan(cases=shuffled(cases), absent="" if cases else absent, notes=(*listed.notes, mean))

    def open(self, setting: Setting, case: Case) -> Study:
        """Reads the picture."""
        return open_xray(case.content.path)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row a structure."""
        rows = []
        for case in cases:
            xray: BoxedXray = case.content
            if xray.problem:
                raise FileFormatError(xray.problem)
            study = case.opened or self.open(setting, case)
            width, height = study.images()[0].size
            found = _located(setting, study, labels=tuple(xray.boxes))
            blind = _located(setting, blank_study(study), labels=tuple(xray.boxes)) if self.blind else {}
            for label, box in xray.boxes.items():
                mean = self._mean(xray, label, width=width, height=height)
                systems = {MODEL: found.get(label), "mean box": mean}
                systems |= {"blanked": blind.get(label)} if self.blind else {}
                overlaps = {system: other.iou(box) if other else 0.0 for system, other in systems.items()}
                rows.append(
                    Row(
                        case=case.name,
                        patient=case.patient,
                        group=label,
                        values={
                            "iou": {system: (value, 1.0) for system, value in overlaps.items()},
                            "hit": {system: (float(value > 0.5), 1.0) for system, value in overlaps.items()},
                            "given": {MODEL: (float(label in found), 1.0)},
                        },
                        asked=label,
                        said=_edges(found.get(label)),
                        truth=_edges(box),
                        picture={"file": str(xray.path), "said": _corners(found.get(label)), "truth": _corners(box)},
                    )
                )
        return rows

    def _mean(self, xray: BoxedXray, label: str, *, width: int, height: int) -> Box2D | None:
        assert self._others is not None
        edges = self._others.mean(label, source=xray.source, patient=xray.patient)
        if edges is None:
            return None
        x0, y0, x1, y1 = (float(edge) for edge in edges)
        return Box2D(x0=x0, y0=y0, x1=x1, y1=y1, frame="unit").to_pixel(width=width, height=height)


class LungBoxes(XrayBoxes):
    """Both lungs."""

    name = "lung-boxes"
    title = "Lung boxes on chest X-rays"

    def found(self, setting: Setting) -> BoxedXrays:
        """Lists the X-rays with boxes or masks."""
        xrays = (*_drawn(setting.root), *_masked(setting.root))
        return BoxedXrays(xrays=xrays, absent=missing_files(setting.root, _TABLE))


def _located(setting: Setting, study: Study, *, labels: Sequence[str]) -> Boxes:
    """The likeliest box of each structure, in pixels of the file."""
    session = setting.responder.session
    assert session is not None
    answer = draw_boxes(session, study, labels)
    best: dict[str, tuple[float, Box2D]] = {}
    for found in answer.boxes:
        if found.pixel is not None and found.score > best.get(found.label, (-1.0, None))[0]:
            best[found.label] = (found.score, found.pixel)
    return {label: box for label, (_, box) in best.items()}


def _drawn(root: Path) -> list[BoxedXray]:
    """Boxes drawn by people; pictures that Hannover has too keep Hannover's patient, as in training."""
    if not (root / _TABLE).is_file():
        return []
    rows = read_table(root / _TABLE, columns=("image", "patient", "label", *_EDGES))
    table = root / "cxr" / "hannover" / "data.csv"
    owners = {}
    if table.is_file():
        owners = {row["image_id"]: row["patient_id"] for row in read_table(table, columns=("image_id", "patient_id"))}
    found: dict[str, BoxedXray] = {}
    for row in rows:
        path = root / "cxr" / "lung-boxes" / "images" / row["image"]
        if row["label"] not in LUNGS or not path.is_file():
            continue
        owner = owners.get(path.stem)
        source, patient = ("hannover", owner) if owner else ("lung-boxes", row["patient"])
        if row["image"] not in found:
            found[row["image"]] = BoxedXray(source=source, patient=patient, path=path, size=size_of(path), boxes={})
        try:
            found[row["image"]].boxes[row["label"]] = box_of(row, edges=_EDGES, where=f"{row['label']} on {path.name}")
        except FileFormatError as error:
            found[row["image"]] = replace(found[row["image"]], problem=f"{error} See {Path(_TABLE).name}.")
    return list(found.values())


def _masked(root: Path) -> list[BoxedXray]:
    """Boxes around masks: the patient's right lung lies in the left half of a frontal picture."""
    found = []
    for path in sorted((root / "cxr" / "montgomery" / "images").glob("*")):
        mask = root / "cxr" / "montgomery" / "lung_masks" / f"{path.stem}.png"
        if mask.is_file():
            patient, size = path.stem.split("_")[1], size_of(path)
            boxes = lungs_of(mask, size=size)
            found.append(BoxedXray(source="montgomery", patient=patient, path=path, size=size, boxes=boxes))
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


def box_of(row: Mapping[str, str], *, edges: Sequence[str], where: str) -> Box2D:
    """Reads a box, in pixels, from a row of a table.

    Args:
        row: By column.
        edges: Columns of its left, top, right and bottom edge.
        where: Which box it is, for an error's text.

    Raises:
        FileFormatError: If an edge is no number, or they are out of order.
    """
    try:
        x0, y0, x1, y1 = (float(row[edge]) for edge in edges)
        return Box2D(x0=x0, y0=y0, x1=x1, y1=y1)
    except (ValueError, GeometryError) as error:
        told = ", ".join(row[edge] or "nothing" for edge in edges)
        raise FileFormatError(f"The box of {where} has the edges {told}.") from error


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture by its header, px; 1 by 1 where it cannot be read."""
    try:
        with Picture.open(path) as opened:
            return opened.size
    except OSError:
        return _UNREAD  # the runner meets the broken file again, and counts it


def _edges(box: Box2D | None) -> str:
    return "no box" if box is None else f"{box.x0:.0f}, {box.y0:.0f} to {box.x1:.0f}, {box.y1:.0f} px"


def _corners(box: Box2D | None) -> list[float]:
    return [] if box is None else [box.x0, box.y0, box.x1, box.y1]
