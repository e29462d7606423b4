"""The table of the profile is whole, agrees with others' extractions, and its options do what they say."""

from __future__ import annotations

from collections import Counter

import gdcm
import pytest
from dicognito.anonymizer import Anonymizer
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from osler.errors import RequestError
from osler.tasks.deidentify_profile import METHODS, OPTIONS, Profile, rules


def tag(keyword: str) -> int:
    number = tag_for_keyword(keyword)
    assert number is not None
    return number


def test_the_table_is_whole() -> None:
    table = rules()
    assert len({rule.tag for rule in table}) == len(table) == 656
    assert Counter(rule.basic for rule in table) == {
        "X": 416, "D": 93, "U": 55, "Z": 42, "X/D": 23, "X/Z": 11, "X/Z/D": 8, "Z/D": 6, "X/Z/U*": 2,
    }  # fmt: skip
    assert {option for rule in table for option in rule.options} >= set(OPTIONS) - {"no-dates", "safe-private"}
    assert sum("modified-dates" in rule.options for rule in table) == 169
    assert sum("uids" in rule.options for rule in table) == 60


def test_gdcm_names_no_element_that_is_missing() -> None:
    theirs = gdcm.Anonymizer.GetBasicApplicationLevelConfidentialityProfileAttributes()
    numbers = {(entry.GetGroup() << 16) | entry.GetElement() for entry in theirs}
    assert len(numbers) > 40
    profile = Profile()
    assert {f"{number:08X}" for number in numbers if profile.action(number) in (None, "keep")} == set()


def test_dicognito_changes_no_element_that_stays_here() -> None:
    text = Anonymizer(seed="x").describe_actions()
    names = {word for line in text.splitlines() for word in line.replace(",", " ").split() if tag_for_keyword(word)}
    assert len(names) > 15
    profile = Profile(("no-dates",))
    stay = {name for name in names if profile.action(tag(name)) in (None, "keep")}
    # dicognito marks these itself; the rest must be handled here.
    assert stay <= {"DeidentificationMethod", "PatientIdentityRemoved", "BurnedInAnnotation"}, stay


@pytest.mark.parametrize(
    ("options", "keyword", "action"),
    [
        ((), "PatientName", "empty"),
        ((), "StudyDate", "clean"),
        (("no-dates",), "StudyDate", "empty"),
        (("full-dates",), "StudyDate", "keep"),
        (("full-dates",), "PatientBirthDate", "empty"),
        ((), "StudyInstanceUID", "uid"),
        (("uids",), "StudyInstanceUID", "keep"),
        ((), "PatientAge", "remove"),
        (("patient-characteristics",), "PatientAge", "keep"),
        ((), "StudyDescription", "remove"),
        (("descriptors",), "StudyDescription", "clean"),
        (("device-identity",), "DeviceSerialNumber", "keep"),
        (("institution-identity",), "InstitutionName", "keep"),
        ((), "Rows", None),
    ],
)
def test_actions(options: tuple[str, ...], keyword: str, action: str | None) -> None:
    assert Profile(options).action(tag(keyword)) == action


def test_repeating_groups() -> None:
    profile = Profile()
    assert [profile.action(number) for number in (0x60003000, 0x60FE4000, 0x50200010)] == ["remove"] * 3
    assert profile.action(0x60000010) is None
    assert keyword_for_tag(0x60003000) == "OverlayData"


def test_methods_and_bad_options() -> None:
    assert Profile().methods(pixels=True)[:2] == [METHODS["basic"], METHODS["pixels"]]
    with pytest.raises(RequestError, match="Did you mean 'descriptors'"):
        Profile(("descriptor",))
    with pytest.raises(RequestError, match="contradict"):
        Profile(("no-dates", "modified-dates"))
