"""Takes identity out of the elements of a DICOM data set, as the profile says."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import dictionary_has_tag, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

import osler
from osler.readers.dicom_errors import PARSE_ERRORS
from osler.tasks.deidentify_profile import EDITION, Action, Profile
from osler.tasks.deidentify_search import Identifiers
from osler.tasks.deidentify_values import Pseudonyms, shifted
from osler.tasks.deidentify_words import cleaned_text

_TEXTS = {"LO", "SH", "LT", "ST", "UT", "UC", "UR", "PN", "CS", "AE"}
_DATES = {"DA", "DT"}
_DUMMIES: dict[str, Any] = {
    "PN": "Removed", "LO": "Removed", "SH": "Removed", "LT": "Removed", "ST": "Removed", "UT": "Removed",
    "UC": "Removed", "UR": "urn:removed", "CS": "REMOVED", "AE": "REMOVED", "AS": "000Y", "DA": "19000101",
    "DT": "19000101000000", "TM": "000000", "DS": "0", "IS": "0", "US": 0, "SS": 0, "UL": 0, "SL": 0, "UV": 0,
    "SV": 0, "FL": 0.0, "FD": 0.0, "AT": 0, "OB": b"\0\0", "OW": b"\0\0", "UN": b"",
}  # fmt: skip
# Not of the patient: vocabularies and programs.
_PUBLIC_UIDS = {"CodingSchemeUID", "MappingResourceUID", "ContextUID", "ImplementationClassUID", "TransferSyntaxUID"}
_IDENTIFYING = re.compile(
    r"ID$|IDs$|Identif|Number|Address|Tele|Institution|Station|Serial|Accession|Occupation|Comments"
)
# Numbers that say which image it is, not whose.
_HARMLESS = re.compile(r"^(Series|Instance|Acquisition|Frame|Item|Echo|Overlay|Curve)?Number$|NumberOf|SeriesNumber")
_PATIENT_GROUP = 0x0010
_SAID = {"remove": "removed", "empty": "emptied", "dummy": "replaced", "uid": "replaced", "clean": "cleaned"}
VERSION_NAME = f"OSLER_{osler.__version__}"[:16]


@dataclass(slots=True)
class Changes:
    """What was done to one file.

    Args:
        counts: How often, by element and action.
        found: What identified the patient; never written anywhere.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    found: Identifiers = field(default_factory=Identifiers)


