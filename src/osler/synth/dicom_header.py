"""The headers of synthetic DICOM files: what the facts say of a patient and of an exam's acquisition."""

from __future__ import annotations

from pydicom import Dataset

import osler
from osler.synth.facts import Exam, PatientFacts
from osler.synth.ontology import load_ontology
from osler.synth.timeline import age_on, calendar_date, patient_id

NOON = "120000"
_SEX = {"female": "F", "male": "M"}
_METHOD = "Synthetic data made by Osler: no real person, dates shifted"


def fill_patient(dataset: Dataset, *, patient: PatientFacts, exam: Exam) -> None:
    """Fills what all objects share: patient, study, series and equipment."""
    name, acquisition = patient_id(patient), exam.acquisition
    protocol = next(entry for entry in load_ontology().protocols if entry.key == exam.protocol)
    date = calendar_date(exam.day).strftime("%Y%m%d")
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = name
    dataset.PatientID = name
    dataset.PatientBirthDate = ""
    dataset.PatientSex = _SEX[patient.sex]
    dataset.PatientAge = f"{age_on(patient, day=exam.day):03d}Y"
    dataset.PatientSize = round(patient.anatomy.height_cm / 100, 3)
    dataset.PatientWeight = round(patient.anatomy.weight_kg, 1)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD
    dataset.StudyInstanceUID = acquisition.study_uid
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = date
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = NOON
    dataset.StudyID = str(exam.number + 1)
    dataset.StudyDescription = protocol.name
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.Modality = exam.modality
    dataset.SeriesInstanceUID = acquisition.series_uid
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = _series_name(exam)
    dataset.ProtocolName = exam.protocol
    dataset.BodyPartExamined = protocol.body_part
    if exam.side in ("left", "right"):
        dataset.Laterality = "L" if exam.side == "left" else "R"
    dataset.Manufacturer = "Osler"
    dataset.ManufacturerModelName = acquisition.device
    dataset.SoftwareVersions = osler.__version__
    dataset.AcquisitionNumber = 1
    dataset.ImageComments = "SYNTHETIC"


def fill_ct(dataset: Dataset, *, exam: Exam, intercept: int) -> None:
    """Fills the CT Image module."""
    acquisition = exam.acquisition
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.PatientPosition = "HFS"
    dataset.KVP = acquisition.kvp
    if acquisition.mas is not None:
        dataset.Exposure = acquisition.mas
    dataset.ConvolutionKernel = acquisition.kernel or ""
    if acquisition.contrast not in (None, "none"):
        dataset.ContrastBolusAgent = "IODINE"
        dataset.ContrastBolusRoute = "IV"
    dataset.RescaleIntercept = intercept
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    low, high = {"lung": (-1350, 150), "bone": (-450, 1050), "brain": (0, 80)}.get(
        acquisition.kernel or "", (-160, 240)
    )
    dataset.WindowCenter, dataset.WindowWidth = (low + high) / 2 + 0.5, high - low + 1


def fill_mr(dataset: Dataset, *, exam: Exam, intercept: int) -> None:
    """Fills the MR Image module."""
    del intercept
    acquisition = exam.acquisition
    sequence = acquisition.sequence or ""
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.PatientPosition = "FFS" if exam.region == "knee" else "HFS"
    dataset.ScanningSequence = _scanning(sequence)
    dataset.SequenceVariant = "SK" if dataset.ScanningSequence != "GR" else "SP"
    dataset.ScanOptions = "FS" if "FS" in sequence else ""
    dataset.MRAcquisitionType = "2D"
    dataset.SequenceName = sequence
    dataset.EchoTime = acquisition.te_ms
    dataset.RepetitionTime = acquisition.tr_ms
    if acquisition.ti_ms is not None:
        dataset.InversionTime = acquisition.ti_ms
    if acquisition.flip_deg is not None:
        dataset.FlipAngle = acquisition.flip_deg
    dataset.EchoTrainLength = 1
    dataset.MagneticFieldStrength = acquisition.field_t
    if acquisition.contrast == "gadolinium":
        dataset.ContrastBolusAgent = "GADOLINIUM"
        dataset.ContrastBolusRoute = "IV"


def fill_dx(dataset: Dataset, *, exam: Exam, high: int) -> None:
    """Fills the modules of a digital radiograph for presentation."""
    acquisition = exam.acquisition
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ViewPosition = "LL" if acquisition.view == "lateral" else acquisition.view or ""
    dataset.PatientOrientation = ["A", "F"] if acquisition.view == "lateral" else ["L", "F"]
    dataset.ImageLaterality = "U"
    dataset.KVP = acquisition.kvp
    if acquisition.mas is not None:
        dataset.Exposure = acquisition.mas
    dataset.DetectorType = "SCINTILLATOR"
    dataset.PositionerType = ""
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    dataset.WindowCenter, dataset.WindowWidth = (high + 1) / 2, max(high, 1)
    dataset.AnatomicRegionSequence = [_code("51185008", "SCT", "Chest")]
    dataset.ViewCodeSequence = [_view(acquisition.view)]
    dataset.AcquisitionContextSequence = []


def _view(view: str | None) -> Dataset:
    codes = {"PA": ("399348003", "postero-anterior"), "AP": ("399372003", "antero-posterior")}
    value, meaning = codes.get(view or "", ("399198007", "right lateral"))
    item = _code(value, "SCT", meaning)
    item.ViewModifierCodeSequence = []
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _scanning(sequence: str) -> str | list[str]:
    if sequence in ("FLAIR",):
        return ["SE", "IR"]
    if sequence == "DWI":
        return "EP"
    return "GR" if sequence in ("SWI", "T1-Dixon") else "SE"


def _series_name(exam: Exam) -> str:
    """Such as ``"AX SOFT"``, ``"FLAIR"`` or ``"PA"``."""
    acquisition = exam.acquisition
    words = (acquisition.sequence, acquisition.kernel, acquisition.view, acquisition.contrast)
    named = [word for word in words if word and word != "none"]
    return " ".join(named).upper() or exam.protocol
