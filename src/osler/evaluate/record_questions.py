"""Questions over synthetic FHIR records whose answers are known.

The right answers are computed here from the raw JSON, by code that shares
nothing with Osler's reader, planner or search. Patients are split: the planner
was written while looking at the ``dev`` half; ``test`` patients, and the
wordings of the ``held-out`` column, were not looked at before the figures in
``benchmarks/ehr_questions.md`` were taken. Records: Synthea R4
bundles, one patient each.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# name in questions -> LOINC, and a wording that the planner's author did not try.
LABS = {
    "weight": ("29463-7", "body weight"),
    "height": ("8302-2", "body height"),
    "BMI": ("39156-5", "body mass index"),
    "systolic blood pressure": ("8480-6", "systolic BP"),
    "diastolic blood pressure": ("8462-4", "diastolic BP"),
    "hemoglobin": ("718-7", "Hgb"),
    "white blood cell count": ("6690-2", "WBC"),
    "platelet count": ("777-3", "platelets"),
    "total cholesterol": ("2093-3", "cholesterol"),
    "LDL cholesterol": ("18262-6", "LDL"),
    "HDL cholesterol": ("2085-9", "HDL"),
    "triglycerides": ("2571-8", "triglyceride level"),
    "eGFR": ("33914-3", "estimated glomerular filtration rate"),
    "glucose": ("2339-0", "blood sugar"),
    "creatinine": ("38483-4", "serum creatinine"),
    "HbA1c": ("4548-4", "hemoglobin A1c"),
    "sodium": ("2947-0", "serum sodium"),
    "potassium": ("6298-4", "serum potassium"),
}
ABSENT = (
    "What was the last troponin?", "What is the latest TSH?", "When was the last D-dimer measured?",
    "What was the lipase in 2015?", "Is the patient on warfarin?", "Does the patient have lupus?",
    "When was the appendectomy?", "How tall is the patient's mother?", "What was the urine glucose?",
    "Is the patient allergic to peanuts?", "Has the patient ever had a stroke?", "What was the CSF protein?",
    "When did the patient receive the yellow fever vaccine?", "What is the patient's blood type?",
    "Is the patient taking metformin?", "What was the last ferritin value?", "Did the patient have a colonoscopy?",
    "What was the highest CA 125?", "How has the PSA changed over time?", "What is the dose of insulin?",
)  # fmt: skip
ABSENT_TOO = (
    "Can you tell me the newest troponin reading?", "Date of the last mammogram", "Peak ferritin?",
    "Is there any record of sarcoidosis?", "Was clopidogrel prescribed?", "How often has lactate been determined?",
    "Since when has the patient had gout?", "Did the procalcitonin go up or down?",
    "What is the father's blood pressure?",
    "Is she pregnant with twins?",
)  # fmt: skip
ABSENT_LAST = (
    "Latest vitamin D value and its date",
    "Has heparin been given?",
    "Does she suffer from psoriasis?",
    "Which was the smallest ammonia so far?",
    "Tell me how many bronchoscopy results exist",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its type, whether its wording was held out, and the test of an answer."""

    text: str
    kind: str
    held_out: bool
    right: Callable[[str], bool]


