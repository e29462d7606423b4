"""Units of clinical practice: UCUM spelling, and conversion where it is certain.

A unit that is not in the tables is kept as written, and `convert` refuses it:
nothing is guessed. Between mass and amount of substance a molar mass is needed,
which only the analytes listed here have.

Sources: UCUM 2.1 (https://ucum.org/ucum) for codes and factors; molar masses
from PubChem; hemoglobin per monomer (16,114.5 g/mol) as laboratories report
it; HbA1c by the NGSP-IFCC master equation, NGSP % = 0.09148 x IFCC + 2.152
(https://ngsp.org/ifcc.asp).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache

from osler.study import ClinicalEvent, ReferenceRange

# What is written in practice -> UCUM (case-sensitive code).
_SPELLINGS = {
    "%": "%", "percent": "%", "mm hg": "mm[Hg]", "mmhg": "mm[Hg]", "mm[hg]": "mm[Hg]", "torr": "mm[Hg]",
    "k/ul": "10*3/uL", "k/mm3": "10*3/uL", "thou/ul": "10*3/uL", "th/ul": "10*3/uL", "x10e3/ul": "10*3/uL",
    "10e3/ul": "10*3/uL", "10^3/ul": "10*3/uL", "x10^3/ul": "10*3/uL", "x10*3/ul": "10*3/uL", "10*3/ul": "10*3/uL",
    "/nl": "10*9/L", "g/l": "g/L", "gpt/l": "10*9/L", "tpt/l": "10*12/L", "/pl": "10*12/L",
    "m/ul": "10*6/uL", "mil/ul": "10*6/uL", "x10e6/ul": "10*6/uL", "10e6/ul": "10*6/uL", "10^6/ul": "10*6/uL",
    "x10^6/ul": "10*6/uL", "x10*6/ul": "10*6/uL", "10*6/ul": "10*6/uL", "x10^9/l": "10*9/L", "x10e9/l": "10*9/L",
    "10^9/l": "10*9/L", "10e9/l": "10*9/L", "10*9/l": "10*9/L", "x10*9/l": "10*9/L", "x10^12/l": "10*12/L",
    "10^12/l": "10*12/L", "10e12/l": "10*12/L", "10*12/l": "10*12/L", "x10*12/l": "10*12/L", "giga/l": "10*9/L",
    "cells/ul": "/uL", "/ul": "/uL", "/mm3": "/uL", "cells/mm3": "/uL", "/hpf": "/[HPF]", "/lpf": "/[LPF]",
    "mg/dl": "mg/dL", "g/dl": "g/dL", "gm/dl": "g/dL", "ug/dl": "ug/dL", "mcg/dl": "ug/dL", "ng/ml": "ng/mL",
    "pg/ml": "pg/mL", "ug/ml": "ug/mL", "mcg/ml": "ug/mL", "ng/dl": "ng/dL", "mg/l": "mg/L", "ug/l": "ug/L",
    "mcg/l": "ug/L", "ng/l": "ng/L", "mmol/l": "mmol/L", "umol/l": "umol/L", "nmol/l": "nmol/L", "pmol/l": "pmol/L",
    "mmol/mol": "mmol/mol", "meq/l": "meq/L", "mosm/kg": "mosm/kg", "u/l": "U/L", "iu/l": "[IU]/L",
    "[iu]/l": "[IU]/L", "iu/ml": "[IU]/mL", "miu/l": "m[IU]/L", "m[iu]/l": "m[IU]/L", "uiu/ml": "u[IU]/mL",
    "miu/ml": "m[IU]/mL", "u/ml": "U/mL", "ku/l": "kU/L", "kat/l": "kat/L", "ukat/l": "ukat/L", "nkat/l": "nkat/L",
    "fl": "fL", "pg": "pg", "mm/h": "mm/h", "mm/hr": "mm/h", "s": "s", "sec": "s", "seconds": "s", "min": "min",
    "minutes": "min", "h": "h", "hr": "h", "d": "d", "day": "d", "days": "d", "wk": "wk", "weeks": "wk", "mo": "mo",
    "a": "a", "yr": "a", "years": "a", "cm": "cm", "m": "m", "mm": "mm", "in": "[in_i]", "inch": "[in_i]",
    "[in_i]": "[in_i]", "ft": "[ft_i]", "[ft_i]": "[ft_i]", "kg": "kg", "g": "g", "mg": "mg", "ug": "ug", "mcg": "ug",
    "lb": "[lb_av]", "lbs": "[lb_av]", "[lb_av]": "[lb_av]", "oz": "[oz_av]", "kg/m2": "kg/m2", "kg/m^2": "kg/m2",
    "cel": "Cel", "c": "Cel", "°c": "Cel", "degc": "Cel", "degf": "[degF]", "°f": "[degF]", "[degf]": "[degF]",
    "f": "[degF]", "k": "K", "bpm": "/min", "beats/min": "/min", "{beats}/min": "/min", "/min": "/min",
    "breaths/min": "/min", "{breaths}/min": "/min", "l": "L", "ml": "mL", "dl": "dL", "ul": "uL", "l/min": "L/min",
    "ml/min": "mL/min", "ml/min/1.73m2": "mL/min/{1.73_m2}", "ml/min/1.73 m2": "mL/min/{1.73_m2}",
    "ml/min/1.73m^2": "mL/min/{1.73_m2}", "ml/min/{1.73_m2}": "mL/min/{1.73_m2}", "kpa": "kPa", "pa": "Pa",
    "ratio": "{ratio}", "{ratio}": "{ratio}", "inr": "{INR}", "{inr}": "{INR}", "index": "{index}",
    "score": "{score}", "{score}": "{score}", "ph": "[pH]", "[ph]": "[pH]", "1": "1",
}  # fmt: skip

_PREFIXES = {"k": 1e3, "d": 1e-1, "c": 1e-2, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_METRIC = ("g", "m", "L", "s", "mol", "U", "kat", "[IU]", "eq", "osm", "Pa")
# Factor and dimension of each atom; dimensions are powers of independent quantities.
_ATOMS: dict[str, tuple[float, dict[str, int]]] = {
    "g": (1.0, {"mass": 1}), "m": (1.0, {"length": 1}), "L": (1e-3, {"length": 3}), "s": (1.0, {"time": 1}),
    "min": (60.0, {"time": 1}), "h": (3600.0, {"time": 1}), "d": (86400.0, {"time": 1}), "wk": (604800.0, {"time": 1}),
    "mo": (2629800.0, {"time": 1}), "a": (31557600.0, {"time": 1}), "mol": (1.0, {"amount": 1}),
    "eq": (1.0, {"charge": 1}), "osm": (1.0, {"osmole": 1}), "U": (1e-6 / 60, {"amount": 1, "time": -1}),
    "kat": (1.0, {"amount": 1, "time": -1}), "[IU]": (1.0, {"international": 1}), "%": (0.01, {}), "1": (1.0, {}),
    "Pa": (1.0, {"pressure": 1}), "mm[Hg]": (133.322, {"pressure": 1}), "[in_i]": (0.0254, {"length": 1}),
    "[ft_i]": (0.3048, {"length": 1}), "[lb_av]": (453.59237, {"mass": 1}), "[oz_av]": (28.349523125, {"mass": 1}),
    "[pH]": (1.0, {"pH": 1}), "[HPF]": (1.0, {"field": 1}), "[LPF]": (1.0, {"low field": 1}),
}  # fmt: skip
_TEMPERATURES = {"Cel": (1.0, 0.0), "[degF]": (5 / 9, -32 * 5 / 9), "K": (1.0, -273.15)}  # to degrees Celsius

_MOLAR_MASS = {  # g/mol
    "glucose": 180.156, "creatinine": 113.12, "urea nitrogen": 28.014, "urea": 60.056, "cholesterol": 386.65,
    "triglycerides": 885.4, "bilirubin": 584.66, "calcium": 40.078, "magnesium": 24.305, "phosphorus": 30.974,
    "uric acid": 168.11, "iron": 55.845, "hemoglobin": 16114.5, "sodium": 22.990, "potassium": 39.098,
    "chloride": 35.45, "lactate": 90.08,
}  # fmt: skip
_CHARGE = {"sodium": 1, "potassium": 1, "chloride": 1, "bicarbonate": 1, "calcium": 2, "magnesium": 2}
_ANALYTES = {
    "2345-7": "glucose", "2339-0": "glucose", "1558-6": "glucose", "14749-6": "glucose", "15074-8": "glucose",
    "2160-0": "creatinine", "38483-4": "creatinine", "14682-9": "creatinine", "3094-0": "urea nitrogen",
    "6299-2": "urea nitrogen", "22664-7": "urea", "3091-6": "urea", "2093-3": "cholesterol", "14647-2": "cholesterol",
    "2085-9": "cholesterol", "14646-4": "cholesterol", "18262-6": "cholesterol", "13457-7": "cholesterol",
    "2089-1": "cholesterol", "22748-8": "cholesterol", "2571-8": "triglycerides", "14927-8": "triglycerides",
    "1975-2": "bilirubin", "14631-6": "bilirubin", "1968-7": "bilirubin", "17861-6": "calcium", "49765-1": "calcium",
    "2000-8": "calcium", "19123-9": "magnesium", "2601-3": "magnesium", "2777-1": "phosphorus", "14879-1": "phosphorus",
    "3084-1": "uric acid", "14933-6": "uric acid", "2498-4": "iron", "14798-3": "iron", "718-7": "hemoglobin",
    "59260-0": "hemoglobin", "2951-2": "sodium", "2947-0": "sodium", "2823-3": "potassium", "6298-4": "potassium",
    "2075-0": "chloride", "2069-3": "chloride", "1963-8": "bicarbonate",
    "1959-6": "bicarbonate", "2028-9": "bicarbonate",
    "20565-8": "bicarbonate", "2524-7": "lactate", "32693-4": "lactate", "4548-4": "hba1c", "59261-8": "hba1c",
    "17856-6": "hba1c",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Unit:
    """A factor to base units, and the powers of the quantities that make it up."""

    factor: float
    dimension: tuple[tuple[str, int], ...]


def spell_unit(unit: str) -> str:
    """Spells a unit in UCUM where it is known; an unknown one is returned as it is.

    Example:
        >>> spell_unit("mmol/l"), spell_unit("K/uL"), spell_unit("furlongs")
        ('mmol/L', '10*3/uL', 'furlongs')
    """
    text = unit.strip().replace("µ", "u").replace("μ", "u").replace("²", "2").replace("³", "3").replace("⁹", "9")
    if _parse(text) is not None or text in _TEMPERATURES:
        return text
    if re.match(r"M(?:g|mol|L|eq|osm|m)\b", text):  # mega or milli: nobody can say
        return text
    return _SPELLINGS.get(re.sub(r"\s*/\s*", "/", text.lower()), text)


def known_unit(unit: str) -> bool:
    """Whether a unit is understood."""
    spelled = spell_unit(unit)
    return spelled in _TEMPERATURES or _parse(spelled) is not None


def convert(value: float, *, unit: str, to: str, code: str = "") -> float | None:
    """Converts a value between units.

    Args:
        value: In ``unit``.
        unit: As written. to: As wanted.
        code: LOINC code of the observation, which gives the molar mass where one is needed.

    Returns:
        The value in ``to``, or ``None`` where the conversion is not certain.
    """
    here, there = spell_unit(unit), spell_unit(to)
    if here == there:
        return value
    if here in _TEMPERATURES and there in _TEMPERATURES:
        (slope, offset), (slope_to, offset_to) = _TEMPERATURES[here], _TEMPERATURES[there]
        return (value * slope + offset - offset_to) / slope_to
    analyte = _ANALYTES.get(code, "")
    if analyte == "hba1c" and {here, there} == {"%", "mmol/mol"}:
        return (value - 2.152) / 0.09148 if there == "mmol/mol" else value * 0.09148 + 2.152
    source, target = _parse(here), _parse(there)
    if source is None or target is None or analyte == "hba1c" or "mol/mol" in here + there:
        return None  # a share of amounts is no share of volumes
    ratio = _ratio(source, target, analyte=analyte)
    return None if ratio is None else value * ratio


def convert_event(event: ClinicalEvent, *, to: str) -> ClinicalEvent | None:
    """Converts an observation's value together with its reference range; ``None`` where that is not certain."""
    if not isinstance(event.value, float | int):
        return None

    def moved(value: float | None) -> float | None:
        return None if value is None else convert(value, unit=event.unit, to=to, code=event.code)

    value = moved(event.value)
    if value is None:
        return None
    reference = event.reference
    if reference is not None:
        reference = ReferenceRange(low=moved(reference.low), high=moved(reference.high))
    return replace(event, value=value, unit=spell_unit(to), reference=reference)


