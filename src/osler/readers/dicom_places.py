"""Where a reference to an image lies in a study: its series and slice."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from osler.readers.dicom_values import as_text
from osler.study import Box2D, Box3D, Image, Study, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A series of a study, and a slice of it."""

    series: Volume | Image
    slice: int | None
    shift: tuple[float, float] = (0.0, 0.0)

    def in_patient(self, box: Box2D) -> Box3D | None:
        """Lifts a box in the pixels of the file to LPS mm, where the series has a geometry."""
        if self.series.affine is None:
            return None
        column, row = self.shift
        moved = Box2D(x0=box.x0 - column, y0=box.y0 - row, x1=box.x1 - column, y1=box.y1 - row)
        return moved.to_box3d(affine=self.series.affine, slice_index=self.slice or 0)


class Places:
    """Finds images of a study by SOP Instance UID and frame number (from 1).

    Args:
        study: Where to look; ``None`` finds nothing.
    """

    def __init__(self, study: Study | None) -> None:
        self._by_instance: dict[tuple[str, int], Place] = {}
        self._frames: dict[str, tuple[Volume | Image, str]] = {}
        for series in study.series() if study is not None else ():
            if not isinstance(series, Volume | Image):
                continue
            if series.frame_of_reference:
                self._frames.setdefault(series.frame_of_reference, (series, series.series))
            best: dict[tuple[str, int], float] = {}
            for index, origin in enumerate(series.origins):
                key = (origin.sop_uid, origin.frame + 1)
                # Of several slices from one file, the one that is most of it.
                if origin.sop_uid and origin.share > best.get(key, 0.0):
                    best[key] = origin.share
                    number = index if isinstance(series, Volume) else None
                    self._by_instance[key] = Place(series=series, slice=number, shift=origin.shift)

    def find(self, sop_uid: str, *, frame: int = 1) -> Place | None:
        """The series and slice of an instance."""
        return self._by_instance.get((sop_uid, frame))

    def series_in(self, frame_of_reference: str) -> str:
        """Identifier of the first series in a frame of reference; empty if there is none."""
        return self._frames.get(frame_of_reference, (None, ""))[1]


def series_of_instances(dataset: Dataset) -> dict[str, str]:
    """Series Instance UID of each SOP Instance UID that an object lists as referenced."""
    found: dict[str, str] = {}

    def series_items(items: list[Dataset]) -> None:
        for item in items:
            uid = as_text(item.get("SeriesInstanceUID"))
            for keyword in ("ReferencedSOPSequence", "ReferencedInstanceSequence", "ReferencedImageSequence"):
                for instance in item.get(keyword) or ():
                    found[as_text(instance.get("ReferencedSOPInstanceUID"))] = uid

    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for study in dataset.get(keyword) or ():
            series_items(list(study.get("ReferencedSeriesSequence") or ()))
    series_items(list(dataset.get("ReferencedSeriesSequence") or ()))
    return found