def resources(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The resources of a bundle by type."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in json.loads(path.read_text())["entry"]:
        found[entry["resource"]["resourceType"]].append(entry["resource"])
    return found


def values(found: dict[str, list[dict[str, Any]]], loinc: str) -> list[tuple[str, float]]:
    """``(time, value)`` of an observation or component, oldest first."""
    out = []
    for one in found["Observation"]:
        for holder in (one, *one.get("component", ())):
            if holder["code"]["coding"][0]["code"] == loinc and "valueQuantity" in holder:
                out.append((one["effectiveDateTime"], holder["valueQuantity"]["value"]))
    return sorted(out)


def has(*parts: str) -> Callable[[str], bool]:
    """Whether an answer holds all parts, as whole words, and is not a refusal."""
    return lambda text: (
        not text.startswith("The record does not say")
        and all(re.search(rf"(?<![\d.]){re.escape(part)}(?![\d])", text) for part in parts)
    )


def starts(*words: str) -> Callable[[str], bool]:
    """Whether an answer starts with one of these words."""
    return lambda text: text.startswith(words)


def lab_questions(found: dict[str, list[dict[str, Any]]], *, choose: random.Random) -> Iterator[Asked]:
    """Values, dates, counts, extremes, courses of measurements."""
    for name, (loinc, other) in LABS.items():
        series = values(found, loinc)
        if not series:
            yield Asked(f"What was the last {name}?", "unanswerable", False, starts("The record does not say"))
            yield Asked(
                f"What was the {other} on 2012-02-30?", "unanswerable", False, lambda t: not re.search(r": \d", t)
            )
            continue
        days = [time[:10] for time, _value in series]
        (first, low), (last, high) = series[0], series[-1]
        top, bottom = max(value for _t, value in series), min(value for _t, value in series)
        yield Asked(f"What was the last {name}?", "value", False, has(f"{high:.6g}", last[:10]))
        yield Asked(f"What is the most recent {other} on record?", "value", False, has(f"{high:.6g}", last[:10]))
        yield Asked(f"What was the first {name}?", "value", False, has(f"{low:.6g}", first[:10]))
        yield Asked(f"Give the earliest recorded {other}.", "value", False, has(f"{low:.6g}", first[:10]))
        yield Asked(f"What was the highest {name}?", "extreme", False, has(f"{top:.6g}"))
        yield Asked(f"What's the lowest {other} ever measured?", "extreme", False, has(f"{bottom:.6g}"))
        yield Asked(f"When was the {name} last measured?", "date", False, has(last[:10]))
        yield Asked(f"On which date was {other} first checked?", "date", False, has(first[:10]))
        yield Asked(f"How many times was the {name} measured?", "count", False, has(str(len(series))))
        yield Asked(f"Number of {other} measurements?", "count", False, has(str(len(series))))
        yield Asked(f"Latest {other} value and its date", "value", True, has(f"{high:.6g}", last[:10]))
        yield Asked(f"Which was the smallest {name} so far?", "extreme", True, has(f"{bottom:.6g}"))
        yield Asked(f"Tell me how many {other} results exist", "count", True, has(str(len(series))))
        yield Asked(f"What date was the newest {name} obtained?", "date", True, has(last[:10]))
        yield Asked(f"Can you tell me the newest {name} reading?", "value", False, has(f"{high:.6g}", last[:10]))
        yield Asked(f"Date of the last {name}", "date", False, has(last[:10]))
        yield Asked(f"How often has {other} been determined?", "count", False, has(str(len(series))))
        yield Asked(f"Peak {other}?", "extreme", False, has(f"{top:.6g}"))
        day, value = choose.choice(
            [(time[:10], value) for time, value in series if days.count(time[:10]) == 1] or [("", 0)]
        )
        if day:
            yield Asked(f"What was the {name} on {day}?", "on a date", False, has(f"{value:.6g}", day))
            yield Asked(f"{name} on {day}?", "on a date", False, has(f"{value:.6g}", day))
            year = day[:4]
            if sum(one.startswith(year) for one in days) == 1:
                text = f"I'd like to know the patient's {name} in {year}"
                yield Asked(text, "on a date", True, has(f"{value:.6g}", day))
            in_year = sum(one.startswith(year) for one in days)
            yield Asked(f"How many {name} values are there in {year}?", "count", False, has(str(in_year)))
            yield Asked(f"What was the last {other} in {year}?", "on a date", False,
                        has(f"{[v for t, v in series if t.startswith(year)][-1]:.6g}"))  # fmt: skip
        if len(series) > 1:
            word = "up" if high > low else "down" if high < low else "unchanged"
            yield Asked(
                f"How has the {name} changed over time?", "trend", False, has(word, f"{low:.6g}", f"{high:.6g}")
            )
            yield Asked(f"Trend of {other}", "trend", False, has(word, f"{low:.6g}", f"{high:.6g}"))
            yield Asked(f"Did the {other} go up or down?", "trend", False, has(word, f"{low:.6g}", f"{high:.6g}"))
            yield Asked(f"Development of {other} over the years", "trend", True, has(word, f"{low:.6g}", f"{high:.6g}"))
            cut = (top + bottom) / 2
            yield Asked(f"Was the {name} ever above {cut:.3f}?", "threshold", False,
                        starts("Yes") if top > float(f"{cut:.3f}") else starts("No"))  # fmt: skip
            yield Asked(f"Has the {other} ever been higher than {top + 1:.1f}?", "threshold", False, starts("No:"))


def entry_questions(found: dict[str, list[dict[str, Any]]]) -> Iterator[Asked]:
    """Conditions, medications, vaccinations, procedures, encounters."""
    conditions = Counter(plain(one["code"]["text"]) for one in found["Condition"])
    for name in conditions:
        ones = [one for one in found["Condition"] if plain(one["code"]["text"]) == name]
        onset = min(one["onsetDateTime"] for one in ones)[:10]
        active = any(one["clinicalStatus"]["coding"][0]["code"] == "active" for one in ones)
        # "sinusitis" alone is several conditions of a record: skip names that other names hold
        if any(set(name.split()) < set(other.split()) for other in conditions):
            continue
        yield Asked(
            f"Does the patient have {name}?",
            "has condition",
            False,
            starts("Yes") if active else starts("Not any more"),
        )
        yield Asked(f"Has the patient ever been diagnosed with {name}?", "has condition", False, starts("Yes"))
        yield Asked(f"Does she suffer from {name}?", "has condition", True,
                    starts("Yes") if active else starts("Not any more"))  # fmt: skip
        yield Asked(
            f"Is there any record of {name}?", "has condition", False, starts("Yes", "Recorded", "Not any more")
        )
        yield Asked(f"Since when has the patient had {name}?", "date", False, has(onset))
        yield Asked(f"When was {name} first diagnosed?", "date", False, has(onset))
        yield Asked(f"How many times has the patient had {name}?", "count", False, has(str(len(ones))))
    for one in found["MedicationRequest"]:
        text = one["medicationCodeableConcept"]["text"]
        drug = next(word for word in re.sub(r"NDA\d+|[\d.]+ ?M[GL](/ML)?", "", text).split() if word.isalpha())
        same = [o for o in found["MedicationRequest"] if drug.lower() in o["medicationCodeableConcept"]["text"].lower()]
        active = any(o["status"] == "active" for o in same)
        first = min(o["authoredOn"] for o in same)[:10]
        yield Asked(
            f"Is the patient on {drug.lower()}?", "on drug", False, starts("Yes") if active else starts("Not any more")
        )
        yield Asked(f"Has the patient ever taken {drug.lower()}?", "on drug", False, starts("Yes"))
        yield Asked(f"Has {drug} been given?", "on drug", True, starts("Yes"))
        yield Asked(f"Was {drug} prescribed?", "on drug", False, starts("Yes"))
        yield Asked(f"When was {drug} first prescribed?", "date", False, has(first))
    flu = sorted(
        one["occurrenceDateTime"][:10] for one in found["Immunization"] if "Influenza" in one["vaccineCode"]["text"]
    )
    if flu:
        yield Asked("When was the last influenza vaccination?", "date", False, has(flu[-1]))
        yield Asked("How many flu shots has the patient received?", "count", False, has(str(len(flu))))
    hepatitis = [one for one in found["Immunization"] if "Hep A" in one["vaccineCode"]["text"]]
    answer = starts("Yes") if hepatitis else starts("The record does not say")
    yield Asked("Was the patient ever vaccinated against hepatitis A?", "vaccination", False, answer)
    visits = len(found["Encounter"])
    yield Asked("How many encounters are there?", "count", False, has(str(visits)))
    last = max(one["period"]["start"] for one in found["Encounter"])[:10]
    yield Asked("When was the last visit?", "date", False, has(last))
    smoking = sorted((one["effectiveDateTime"], one["valueCodeableConcept"]["text"]) for one in found["Observation"]
                     if one["code"]["coding"][0]["code"] == "72166-2")  # fmt: skip
    if smoking:
        yield Asked("Does the patient smoke?", "value", False, has(smoking[-1][1]))
        yield Asked("What is the latest smoking status?", "value", False, has(smoking[-1][1]))


def plain(name: str) -> str:
    """A condition as a person would say it."""
    return re.sub(r" \((?:disorder|situation|finding)\)", "", name).lower().split(" - ")[-1]


def questions(path: Path) -> list[Asked]:
    """All questions about one patient."""
    found = resources(path)
    asked = [*lab_questions(found, choose=random.Random(path.name)), *entry_questions(found)]
    asked += [Asked(text, "unanswerable", False, starts("The record does not say")) for text in ABSENT_TOO]
    asked += [Asked(text, "unanswerable", True, starts("The record does not say")) for text in ABSENT_LAST]
    return asked + [Asked(text, "unanswerable", False, starts("The record does not say")) for text in ABSENT]