def _ratio(source: _Unit, target: _Unit, *, analyte: str) -> float | None:
    """What to multiply with, through a molar mass or charge where the dimensions differ by one."""
    if source.dimension == target.dimension:
        return source.factor / target.factor
    for quantity, table in (("mass", _MOLAR_MASS), ("charge", _CHARGE)):
        each = table.get(analyte)
        if each is None:
            continue
        if _swapped(source.dimension, quantity, "amount") == target.dimension:
            return source.factor / each / target.factor
        if _swapped(target.dimension, quantity, "amount") == source.dimension:
            return source.factor * each / target.factor
    return None


def _swapped(dimension: tuple[tuple[str, int], ...], old: str, new: str) -> tuple[tuple[str, int], ...]:
    """The dimension with one quantity in the place of another; as it was where the first does not stand alone."""
    powers = dict(dimension)
    if powers.get(old) != 1 or new in powers:
        return dimension
    powers[new] = powers.pop(old)
    return tuple(sorted(powers.items()))


@lru_cache(maxsize=4096)
def _parse(text: str) -> _Unit | None:
    """Reads a UCUM code made of known atoms; ``None`` for anything else."""
    if not text or len(text) > 60:
        return None
    factor = 1.0
    powers: dict[str, int] = {}
    sign = 1
    for index, part in enumerate(re.split(r"([./])(?![^{]*\})", text)):
        if part in (".", "/"):
            sign = -1 if part == "/" else 1
            continue
        if part == "" and index == 0 and text.startswith("/"):
            continue
        one = _component(part)
        if one is None:
            return None
        factor *= one[0] ** sign
        for name, power in one[1].items():
            powers[name] = powers.get(name, 0) + sign * power
    if not math.isfinite(factor) or factor <= 0:
        return None
    return _Unit(factor, tuple(sorted((name, power) for name, power in powers.items() if power)))


