"""3D boxes in volumes: the hippocampus on MR, organs on CT, nodules and tumors on CT."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from osler.errors import DataError, OslerError
from osler.evaluate.responder import blank_study
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets import volume_truth
from osler.evaluate.sets.types import Case, Plan, Setting, missing_files, shuffled
from osler.readers import open_study
from osler.study import Box3D, Study, Volume
from osler.tasks.heads import BoxHead, head_for
from osler.tasks.locate import draw_boxes
from osler.weights.skills import Skill

Boxes = dict[str, Box3D]
MEASURES = (
    Measure(name="mean IoU", field="iou"),
    Measure(name="mean IoU over structures", field="iou", over="parts"),
    Measure(name="IoU over 0.5", field="hit"),
    Measure(name="boxes given", field="given"),
)
_PHANTOMS = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boxed:
    """A volume and the boxes in it, not read yet.

    Args:
        open: Reads the study with one volume and its true boxes (patient LPS mm).
        source: Data set. patient: Key within it.
        group: Part of the table.
    """

    open: Callable[[], tuple[Study, Boxes]]
    source: str
    patient: str
    group: str = "all"


class VolumeBoxes:
    """IoU of the likeliest box of each structure; a structure without a box counts 0.

    Args:
        name: Of the set. title: For people.
        labels: Structures that it asks for.
        find: Lists the volumes below the folder of the data, or says why there are none.
        notes: What a reader must know.
    """

    skills: frozenset[Skill] = frozenset({"boxes", "box_text"})
    measures = MEASURES
    batch = 1

    def __init__(
        self,
        name: str,
        *,
        title: str,
        labels: tuple[str, ...],
        find: Callable[[Path], tuple[list[Boxed], str]],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.title = title
        self._labels = labels
        self._find = find
        self._notes = notes
        self._known: list[Boxed] = []
        self._fractions: dict[str, Mapping[str, np.ndarray]] = {}

    def plan(self, setting: Setting) -> Plan:
        """Lists the volumes of patients that may be asked about."""
        self._known, absent = self._find(setting.root)
        cases = [
            Case(name=f"{one.source}/{one.patient}", patient=f"{one.source}:{one.patient}", content=one)
            for one in self._known
            if _kept(setting, one)
        ]
        if self._known and not cases:
            absent = "every patient here belongs to those that trained the shipped weights (--split all asks anyway)"
        mean = "Mean box: the mean of the edges, as fractions of the volume, of other patients' boxes."
        notes = (*_not_offered(setting, self._labels), *self._notes, mean)
        return Plan(cases=shuffled(cases), absent="" if cases else absent, notes=notes)

    def open(self, setting: Setting, case: Case) -> tuple[Study, Boxes]:
        """Reads the volume and the boxes that are true."""
        return case.content.open()

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row for each structure of each volume."""
        rows = []
        for case in cases:
            boxed: Boxed = case.content
            study, truth = case.opened or self.open(setting, case)
            volume = study.volumes()[0]
            found = located(setting, study, list(truth))
            blind = located(setting, blank_study(study), list(truth))
            mean = self._mean(setting, boxed, volume=volume)
            for label, box in truth.items():
                systems = {MODEL: found.get(label), "blanked": blind.get(label), "mean box": mean.get(label)}
                overlaps = {system: other.iou(box) if other else 0.0 for system, other in systems.items()}
                rows.append(
                    Row(
                        case=case.name,
                        patient=case.patient,
                        group=boxed.group,
                        part=label,
                        values={
                            "iou": {system: (value, 1.0) for system, value in overlaps.items()},
                            "hit": {system: (float(value > 0.5), 1.0) for system, value in overlaps.items()},
                            "given": {MODEL: (float(label in found), 1.0)},
                        },
                        asked=label,
                        said=_text(found.get(label)),
                        truth=_text(box),
                        picture=_slice(volume, truth=box, said=found.get(label)),
                    )
                )
        return rows

    def gray(self, row: Row) -> np.ndarray | None:
        """The middle slice of the true box, its values spread from the 1st to the 99th percentile."""
        found = [one for one in self._known if f"{one.source}/{one.patient}" == row.case]
        if not found:
            return None
        volume = found[0].open()[0].volumes()[0]
        values = volume.read(slices=[int(row.picture["slice"])])[0].astype(np.float32)
        low, high = np.percentile(values, [1, 99])
        return (np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255).astype(np.uint8)

    def _mean(self, setting: Setting, asked: Boxed, *, volume: Volume) -> Boxes:
        """Mean boxes of other patients of the same group, placed into a volume."""
        edges: dict[str, list[np.ndarray]] = {}
        for other in self._known:
            if other.patient == asked.patient or other.group != asked.group or not _learned(setting, other):
                continue
            for label, fractions in self._of(other).items():
                edges.setdefault(label, []).append(fractions)
        extent = np.array(volume.shape[::-1], dtype=float)
        means = {label: np.mean(found, axis=0) * extent for label, found in edges.items()}
        return {
            label: Box3D(low=tuple(low), high=tuple(high), frame="voxel").to_patient(volume.affine)
            for label, (low, high) in means.items()
        }

    def _of(self, other: Boxed) -> Mapping[str, np.ndarray]:
        key = f"{other.source}/{other.patient}"
        if key not in self._fractions:
            try:
                study, boxes = other.open()
            except OslerError:  # counted where it is asked about itself
                self._fractions[key] = {}
                return {}
            volume = study.volumes()[0]
            extent = np.array(volume.shape[::-1], dtype=float)
            voxel = {label: box.to_voxel(volume.affine) for label, box in boxes.items()}
            self._fractions[key] = {
                label: np.array([box.low, box.high], dtype=float) / extent for label, box in voxel.items()
            }
        return self._fractions[key]


