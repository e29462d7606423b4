"""An answer as a DICOM structured report: TID 1500 "Measurement Report" (PS3.16), Comprehensive 3D SR.

A box on a slice is a planar region (SCOORD) on its SOP instance; a box in mm is
a closed surface of six faces (SCOORD3D) in the frame of reference. One box with
both has two measurement groups with one tracking identifier. Findings, changes
and sentences follow; what an answer lacks is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.sr.codedict import codes

from osler import __version__
from osler.extras import import_extra
from osler.study import Answer, Box2D, Box3D, Finding, Progression, Statement, Study
from osler.writers.dicom_about import (
    MANUFACTURER,
    RESEARCH_NOTE,
    SERIAL_NUMBER,
    PlacedBox,
    finish,
    frames_of,
    identification,
    model_parameters,
    origin_of,
    outlines_on_slices,
    place_box,
    require_valid,
    series_of,
    used_headers,
    without_warnings,
)
from osler.writers.dicom_codes import code_for, private_code, short_text
from osler.writers.text import printable

# The six faces of a box, by corner: bit 0 is high x, bit 1 high y, bit 2 high z; the first corner closes the loop.
_FACES = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
_CHANGE_NAMES = {
    "improved": "Improved",
    "stable": "Stable",
    "worsened": "Worsened",
    "new": "New finding",
    "resolved": "Resolved",
    "cannot tell": "Undetermined",
}


@without_warnings
def write_sr(answer: Answer, *, study: Study) -> bytes:
    """Returns an answer as the bytes of a DICOM SR file.

    Args:
        answer: What to report.
        study: The study that it is about; patient and study are copied from its files.

    Raises:
        RequestError: If the extra ``dicom`` is missing, or the answer is about another study.
        UnsupportedError: If the images are not from DICOM files.
        GeometryError: If a box lies outside of its image, or has no frame of reference.
        FileFormatError: If the files are gone.
    """
    hd = import_extra("highdicom", extra="dicom")
    require_valid(answer)
    placed = [place_box(box, study=study) for box in answer.boxes]
    headers = used_headers(answer, study=study, placed=placed)
    report = _Report(answer, study=study, headers=headers)
    groups = [group for entry in placed for group in report.box_groups(entry)]
    groups += [report.finding_group(finding) for finding in answer.findings]
    groups += [report.change_group(entry) for entry in answer.progression]
    # The library wants a group; one that stands in for none is taken out again.
    stand_in = [] if groups else [report.finding_group(Finding(name="none", probability=None))]
    content = hd.sr.MeasurementReport(
        observation_context=report.context(),
        procedure_reported=hd.sr.CodedConcept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=groups or stand_in,
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            hd.sr.CodedConcept("en-US", "RFC5646", "English (United States)")
        ),
    )
    items = content[0].ContentSequence
    if not groups:
        del items[-1]  # the container of measurements: an empty one says nothing
    items.append(report.evaluations())
    document = hd.sr.Comprehensive3DSR(
        evidence=list(headers.values()), content=content[0], **identification(answer, kind="SR")
    )
    document.ManufacturerModelName = short_text(answer.model.name)
    document.SoftwareVersions = __version__
    document.DeviceSerialNumber = SERIAL_NUMBER
    return finish(document, description=f"Osler {answer.task} (research)")


class _Report:
    """Builds the parts of one report.

    Args:
        answer: What to report.
        study: What it is about.
        headers: Of the instances that may be referred to, by SOP Instance UID.
    """

    def __init__(self, answer: Answer, *, study: Study, headers: dict[str, Any]) -> None:
        self.answer, self.study, self.headers = answer, study, headers
        self.hd = import_extra("highdicom", extra="dicom")
        self.sr = self.hd.sr
        self.algorithm = self.sr.AlgorithmIdentification(
            name=short_text(f"Osler {answer.model.name}"),
            version=__version__,
            parameters=[short_text(text, limit=200) for text in model_parameters(answer)],
        )

    def context(self) -> Any:
        """Who observed: the software, never a person."""
        device = self.sr.DeviceObserverIdentifyingAttributes(
            uid=self.hd.UID(),
            name=short_text(f"Osler {self.answer.model.name} {__version__}"),
            manufacturer_name=MANUFACTURER,
            model_name=short_text(self.answer.model.name),
            serial_number=SERIAL_NUMBER,
        )
        return self.sr.ObservationContext(
            observer_device_context=self.sr.ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        )

    def certainty(self, value: float) -> list[Any]:
        """A probability in percent."""
        name = codes.DCM.CertaintyOfFinding
        return [self.sr.Measurement(name=name, value=round(100 * value, 6), unit=codes.UCUM.Percent)]

    def box_groups(self, entry: PlacedBox) -> list[Any]:
        """The measurement groups of one box: on its slice, in the patient, or both with one tracking identifier."""
        box = entry.box
        common = {
            "tracking_identifier": self.sr.TrackingIdentifier(uid=self.hd.UID(), identifier=_unlimited(box.label)),
            "finding_type": code_for(box.label),
            "algorithm_id": self.algorithm,
            "measurements": self.certainty(box.score),
        }
        groups: list[Any] = []
        if entry.pixel is not None and entry.origin is not None:
            region = self.sr.ImageRegion(
                graphic_type="POLYLINE",
                graphic_data=_outline(entry.pixel),
                source_image=self.sr.SourceImageForRegion(*self._reference(entry)),
            )
            groups.append(self.sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **common))
        if entry.patient is not None and entry.series.frame_of_reference:
            groups.append(self._surface_group(entry, box=entry.patient, common=common))
        elif entry.patient is not None and not groups:
            groups.append(self._regions_group(entry, box=entry.patient, common=common))
        return groups

    def _reference(self, entry: PlacedBox) -> tuple[str, str, list[int] | None]:
        assert entry.origin is not None
        header = self.headers[entry.origin.sop_uid]
        return header.SOPClassUID, header.SOPInstanceUID, frames_of(entry.origin)

    def _surface_group(self, entry: PlacedBox, *, box: Box3D, common: dict[str, Any]) -> Any:
        origin = entry.series.origins[len(entry.series.origins) // 2] if entry.origin is None else entry.origin
        surface = self.sr.VolumeSurface(
            graphic_type="POLYGON",
            graphic_data=_faces(box),
            frame_of_reference_uid=entry.series.frame_of_reference,
            source_series=self.sr.SourceSeriesForSegmentation(self.headers[origin.sop_uid].SeriesInstanceUID),
        )
        return self.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_volume_surface=surface, **common)

    def _regions_group(self, entry: PlacedBox, *, box: Box3D, common: dict[str, Any]) -> Any:
        """A box in mm whose series names no frame of reference: its outline on each slice that it covers."""
        regions = []
        for origin, outline in outlines_on_slices(box, series=entry.series):
            header = self.headers[origin.sop_uid]
            source = self.sr.SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID, frames_of(origin))
            regions.append(
                self.sr.ImageRegion(graphic_type="POLYLINE", graphic_data=_outline(outline), source_image=source)
            )
        return self.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_regions=regions, **common)

    def finding_group(self, finding: Finding) -> Any:
        """A finding of the whole study: its probability, or that it cannot be told."""
        unknown = self.sr.QualitativeEvaluation(name=codes.DCM.PresenceOfProperty, value=codes.DCM.PresenceUndetermined)
        known = finding.probability is not None
        return self.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self.sr.TrackingIdentifier(uid=self.hd.UID(), identifier=_unlimited(finding.name)),
            finding_type=code_for(finding.name, code=finding.code),
            algorithm_id=self.algorithm,
            measurements=self.certainty(finding.probability) if finding.probability is not None else None,
            qualitative_evaluations=None if known else [unknown],
        )

    def change_group(self, entry: Progression) -> Any:
        """What became of a finding, with the measurements and the days between."""
        measured = [
            (f"{entry.measure or 'measurement'}, {when}", value, entry.unit)
            for when, value in (("prior", entry.before), ("current", entry.now))
            if value is not None
        ]
        if entry.days is not None:
            measured.append(("days since prior", float(entry.days), "d"))
        measurements = [
            self.sr.Measurement(name=private_code(name), value=value, unit=self._unit(unit))
            for name, value, unit in measured
        ]
        if entry.probability is not None:
            measurements += self.certainty(entry.probability)
        change = self.sr.QualitativeEvaluation(
            name=codes.DCM.Trend, value=private_code(_CHANGE_NAMES.get(entry.change, entry.change))
        )
        return self.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self.sr.TrackingIdentifier(uid=self.hd.UID(), identifier=_unlimited(entry.finding)),
            finding_type=code_for(entry.finding),
            algorithm_id=self.algorithm,
            measurements=measurements or None,
            qualitative_evaluations=[change],
        )

    def _unit(self, unit: str) -> Any:
        code = short_text(unit, limit=16) or "1"
        return self.sr.CodedConcept(code, "UCUM", "no units" if code == "1" else code)

    def evaluations(self) -> Any:
        """The texts: sentences with their images, else the whole answer; then warnings and the safety note."""
        container = self.sr.ContainerContentItem(
            name=self.sr.CodedConcept("C0034375", "UMLS", "Qualitative Evaluations"), relationship_type="CONTAINS"
        )
        items = [self._statement(statement) for statement in self.answer.statements]
        if not items and self.answer.text.strip():
            items.append(self._text(codes.DCM.NarrativeSummary, self.answer.text))
        comment = codes.DCM.Comment
        items += [self._text(comment, f"Not trained: {name}. Nothing was made up.") for name in self.answer.untrained]
        items += [self._text(comment, f"Warning: {text}") for text in self.answer.warnings]
        items.append(self._text(comment, f"Made by Osler {__version__}: {', '.join(model_parameters(self.answer))}"))
        items.append(self._text(comment, f"{RESEARCH_NOTE}. Unverified output of an algorithm."))
        container.ContentSequence = self.sr.ContentSequence(items)
        return container

    def _text(self, name: Any, text: str) -> Any:
        return self.sr.TextContentItem(name=name, value=_unlimited(text), relationship_type="CONTAINS")

    def _statement(self, statement: Statement) -> Any:
        names = {"findings": codes.DCM.Finding, "impression": codes.DCM.Impression}
        text = statement.text if statement.evidence else f"{statement.text} [no evidence]"
        item = self._text(names.get(statement.section.casefold(), private_code(statement.section)), text)
        images: list[Any] = []
        for evidence in statement.evidence:
            if not evidence.series:
                continue
            origin = origin_of(series_of(self.study, evidence.series), evidence.slice)
            if origin is None or origin.sop_uid not in self.headers:
                continue
            header = self.headers[origin.sop_uid]
            images.append(
                self.sr.ImageContentItem(
                    name=codes.DCM.SourceOfMeasurement,
                    referenced_sop_class_uid=header.SOPClassUID,
                    referenced_sop_instance_uid=header.SOPInstanceUID,
                    referenced_frame_numbers=frames_of(origin),
                    relationship_type="INFERRED FROM",
                )
            )
        if images:
            item.ContentSequence = self.sr.ContentSequence(images)
        return item


def _unlimited(text: str) -> str:
    """Text for a UT element: any length, lines kept, nothing that steers a terminal."""
    return printable(text).strip() or "(empty)"


def _outline(box: Box2D) -> np.ndarray:
    """The closed outline of a box, clockwise from its upper left corner."""
    return np.array(
        [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1), (box.x0, box.y0)], dtype=np.float32
    )


def _faces(box: Box3D) -> list[np.ndarray]:
    corners = [tuple((box.high if number >> axis & 1 else box.low)[axis] for axis in range(3)) for number in range(8)]
    return [np.array([*(corners[index] for index in face), corners[face[0]]], dtype=np.float64) for face in _FACES]