class DatasetCleaner:
    """Cleans the data sets of one patient.

    Args:
        profile: What the profile asks for.
        pseudonyms: Stand-ins.
        patient: Key of the patient.
    """

    def __init__(self, profile: Profile, *, pseudonyms: Pseudonyms, patient: str) -> None:
        self._profile = profile
        self._pseudonyms = pseudonyms
        self._patient = pseudonyms.patient(patient)
        self._days = pseudonyms.days(patient)

    def clean(self, dataset: FileDataset, *, pixels_checked: bool) -> Changes:
        """Cleans a data set in place: elements, file meta information and preamble.

        Args:
            dataset: A whole file.
            pixels_checked: Whether burned-in text was looked for in its pixels.
        """
        changes = Changes()
        self._collect(dataset, found=changes.found)
        self._clean(dataset, changes=changes, forbidden=changes.found.words(), top=True)
        self._clean_again(dataset, changes=changes)
        # A date may by chance be where another one was.
        changes.found.dates -= {shifted(date, days=self._days) for date in changes.found.dates}
        self._sign(dataset, pixels_checked=pixels_checked)
        return changes

    def _collect(self, dataset: Dataset, *, found: Identifiers) -> None:
        """Gathers what identifies, before anything is changed."""
        for tag in list(dataset.keys()):
            try:
                element = dataset[tag]
                if element.VR == "SQ":
                    for item in element.value:
                        self._collect(item, found=found)
                elif not tag.is_private:
                    self._collect_one(element, action=self._action(element), found=found)
            except PARSE_ERRORS:
                continue

    def _collect_one(self, element: DataElement, *, action: Action | None, found: Identifiers) -> None:
        if action == "keep" or (action is None and element.VR not in {"PN", "UI", *_DATES}):
            return
        for text in _values(element):
            if element.VR == "PN":
                found.add_name(text)
            elif element.VR == "UI":
                if text != self._pseudonyms.uid(text) and element.keyword not in _PUBLIC_UIDS:
                    found.uids.add(text)
            elif element.VR in _DATES:
                if self._profile.dates != "full-dates" or action in ("empty", "remove"):
                    found.add_date(text)
            elif element.VR in _TEXTS and _identifies(element):
                found.add_text(text)

    def _action(self, element: DataElement) -> Action | None:
        return self._profile.action(int(element.tag))

    def _clean(self, dataset: Dataset, *, changes: Changes, forbidden: frozenset[str], top: bool = False) -> None:
        private = self._safe_private(dataset)
        for tag in list(dataset.keys()):
            if tag.group <= 0x0002 or tag.element == 0:
                del dataset[tag]
                continue
            if tag.is_private:
                if tag not in private:
                    del dataset[tag]
                    changes.counts["private elements", "removed"] += 1
                continue
            try:
                element = dataset[tag]
                said = self._act(dataset, element=element, changes=changes, forbidden=forbidden, top=top)
            except PARSE_ERRORS:
                said = "removed: unreadable"
                del dataset[tag]
            if said:
                changes.counts[label(tag), said] += 1

    def _safe_private(self, dataset: Dataset) -> set[BaseTag]:
        """Private elements that may stay, and the creators that they need."""
        kept: set[BaseTag] = set()
        if "safe-private" not in self._profile.options:
            return kept
        tags = list(dataset.keys())
        for creator in [tag for tag in tags if tag.is_private_creator]:
            name = str(dataset[creator].value).strip()
            block = [
                tag
                for tag in tags
                if tag.group == creator.group
                and tag.element >> 8 == creator.element
                and self._profile.keeps_private(group=tag.group, creator=name, element=tag.element & 0xFF)
                and dataset[tag].VR not in {"SQ", "UN", "UI", *_TEXTS, *_DATES}
            ]
            kept.update([creator, *block] if block else [])
        return kept

    def _act(
        self, dataset: Dataset, *, element: DataElement, changes: Changes, forbidden: frozenset[str], top: bool
    ) -> str:
        """Does what the profile says with one element, and says what was done; empty if nothing."""
        action = self._action(element)
        if action is None:
            action = self._unlisted(element)
        if top and element.keyword in ("PatientID", "PatientName"):
            element.value = self._patient
            return "replaced"
        if action == "remove":
            del dataset[element.tag]
            return "removed"
        if element.VR == "SQ":
            if action == "empty":
                element.value = Sequence()
                return "emptied"
            for item in element.value:
                self._clean(item, changes=changes, forbidden=forbidden)
            return ""
        if action == "keep" or element.is_empty:
            return ""
        if action == "uid":
            before = _values(element)
            after = [self._pseudonyms.uid(text) for text in before]
            if after == before:
                return ""
            _set(element, after)
        elif action == "clean" or (element.VR in _DATES and action == "dummy"):
            return self._clean_value(element, action=action, forbidden=forbidden)
        else:
            element.value = _DUMMIES.get(element.VR, b"") if action == "dummy" else None
        return _SAID[action]

    def _unlisted(self, element: DataElement) -> Action:
        """What is done with elements that the table does not name."""
        if not dictionary_has_tag(element.tag) or element.VR == "UN":
            # Repeating groups are in the dictionary; what is not may hold anything.
            return "remove"
        if element.VR == "PN":
            return "empty"
        if element.VR in _DATES:
            return {"full-dates": "keep", "modified-dates": "clean", "no-dates": "empty"}[self._profile.dates]  # type: ignore[return-value]
        if element.VR == "UI" and element.keyword not in _PUBLIC_UIDS:
            return "keep" if "uids" in self._profile.options else "uid"
        return "keep"

    def _clean_value(self, element: DataElement, *, action: Action, forbidden: frozenset[str]) -> str:
        if element.VR in _DATES:
            if action == "dummy" or self._profile.dates == "no-dates":
                element.value = _DUMMIES[element.VR]
                return "replaced"
            _set(element, [shifted(text, days=self._days) for text in _values(element)])
            return "moved in time"
        if element.VR == "TM":  # with its day moved, the time of day tells no date
            return ""
        if element.VR in _TEXTS - {"PN"}:
            _set(element, [cleaned_text(text, forbidden=forbidden) for text in _values(element)])
            return "cleaned"
        element.value = None
        return "emptied"

    def _clean_again(self, dataset: Dataset, *, changes: Changes) -> None:
        """Empties texts that the profile keeps and that hold something that identifies."""
        for tag in list(dataset.keys()):
            element = dataset[tag]
            if element.VR == "SQ":
                for item in element.value:
                    self._clean_again(item, changes=changes)
            elif element.VR in _TEXTS and not element.is_empty:
                if str(element.value) in (self._patient, _DUMMIES[element.VR]):
                    continue
                coded = element.VR in {"CS", "AE"}
                if any(changes.found.in_text(text, coded=coded) for text in _values(element)):
                    element.value = None
                    changes.counts[label(tag), "emptied: it repeated something that identifies"] += 1

    def _sign(self, dataset: FileDataset, *, pixels_checked: bool) -> None:
        """Writes into the file what was done (PS3.15 E.1.1), and makes its beginning anew."""
        syntax = dataset.file_meta.TransferSyntaxUID
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        meta.TransferSyntaxUID = syntax
        meta.ImplementationVersionName = VERSION_NAME
        dataset.file_meta = meta
        dataset.preamble = b"\0" * 128
        dataset.PatientName = dataset.PatientID = self._patient
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = f"Osler {osler.__version__}, {EDITION}"
        codes = []
        for value, meaning in self._profile.methods(pixels=pixels_checked):
            code = Dataset()
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
            codes.append(code)
        dataset.DeidentificationMethodCodeSequence = Sequence(codes)
        dataset.LongitudinalTemporalInformationModified = {
            "full-dates": "UNMODIFIED", "modified-dates": "MODIFIED", "no-dates": "REMOVED"
        }[self._profile.dates]  # fmt: skip
        if pixels_checked:
            dataset.BurnedInAnnotation = "NO"
        elif dataset.get("BurnedInAnnotation") == "NO":
            del dataset.BurnedInAnnotation


def label(tag: BaseTag) -> str:
    """How an element is named in the report: ``"(0010,0010) PatientName"``."""
    return f"({tag.group:04X},{tag.element:04X}) {keyword_for_tag(tag)}".strip()


def _identifies(element: DataElement) -> bool:
    keyword = element.keyword
    if _HARMLESS.search(keyword):
        return False
    return element.tag.group == _PATIENT_GROUP or _IDENTIFYING.search(keyword) is not None


def _values(element: DataElement) -> list[str]:
    value = element.value
    if value is None:
        return []
    parts = value if isinstance(value, MultiValue | list | tuple) else [value]
    return [text for part in parts if (text := str(part))]


def _set(element: DataElement, texts: list[str]) -> None:
    kept = [text for text in texts if text]
    element.value = None if not kept else kept[0] if len(kept) == 1 else kept
