"""The identity scan finds what is planted and nothing in a clean record."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from osler.evaluate import report_identity
from osler.evaluate.report_identity import KINDS, IdentityScan, count_kinds
from osler.evaluate.report_identity_controls import check_controls, make_controls

REPORT = """CT CHEST WITH CONTRAST
Indication: 63-year-old male, cough.
Comparison: CT 92 days earlier.
Findings: In the right upper lobe there is a 1.2 x 0.9 cm nodule (series 3, image 45), T2 N0. Baker cyst.
No pleural effusion. Fazekas grade 2. MR liver on day 120. Grade 1-2; ratio 120-150 HU.
Impression: Nodule, 33% larger than before."""
HEADER = json.dumps(
    {
        "PatientID": "OSLER-7-123",
        "PatientName": "",
        "StudyInstanceUID": "2.25.329800735698586629295641978511506172918",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "PixelSpacing": [0.703125, 0.703125],
        "day": 92,
        "shape": 7281928371928371,
        "device": "CT-64",
        "axes_mm": [12.0, 9.25, 8.5],
    }
)
CLEAN = f"{REPORT}\n{HEADER}"


def scan(text: str) -> list[tuple[str, str]]:
    found = IdentityScan()
    found.add([CLEAN.lower()] * 3)
    found.add([text])
    return [(hit.kind, hit.text) for hit in found.finish()]


@pytest.mark.parametrize(
    "neighbors", [("", ""), ("x ", " x"), ("é", "ß"), ("\u00a0", "\u0661"), ("1", "."), ("(", ")")]
)
def test_the_sieve_keeps_all_that_the_patterns_find(neighbors: tuple[str, str]) -> None:
    before, after = neighbors
    samples = [control.text for control in make_controls(1200, seed=2)]
    samples += [
        "Dr Ünal",
        "patient name: Ölmez",
        "p\u00a0o box 7",
        "Äckerweg 4",
        "\u0662\u0663/04/2019",
        "WWW.x",
        "www.\u00e9.fr",
    ]
    texts = [f"{before}{text}{after}" for text in samples]
    column, found = pa.array(texts), 0
    for (kind, pattern), weaker in zip(report_identity._COMPILED, report_identity.weaker_patterns(), strict=True):
        kept = pc.match_substring_regex(column, weaker).to_pylist()
        for text, keep in zip(texts, kept, strict=True):
            hit = pattern.search(text)
            found += hit is not None
            assert keep or hit is None, (kind, pattern.pattern, text)
    assert found > 300


def test_a_clean_record_is_clean() -> None:
    assert scan(CLEAN) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Discussed with Tovarel Quimby.", "name"),
        ("seen by dr halloway", "name"),
        ("called mohammed about it", "name"),
        ("DOE^JANE", "name"),
        ("12 Elm Street", "address"),
        ("Hauptstraße 14", "address"),
        ("SW1A 1AA", "address"),
        ("call 415-555-0132", "phone"),
        ("555-0132", "phone"),
        ("1.2.840.113619.2.55.3.604688119", "uid"),
        ("2.16.840.1.113883.3.72", "uid"),
        ("CT of 3/14/2019", "date"),
        ("20190314", "date"),
        ("prior from March 2019", "date"),
        ("14. März 2019", "date"),
        ("MRN 00123456", "identifier"),
        ("219-09-9999", "identifier"),
        ("jane@example.org", "identifier"),
    ],
)
def test_an_identifier_is_found(text: str, kind: str) -> None:
    assert kind in {found for found, _ in scan(CLEAN.replace("No pleural", f"{text}. No pleural"))}


def test_hits_name_their_record() -> None:
    found = IdentityScan()
    found.add(["clean words", "more"])
    found.add(["words", "on 2019-03-14", "words"])
    assert [(hit.record, hit.text) for hit in found.finish()] == [(3, "2019-03-14")]
    assert found.records == 5


def test_every_planted_identifier_is_found() -> None:
    controls = make_controls(600, seed=3)
    result = check_controls([CLEAN.lower(), CLEAN, CLEAN.lower(), CLEAN.lower()], controls=controls)
    assert result.missed == ()
    assert result.found == result.planted == dict.fromkeys(KINDS, 100)


def test_controls_repeat_with_their_seed_and_differ_without() -> None:
    assert make_controls(12, seed=1) == make_controls(12, seed=1)
    assert make_controls(12, seed=1) != make_controls(12, seed=2)


def test_counts_name_every_kind() -> None:
    assert count_kinds([]) == dict.fromkeys(KINDS, 0)


def test_a_dictation_error_is_no_name_and_a_name_is() -> None:
    found = IdentityScan()
    found.add(["noted is a nodule"] * 3 + ["Notted is a nodule", "Novasson is ill"])
    assert [hit.text for hit in found.finish()] == ["Novasson"]
