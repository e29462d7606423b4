"""Reports on the frontal pictures of MIMIC-CXR's test split, findings and impression: RadGraph F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from osler.errors import FileFormatError
from osler.evaluate.imaging_prompts import IMAGING
from osler.evaluate.radgraph import VARIANTS, ReportGraph, graphs_of, radgraph_f1
from osler.evaluate.responder import Inquiry
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets import mimic
from osler.evaluate.sets.mimic_sections import read_sections
from osler.evaluate.sets.types import Case, Plan, Setting, shuffled
from osler.evaluate.sets.xrays import each_row, open_xray
from osler.prepare.chat import THOUGHT_END
from osler.study import Study
from osler.weights.skills import Skill

_ONLY = "report-images.csv"
_NEEDED = ("indication", "findings", "impression")
_BASELINE = "another patient's"
_NOTES = (
    "The published figure is of 912 pictures that are not listed, and the report does not say which RadGraph F1 it is.",
    f"{_BASELINE.capitalize()}: the radiologist's report on another patient, in place of the model's.",
    "Images are not blanked: that would double the work.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Film:
    """A picture and the report on its study."""

    picture: Path
    report: Path


def _indication(report: Path) -> str:
    try:
        return read_sections(report)["indication"]
    except KeyError as error:
        raise FileFormatError(f"{report.name} has no indication any more.", next_step="Start the run again.") from error


class MimicReports:
    """One picture, one report."""

    name = "mimic-cxr-reports"
    title = "Reports on MIMIC-CXR (findings and impression)"
    skills: frozenset[Skill] = frozenset({"reports"})
    measures = tuple(Measure(name=variant.name, field=variant.field) for variant in VARIANTS)
    batch = 8

    def __init__(self) -> None:
        self._truths: dict[str, str] = {}

    def plan(self, setting: Setting) -> Plan:
        """Lists the pictures whose report has an indication, findings and an impression."""
        root = setting.root
        if absent := mimic.missing_tables(root, mimic.SPLIT, mimic.METADATA):
            return Plan(absent=absent)
        tested = [image for image in mimic.images(root) if image.part == "test"]
        told = f"Only the pictures that {_ONLY} lists."
        if (listed := root / mimic.FOLDER / _ONLY).is_file():
            chosen = frozenset(row["dicom_id"] for row in each_row(listed, columns=("dicom_id",)))
        else:
            chosen = mimic.frontal(root)
            told = "All frontal pictures of the test split."
        films = {
            image: _Film(picture=image.path(root), report=image.report(root))
            for image in tested
            if image.dicom in chosen
        }
        there = {image: film for image, film in films.items() if film.picture.is_file() and film.report.is_file()}
        if not there:
            return Plan(absent=f"no picture of the test split with its report in {mimic.FOLDER}/files")
        whole = {image: film for image, film in there.items() if self._is_whole(image.dicom, film)}
        cases = [
            Case(name=image.dicom, patient=image.patient, content=film)
            for image, film in whole.items()
            if setting.keeps("mimic-cxr", patient=image.patient)
        ]
        notes = [told, *_NOTES]
        if gone := len(films) - len(there):
            notes.append(f"Pictures left out that are not there, or whose report is not: {gone}.")
        if less := len(there) - len(whole):
            notes.append(f"Pictures left out whose report lacks an indication, findings or an impression: {less}.")
        absent = "no held-out patient" if whole else "no report has an indication, findings and an impression"
        return Plan(cases=shuffled(cases), absent="" if cases else absent, notes=tuple(notes))

    def _is_whole(self, name: str, film: _Film) -> bool:
        """Whether a report has all sections; one that cannot be read fails in its turn."""
        try:
            sections = read_sections(film.report)
        except FileFormatError:
            return True
        if not all(kind in sections for kind in _NEEDED):
            return False
        self._truths[name] = f"{sections['findings']} {sections['impression']}"
        return True

    def open(self, setting: Setting, case: Case) -> Study:
        """Opens the picture."""
        return open_xray(case.content.picture)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row a picture, without scores and without words of the radiologist's report."""
        prompts = IMAGING[setting.responder.style.name]
        inquiries = [
            Inquiry(
                study=case.opened or self.open(setting, case),
                question=prompts.report.format(indication=_indication(case.content.report)),
            )
            for case in cases
        ]
        texts = setting.responder.ask(inquiries, max_tokens=prompts.report_tokens)
        return [
            Row(
                case=case.name,
                patient=case.patient,
                values={},
                asked=prompts.report.format(indication="..."),
                said=text.rsplit(THOUGHT_END, 1)[-1].strip(),
                picture={"file": str(case.content.picture)},
            )
            for case, text in zip(cases, texts, strict=True)
        ]

    def reports(self, rows: Sequence[Row]) -> list[str]:
        """The reports of the model and of the radiologists.

        Raises:
            FileFormatError: If one of the radiologists' cannot be read any more.
        """
        if gone := [row.case for row in rows if row.case not in self._truths]:
            raise FileFormatError(
                f"Of {len(gone)} reports that the model has written, the radiologist's cannot be read: {gone[0]!r}.",
                next_step="Put the report files back, or write the model's anew in another --out.",
            )
        return [text for row in rows for text in (row.said, self._truths[row.case])]

    def scored(self, rows: Sequence[Row], annotations: Mapping[str, ReportGraph]) -> list[Row]:
        """Compares each report of the model, and that on another patient, with the radiologist's."""
        graphs = graphs_of(self.reports(rows), annotations)
        ordered = sorted(rows, key=lambda row: row.case)
        scored = []
        for place, row in enumerate(ordered):
            truth = graphs[self._truths[row.case]]
            said = {MODEL: graphs[row.said]}
            behind = [*ordered[place + 1 :], *ordered[:place]]
            if other := next((one for one in behind if one.patient != row.patient), None):
                said[_BASELINE] = graphs[self._truths[other.case]]
            values = {
                variant.field: {
                    system: (radgraph_f1(graph, truth, variant=variant), 1.0) for system, graph in said.items()
                }
                for variant in VARIANTS
            }
            scored.append(replace(row, values=values))
        return scored
