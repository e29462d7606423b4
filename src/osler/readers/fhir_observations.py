"""Observations: values, components, reference ranges and interpretations of FHIR Observations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from osler.readers.fhir_fields import Coded, Json, clean, coded, dicts, number, part, unit_of
from osler.readers.ucum import convert, known_unit, spell_unit
from osler.study import ReferenceRange

_FLAGS = {
    "l": "L", "h": "H", "ll": "LL", "hh": "HH", "n": "N", "a": "A", "aa": "AA", "pos": "POS", "neg": "NEG",
    "<": "L", ">": "H", "lu": "LL", "hu": "HH", "low": "L", "high": "H", "normal": "N", "abnormal": "A",
    "nd": "ND", "ind": "IND", "r": "R", "s": "S", "i": "I",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One value of an Observation.

    Args:
        problems: What was noticed, one phrase each.
    """

    coded: Coded
    value: float | str
    unit: str = ""
    reference: ReferenceRange | None = None
    flag: str = ""
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class Measurements:
    """All values of an Observation, and why others were not taken."""

    found: list[Measured] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def measurements(resource: Json) -> Measurements:
    """Reads the value of an Observation and those of its components."""
    out = Measurements()
    components = dicts(resource.get("component"))
    _take(resource, out=out, quiet=bool(components))
    for component in components:
        _take(component, out=out, quiet=False)
    if not out.found and not out.left_out:
        panel = bool(dicts(resource.get("hasMember")))
        out.left_out.append("a panel without a value of its own; its members are read" if panel else "it has no value")
    return out


def _take(holder: Json, *, out: Measurements, quiet: bool) -> None:
    """Reads one value; ``quiet`` where none is expected."""
    keys = [key for key in holder if key.startswith("value") and len(key) > 5 and holder[key] is not None]
    if not keys:
        if not quiet and holder.get("dataAbsentReason"):
            out.left_out.append("the record says that its value is absent")
        return
    name = coded(holder.get("code"))
    if not name.name:
        out.left_out.append("it does not say what was observed")
        return
    if len(keys) > 1:
        out.left_out.append("it has several values at once")
        return
    value, unit, why = _value(keys[0].removeprefix("value"), holder[keys[0]])
    if value is None:
        out.left_out.append(why)
        return
    problems = [f"unit {unit!r} is not known: kept as written"] if unit and not known_unit(unit) else []
    unit = spell_unit(unit)
    reference, problem = _reference(holder, unit=unit, code=name.code)
    out.found.append(
        Measured(
            coded=name,
            value=value,
            unit=unit,
            reference=reference,
            flag=_flag(holder),
            problems=tuple([*problems, problem] if problem else problems),
        )
    )


def _value(kind: str, raw: Any) -> tuple[float | str | None, str, str]:
    """Value and unit, or why there is none."""
    if kind == "Quantity" and isinstance(raw, dict):
        amount, unit = number(raw.get("value")), unit_of(raw)
        if amount is None:
            return None, "", "its value is no number"
        comparator = clean(raw.get("comparator"), most=4)
        return (f"{comparator}{amount:g}", unit, "") if comparator else (amount, unit, "")
    if kind == "CodeableConcept":
        return coded(raw).name or None, "", "its value has no name"
    if kind in ("String", "DateTime", "Time", "Date"):
        return clean(raw) or None, "", "its value is empty"
    if kind == "Boolean" and isinstance(raw, bool):
        return ("yes" if raw else "no"), "", ""
    if kind in ("Integer", "Decimal"):
        return number(raw), "", "its value is no number"
    if kind == "Range" and isinstance(raw, dict):
        low, high = part(raw, "low"), part(raw, "high")
        ends = [number(low.get("value")), number(high.get("value"))]
        if None not in ends:
            return f"{ends[0]:g}-{ends[1]:g}", unit_of(low) or unit_of(high), ""
    if kind == "Ratio" and isinstance(raw, dict):
        ends = [number(part(raw, name).get("value")) for name in ("numerator", "denominator")]
        if None not in ends:
            return f"{ends[0]:g}:{ends[1]:g}", "", ""
    return None, "", f"its value is of a kind that is not read ({clean(kind, most=30)})"


def _reference(holder: Json, *, unit: str, code: str) -> tuple[ReferenceRange | None, str]:
    """The normal range in the value's unit, and what is wrong with it."""
    ranges = []
    for entry in dicts(holder.get("referenceRange")):
        kind = coded(entry.get("type"))
        if kind.code and kind.code != "normal":
            continue
        found = _range(entry, unit=unit, code=code)
        if found == "unit":
            return None, "its reference range is in a unit that cannot be converted: left out"
        if isinstance(found, ReferenceRange):
            ranges.append(found)
    if len(set(ranges)) > 1:
        return None, "it has several reference ranges: none is taken"
    if not ranges:
        return None, ""
    low, high = ranges[0].low, ranges[0].high
    if low is not None and high is not None and low > high:
        return None, "its reference range ends below its start: left out"
    return ranges[0], ""


def _range(entry: Json, *, unit: str, code: str) -> ReferenceRange | str | None:
    ends: dict[str, float | None] = {}
    for side in ("low", "high"):
        quantity = part(entry, side)
        value = number(quantity.get("value"))
        own = unit_of(quantity)
        if value is not None and own and unit:
            value = convert(value, unit=own, to=unit, code=code)
            if value is None:
                return "unit"
        ends[side] = value
    return ReferenceRange(**ends) if any(end is not None for end in ends.values()) else None


def _flag(holder: Json) -> str:
    for concept in dicts(holder.get("interpretation")):
        for coding in [*dicts(concept.get("coding")), {"code": concept.get("text")}]:
            flag = _FLAGS.get(clean(coding.get("code")).lower())
            if flag:
                return flag
    return ""