def _not_offered(setting: Setting, labels: Sequence[str]) -> tuple[str, ...]:
    """Says for which labels the box head was found good for other pictures than volumes: their boxes are missed."""
    session = setting.responder.session
    head: BoxHead | None = None if session is None else head_for(session, "boxes")
    if head is None:
        return ()
    if head.labels and "box_text" in setting.responder.trained:
        labels = [label for label in labels if label in head.labels]  # the decoder is asked for the others
    scopes = {label: scope for label in labels if (scope := head.scope_of((label,)))}
    if not scopes:
        return ()
    asked = setting.untrained == "ask" and not head.labels  # see `BoxHead.everywhere`
    end = "they were asked for all the same" if asked else "in a volume every box of theirs counts as missed"
    return (
        f"NOT TRAINED: the box head of {setting.responder.name} is offered for {', '.join(sorted({*scopes.values()}))} "
        f"only with these labels, and {end}: {', '.join(scopes)}.",
    )


def located(setting: Setting, study: Study, labels: Sequence[str]) -> Boxes:
    """The likeliest 3D box of each label, in patient mm."""
    session = setting.responder.session
    assert session is not None
    best: dict[str, tuple[float, Box3D]] = {}
    for found in draw_boxes(session, study, labels).boxes:
        if found.patient is not None and found.score > best.get(found.label, (-1.0, None))[0]:
            best[found.label] = (found.score, found.patient)
    return {label: box for label, (_, box) in best.items()}


def hippocampi(root: Path) -> tuple[list[Boxed], str]:
    """MR crops with masks of the anterior and posterior hippocampus."""
    folder = root / "mr" / "hippocampus"
    pairs = [(path, folder / "labels" / path.name) for path in sorted((folder / "images").glob("*.nii.gz"))]
    found = [
        Boxed(
            open=partial(_masked, path, mask, {"hippocampus": (1, 2)}),
            source="hippocampus",
            patient=path.name.removesuffix(".nii.gz"),
        )
        for path, mask in pairs
        if mask.is_file()
    ]
    return found, missing_files(root, "mr/hippocampus/images", "mr/hippocampus/labels") or "no masks"


def organs(root: Path) -> tuple[list[Boxed], str]:
    """A torso CT with masks by another program, and phantoms of held-out synthetic patients."""
    folder = root / "ct" / "torso-3mm"
    scan, mask = folder / "example_ct.nii.gz", folder / "example_seg_fast_force_split.nii.gz"
    found = list(_phantoms(_PHANTOMS))
    if scan.is_file() and mask.is_file():
        open_ = partial(_segmented, scan, mask)
        found.append(Boxed(open=open_, source="ct-torso", patient="ct-torso", group="real torso CT"))
    return found, ""


