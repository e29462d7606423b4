"""Names of laboratory tests in English and German, and their LOINC codes (`document_tests.csv`).

LOINC codes are from LOINC (loinc.org), copyright Regenstrief Institute, used under its license.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_MOLAR = re.compile(r"mol\b|mol/|meq|eq/")
_CELLS = re.compile(r"Leukocytes|Erythrocytes|Platelets|Neutro|Lympho|Mono|Eosino|Baso|Reticulo")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabTest:
    """One test.

    Args:
        name: For people.
        mass: LOINC code of the usual (mass, count, activity) measure. molar: Of the molar one.
            percent: Of the relative one. Any may be empty.
    """

    name: str
    mass: str
    molar: str
    percent: str

    @property
    def cells(self) -> bool:
        """Whether it counts cells, where ``G/l`` is no gram."""
        return _CELLS.match(self.name) is not None

    def loinc(self, unit: str) -> str:
        """The code of the measure in a UCUM unit; empty if the table has none for such a unit."""
        if unit == "%":
            return self.percent or ("" if self.mass and self.cells else self.mass)
        return (self.molar if _MOLAR.search(unit) else self.mass) or ("" if self.mass or self.molar else self.percent)


def squeezed(text: str) -> str:
    """A name without what recognition and typography change: spaces, dashes, case, accents.

    Example:
        >>> squeezed("Gamma-Glutamyl  transferase,"), squeezed("Hämoglobin")
        ('gammaglutamyltransferase', 'hamoglobin')
    """
    plain = unicodedata.normalize("NFKD", text.casefold().replace("ß", "ss"))
    return "".join(char for char in plain if char.isalnum() or char in "+#%")


@cache
def lab_tests() -> dict[str, LabTest]:
    """The tests by every squeezed name of theirs."""
    table: dict[str, LabTest] = {}
    text = files("osler.readers").joinpath("document_tests.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines(), delimiter=";"):
        test = LabTest(name=row["name"], mass=row["mass"], molar=row["molar"], percent=row["percent"])
        for name in (row["name"], *filter(None, row["synonyms"].split("|"))):
            table.setdefault(squeezed(name), test)
    return table


@cache
def codes_of_tests() -> dict[str, LabTest]:
    """The tests by LOINC code."""
    return {code: test for test in lab_tests().values() for code in (test.mass, test.molar, test.percent) if code}


@cache
def nearest_test(squeezed_name: str) -> LabTest | None:
    """Finds the test whose name differs by one letter (two from 14 letters on), if it is the only one.

    For text that was recognized from a picture; short names are never guessed.
    """
    if len(squeezed_name) < 7:
        return None
    most = 2 if len(squeezed_name) >= 14 else 1
    digits = [char for char in squeezed_name if char.isdigit()]
    near = {
        test
        for name, test in lab_tests().items()
        if len(name) >= 7
        and digits == [char for char in name if char.isdigit()]
        and abs(len(name) - len(squeezed_name)) <= most
        and _distance(name, squeezed_name, most=most) <= most
    }
    return near.pop() if len(near) == 1 else None


def _distance(left: str, right: str, *, most: int) -> int:
    """Letters to change, insert or delete between two texts; stops caring beyond ``most``."""
    row = list(range(len(right) + 1))
    for i, char in enumerate(left, start=1):
        above, row[0] = row[0], i
        for j, other in enumerate(right, start=1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (char != other))
        if min(row) > most:
            return most + 1
    return row[-1]
