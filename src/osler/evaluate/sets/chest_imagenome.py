"""Chest ImaGenome: the boxes of anatomical structures that people drew on 1,000 films of MIMIC-CXR."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from osler.errors import FileFormatError
from osler.evaluate.sets import mimic
from osler.evaluate.sets.lung_boxes import BoxedXray, BoxedXrays, Boxes, XrayBoxes, box_of, size_of
from osler.evaluate.sets.types import Setting, missing_files
from osler.evaluate.sets.xrays import each_row
from osler.tasks.heads import BoxHead, head_for

_TABLE = "cxr/chest-imagenome/gold_dataset/gold_bbox_coordinate_annotations_1000images.csv"
_EDGES = ("original_x1", "original_y1", "original_x2", "original_y2")


class ChestImagenome(XrayBoxes):
    """The gold standard alone; each structure is asked for as `osler.locate` does."""

    name = "chest-imagenome"
    title = "Structures on chest X-rays (Chest ImaGenome, gold)"
    blind = False

    def found(self, setting: Setting) -> BoxedXrays:
        """Lists the films whose pictures are there."""
        if absent := missing_files(setting.root, _TABLE) or mimic.missing_tables(setting.root, mimic.SPLIT):
            return BoxedXrays(absent=absent)
        boxes, problems, thin = _boxes(setting.root / _TABLE)
        images = {image.dicom: image for image in mimic.images(setting.root) if image.dicom in boxes}
        there = {dicom: image for dicom, image in images.items() if image.path(setting.root).is_file()}
        xrays = tuple(
            BoxedXray(
                source="mimic-cxr",
                patient=image.patient,
                path=image.path(setting.root),
                size=size_of(image.path(setting.root)),
                boxes=boxes[dicom],
                problem=problems.get(dicom, ""),
            )
            for dicom, image in there.items()
        )
        notes = [
            "The report names 10,000 examples of Chest ImaGenome and not which: these are the gold standard's.",
            "Asked as `osler locate` asks, by the prompt of MedGemma's notebook, which holds the report's question; an "
            "answer that cannot be read is asked for again once under a grammar.",
        ]
        if gone := len(boxes) - len(xrays):
            notes.append(f"{gone} films that the table lists are not there, and are left out.")
        if thin:
            notes.append(f"{thin} boxes without an area are left out.")
        absent = "" if xrays else f"no film of {Path(_TABLE).name} lies in {mimic.FOLDER}/files"
        return BoxedXrays(xrays=xrays, absent=absent, notes=(*_not_offered(setting), *notes))


def _boxes(path: Path) -> tuple[dict[str, Boxes], dict[str, str], int]:
    """Boxes by id of the film in its own pixels, films whose rows are damaged, and how many boxes have no area."""
    boxes: dict[str, Boxes] = defaultdict(dict)
    problems: dict[str, str] = {}
    thin = 0
    for row in each_row(path, columns=("image_id", "bbox_name", *_EDGES)):
        dicom, name = row["image_id"].removesuffix(".dcm"), row["bbox_name"]
        film = boxes[dicom]
        try:
            box = box_of(row, edges=_EDGES, where=f"{name} on {dicom}")
        except FileFormatError as error:
            problems[dicom] = f"{error} See {path.name}."
            continue
        if box.area > 0:
            film[name] = box
        else:
            thin += 1
    return dict(boxes), problems, thin


def _not_offered(setting: Setting) -> tuple[str, ...]:
    session = setting.responder.session
    head: BoxHead | None = head_for(session, "boxes") if session is not None else None
    if head is None or not head.labels or "box_text" in setting.responder.trained:
        return ()
    known = ", ".join(sorted(head.labels))
    return (f"NOT TRAINED: the box head draws {known} only; any other structure counts as one without a box.",)