def lesions(root: Path) -> tuple[list[Boxed], str]:
    """One chest CT with a nodule and one with a tumor."""
    found = []
    nodule = root / "ct" / "lidc-idri-0314"
    if (nodule / "nodules.json").is_file():
        open_ = partial(volume_truth.lidc_nodule, nodule)
        found.append(Boxed(open=open_, source="lidc", patient="lidc", group="nodule (LIDC)"))
    tumor = root / "ct" / "lung-petct-dx-a0001"
    if (tumor / "annotation").is_dir():
        open_ = partial(volume_truth.petct_tumor, tumor)
        found.append(Boxed(open=open_, source="lung-petct", patient="lung-petct", group="tumor (Lung-PET-CT-Dx)"))
    return found, "not found: ct/lidc-idri-0314, ct/lung-petct-dx-a0001"


def _phantoms(count: int) -> Iterable[Boxed]:
    """Chest and abdomen CT of the first synthetic patients that have one."""
    from osler.evaluate.synthetic import held_out_patients

    made = 0
    for patient in held_out_patients():
        exam = next((e for e in patient.exams if e.modality == "CT" and e.region in ("chest", "abdomen")), None)
        if exam is None:
            continue
        yield Boxed(
            open=partial(volume_truth.phantom, patient, exam),
            source="phantom",
            patient=str(patient.number),
            group=f"phantom, CT {exam.region}",
        )
        made += 1
        if made == count:
            return


def _kept(setting: Setting, one: Boxed) -> bool:
    if one.source == "phantom":
        return True
    return setting.keeps(one.source, patient=one.patient)


def _learned(setting: Setting, one: Boxed) -> bool:
    return one.source == "phantom" or setting.learns(one.source, patient=one.patient, asked="")


def _masked(scan: Path, mask: Path, numbers: Mapping[str, tuple[int, ...]]) -> tuple[Study, Boxes]:
    study = open_study(scan)
    volumes = study.volumes()
    if not volumes:
        raise DataError(f"{scan.name} holds no volume.")
    return study, volume_truth.boxes_of(mask, numbers=numbers, name=scan.name)


def _segmented(scan: Path, mask: Path) -> tuple[Study, Boxes]:
    return _masked(scan, mask, volume_truth.organ_numbers(mask))


def _slice(volume: Volume, *, truth: Box3D, said: Box3D | None) -> dict[str, object]:
    """The middle slice of the true box, as a small picture would show it: pixels and both boxes."""
    box = truth.to_voxel(volume.affine)
    number = int(np.clip((box.low[2] + box.high[2]) / 2, 0, volume.shape[0] - 1))
    record: dict[str, object] = {"slice": number, "truth": [*box.low[:2], *box.high[:2]]}
    if said is not None:
        other = said.to_voxel(volume.affine)
        record["said"] = [*other.low[:2], *other.high[:2]]
    return record


def _text(box: Box3D | None) -> str:
    if box is None:
        return "no box"
    low, high = (", ".join(f"{edge:.0f}" for edge in corner) for corner in (box.low, box.high))
    return f"{low} to {high} mm"


VOLUME_BOX_SETS = (
    VolumeBoxes("hippocampus-boxes", title="3D box of the hippocampus (MR)", labels=("hippocampus",), find=hippocampi),
    VolumeBoxes(
        "organ-boxes",
        title="3D boxes of organs (CT)",
        labels=tuple(volume_truth.ORGANS),
        find=organs,
        notes=(
            "Real torso CT: one patient, masks by another program: fit for plumbing, not for accuracy.",
            "Phantoms: synthetic patients of a seed kept for evaluation.",
        ),
    ),
    VolumeBoxes(
        "lesion-boxes",
        title="3D boxes of a nodule and a tumor (CT)",
        labels=("nodule", "tumor"),
        find=lesions,
        notes=("One patient each: a smoke test.",),
    ),
)