def _component(part: str) -> tuple[float, dict[str, int]] | None:
    """One factor of a unit, such as ``mg``, ``m2``, ``10*3`` or ``{score}``."""
    if re.fullmatch(r"\{[^{}]*\}", part):
        return 1.0, {f"{{{part[1:-1].lower()}}}": 1}  # {score} is no {ratio}
    if note := re.fullmatch(r"(.+?)(\{[^{}]*\})", part):  # mL{FEU} is no mL{DDU}
        rest, mark = _component(note[1]), _component(note[2])
        return None if rest is None or mark is None else (rest[0], rest[1] | mark[1])
    if ten := re.fullmatch(r"10[*^](-?\d{1,2})", part):
        return 10.0 ** int(ten[1]), {}
    match = re.fullmatch(r"(.*?\D|1)(-?[1-4])?", part)
    if match is None:
        return None
    name, exponent = match[1], int(match[2] or 1)
    atom = _ATOMS.get(name)
    if atom is None:
        rest = name[1:]
        if name[:1] not in _PREFIXES or rest not in _METRIC:
            return None
        atom = (_ATOMS[rest][0] * _PREFIXES[name[0]], _ATOMS[rest][1])
    return atom[0] ** exponent, {quantity: power * exponent for quantity, power in atom[1].items()}
