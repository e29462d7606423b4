"""A patient's record as a FHIR R4 bundle: the same values, dates and codes as the facts and the documents.

The patient has a synthetic identifier, a sex and a year of birth on the shifted
calendar; no name, no address, no day of birth. All resources carry the tag for
test data (HTEST).

Sources: FHIR R4 (4.0.1), resource definitions; UCUM for units; the code systems below.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from osler.synth.documents.phrases import exam_sentence
from osler.synth.facts import Condition, Exam, FindingFact, Lab, Medication, PatientFacts
from osler.synth.ontology import Ontology, load_ontology
from osler.synth.timeline import age_on, calendar_date, patient_id, sentence_case

Json = dict[str, Any]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC = "http://www.whocc.no/atc"
UCUM = "http://unitsofmeasure.org"
IDENTIFIER = "urn:osler:synthetic-patient"
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_TERMS = "http://terminology.hl7.org/CodeSystem"
_FLAGS = {"low": ("L", "Low"), "normal": ("N", "Normal"), "high": ("H", "High")}
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:osler:synth")
# A diagnosis known with certainty; a clinician may code no doubt.
_ACTIVE = ("condition-clinical", "active", "Active")
_CONFIRMED = ("condition-ver-status", "confirmed", "Confirmed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachments:
    """Documents that lie beside the bundle, by their relative addresses.

    Args:
        labs: Day -> laboratory report. letter: The discharge letter, if any.
        reports: Exam number -> text of the imaging report. images: Exam number -> number of its DICOM files.
    """

    labs: Mapping[int, str] = field(default_factory=dict)
    letter: str = ""
    reports: Mapping[int, str] = field(default_factory=dict)
    images: Mapping[int, int] = field(default_factory=dict)


def fhir_bundle(
    patient: PatientFacts,
    *,
    report_text: Callable[[Exam], str] | None = None,
    attachments: Attachments | None = None,
) -> Json:
    """Builds the bundle.

    Args:
        patient: The facts.
        report_text: Gives the text of an exam's report; by default a short list of its findings.
        attachments: Where the documents lie, for links to them.

    Returns:
        A Bundle of type ``"collection"``, ready for JSON.
    """
    writer = _Writer(patient, ontology=load_ontology())
    files = attachments or Attachments()
    writer.person()
    for condition in patient.conditions:
        writer.condition(condition)
    days = sorted({exam.day for exam in patient.exams} | {lab.day for lab in patient.labs})
    for day in days:
        writer.encounter(day)
    writer.body_size()
    for day in days:
        writer.labs(day, attachment=files.labs.get(day, ""))
    for number, drug in enumerate(patient.medications):
        writer.medication(drug, number=number)
    for exam in patient.exams:
        text = report_text(exam) if report_text is not None else exam_sentence(exam)
        images = files.images.get(exam.number, exam.acquisition.slices)
        writer.exam(exam, text=text, attachment=files.reports.get(exam.number, ""), images=images)
    if files.letter:
        writer.letter(files.letter)
    return {
        "resourceType": "Bundle",
        "id": writer.uuid("Bundle", ""),
        "meta": _META,
        "type": "collection",
        "entry": writer.entries,
    }


_META: Json = {
    "tag": [{"system": f"{_TERMS}/v3-ActReason", "code": "HTEST", "display": "test health data"}],
}


class _Writer:
    """Collects the resources of one patient."""

    def __init__(self, patient: PatientFacts, *, ontology: Ontology) -> None:
        self.patient = patient
        self.entries: list[Json] = []
        self._conditions = {entry.key: entry for entry in ontology.conditions}
        self._labs = {entry.key: entry for entry in ontology.labs}
        self._drugs = {entry.key: entry for entry in ontology.medications}
        self._protocols = {entry.key: entry for entry in ontology.protocols}
        self._findings = {entry.key: entry for entry in ontology.findings}
        self._indications = {entry.key: entry for entry in ontology.indications}

    def uuid(self, kind: str, key: str) -> str:
        """The same identifier for the same thing of the same patient, everywhere."""
        return str(uuid.uuid5(_NAMESPACE, f"{patient_id(self.patient)}/{kind}/{key}"))

    def person(self) -> None:
        self._add(
            "Patient",
            "",
            identifier=[{"system": IDENTIFIER, "value": patient_id(self.patient)}],
            gender=self.patient.sex,
            birthDate=str(calendar_date(0).year - self.patient.age),
        )

    def condition(self, condition: Condition) -> None:
        entry = self._conditions[condition.key]
        self._add(
            "Condition",
            condition.key,
            clinicalStatus=_concept(*_ACTIVE),
            verificationStatus=_concept(*_CONFIRMED),
            category=[_concept("condition-category", "problem-list-item", "Problem List Item")],
            code=_coded(entry.name, {ICD10: entry.icd10, SNOMED: entry.snomed}),
            subject=self._subject(),
            onsetDateTime=_date(condition.onset),
        )

    def encounter(self, day: int) -> None:
        self._add(
            "Encounter",
            str(day),
            status="finished",
            **{"class": {"system": f"{_TERMS}/v3-ActCode", "code": "AMB", "display": "ambulatory"}},
            subject=self._subject(),
            period={"start": _date(day), "end": _date(day)},
        )

    def body_size(self) -> None:
        """Height and weight, on day 0."""
        anatomy = self.patient.anatomy
        sizes = (
            ("8302-2", "Body height", anatomy.height_cm, "cm"),
            ("29463-7", "Body weight", anatomy.weight_kg, "kg"),
        )
        for code, name, value, unit in sizes:
            self._add(
                "Observation",
                name,
                status="final",
                category=[_concept("observation-category", "vital-signs", "Vital Signs")],
                code=_coded(name, {LOINC: code}),
                subject=self._subject(),
                effectiveDateTime=_date(0),
                valueQuantity=_quantity(round(value, 1), unit),
            )

    def labs(self, day: int, *, attachment: str) -> None:
        """All values of a day, and the report that binds them together."""
        labs = [lab for lab in self.patient.labs if lab.day == day]
        if not labs:
            return
        for lab in labs:
            self._lab(lab)
        report: Json = {
            "status": "final",
            "category": [_concept("v2-0074", "LAB", "Laboratory")],
            "code": _coded("Laboratory report", {LOINC: "11502-2"}),
            "subject": self._subject(),
            "encounter": self._reference("Encounter", str(day)),
            "effectiveDateTime": _date(day),
            "result": [self._reference("Observation", f"{lab.key}/{day}") for lab in labs],
        }
        if attachment:
            report["presentedForm"] = [
                {"contentType": "application/pdf", "url": attachment, "title": "Laboratory report"}
            ]
        self._add("DiagnosticReport", f"lab/{day}", **report)

    def _lab(self, lab: Lab) -> None:
        entry = self._labs[lab.key]
        letter, word = _FLAGS[lab.flag]
        ends = {"low": lab.reference.low, "high": lab.reference.high}
        reference = {name: _quantity(end, lab.unit) for name, end in ends.items() if end is not None}
        fields: Json = {"referenceRange": [reference]} if reference else {}
        self._add(
            "Observation",
            f"{lab.key}/{lab.day}",
            status="final",
            category=[_concept("observation-category", "laboratory", "Laboratory")],
            code=_coded(entry.name, {LOINC: entry.loinc}),
            subject=self._subject(),
            encounter=self._reference("Encounter", str(lab.day)),
            effectiveDateTime=_date(lab.day),
            valueQuantity=_quantity(lab.value, lab.unit),
            interpretation=[_concept("v3-ObservationInterpretation", letter, word)],
            **fields,
        )

    def medication(self, drug: Medication, *, number: int) -> None:
        entry = self._drugs[drug.key]
        period = {"start": _date(drug.start)} | ({} if drug.stop is None else {"end": _date(drug.stop)})
        self._add(
            "MedicationStatement",
            f"{drug.key}/{number}",
            status="active" if drug.stop is None else "completed",
            medicationCodeableConcept=_coded(entry.name, {RXNORM: entry.rxnorm, ATC: entry.atc}),
            subject=self._subject(),
            effectivePeriod=period,
        )

    def exam(self, exam: Exam, *, text: str, attachment: str, images: int) -> None:
        """The images as an ImagingStudy, and what was read from them as a DiagnosticReport."""
        protocol = self._protocols[exam.protocol]
        indication = self._indications.get(exam.indication)
        reason = [{"text": indication.text}] if indication is not None else []
        modality = {"system": _DICOM, "code": exam.modality}
        series: Json = {
            "uid": exam.acquisition.series_uid,
            "number": 1,
            "modality": modality,
            "description": protocol.name,
            "numberOfInstances": images,
        }
        shared: Json = {"subject": self._subject(), "encounter": self._reference("Encounter", str(exam.day))}
        self._add(
            "ImagingStudy",
            str(exam.number),
            status="available",
            identifier=[{"system": "urn:dicom:uid", "value": f"urn:oid:{exam.acquisition.study_uid}"}],
            modality=[modality],
            started=_date(exam.day),
            numberOfSeries=1,
            numberOfInstances=images,
            description=protocol.name,
            series=[series],
            **shared,
            **({"reasonCode": reason} if reason else {}),
        )
        category = ("v2-0074", "PAT", "Pathology") if exam.modality == "SM" else ("v2-0074", "RAD", "Radiology")
        form: Json = {
            "contentType": "text/plain; charset=utf-8",
            "data": base64.b64encode(text.encode()).decode("ascii"),
            "title": f"Report: {protocol.name}",
        }
        self._add(
            "DiagnosticReport",
            f"exam/{exam.number}",
            status="final",
            category=[_concept(*category)],
            code=_coded(protocol.name, {LOINC: protocol.loinc or "18748-4"}),
            effectiveDateTime=_date(exam.day),
            imagingStudy=[self._reference("ImagingStudy", str(exam.number))],
            conclusion=exam_sentence(exam),
            presentedForm=[form | ({"url": attachment} if attachment else {})],
            **shared,
            **self._conclusion_codes(exam.findings),
        )

    def _conclusion_codes(self, findings: tuple[FindingFact, ...]) -> Json:
        """SNOMED CT codes of what is present without doubt; a resolved finding is not there any more."""
        seen = [fact for fact in findings if fact.certainty == "present" and fact.change != "resolved"]
        entries = [self._findings[key] for key in dict.fromkeys(fact.key for fact in seen)]
        codes = [_coded(entry.name, {SNOMED: entry.snomed}) for entry in entries if entry.snomed]
        return {"conclusionCode": codes} if codes else {}

    def letter(self, attachment: str) -> None:
        last = max(exam.day for exam in self.patient.exams)
        title = f"Discharge letter, {age_on(self.patient, day=last)} years"
        self._add(
            "DocumentReference",
            "letter",
            status="current",
            type=_coded("Discharge summary", {LOINC: "18842-5"}),
            subject=self._subject(),
            date=f"{_date(last)}T12:00:00Z",
            content=[{"attachment": {"contentType": "application/pdf", "url": attachment, "title": title}}],
        )

    def _subject(self) -> Json:
        return self._reference("Patient", "")

    def _reference(self, kind: str, key: str) -> Json:
        return {"reference": f"urn:uuid:{self.uuid(kind, key)}", "type": kind}

    def _add(self, kind: str, key: str, **fields: Any) -> None:
        identity = self.uuid(kind, key)
        resource = {"resourceType": kind, "id": identity, "meta": _META, **fields}
        self.entries.append({"fullUrl": f"urn:uuid:{identity}", "resource": resource})


def _date(day: int) -> str:
    return calendar_date(day).isoformat()


def _quantity(value: float, unit: str) -> Json:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def _concept(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": f"{_TERMS}/{system}", "code": code, "display": display}]}


def _coded(name: str, codes: Mapping[str, str]) -> Json:
    """A concept by its codes, empty ones left out, and its name."""
    coding = [{"system": system, "code": code} for system, code in codes.items() if code]
    return ({"coding": coding} if coding else {}) | {"text": sentence_case(name)}
