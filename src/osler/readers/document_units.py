"""Units as laboratories print them, in UCUM.

The printed forms come from English and German reports: ``10^9/L``, ``G/l``, ``Gpt/l``, ``/nl``,
``Tsd/µl``, ``x10E3/uL``, ``mval/l``, ``mm/1h``.
"""

from __future__ import annotations

import re
import unicodedata

from osler.readers.ucum import known_unit, spell_unit

_WHOLE = {
    "%": "%", "‰": "[ppth]", "g/l": "g/L", "g/dl": "g/dL", "mg/l": "mg/L", "mg/dl": "mg/dL", "mg%": "mg/dL",
    "ug/l": "ug/L", "ug/dl": "ug/dL", "ug/ml": "ug/mL", "mcg/l": "ug/L", "mcg/dl": "ug/dL", "ng/l": "ng/L",
    "ng/ml": "ng/mL",
    "ng/dl": "ng/dL", "pg/ml": "pg/mL", "pg/l": "pg/L", "pg/dl": "pg/dL", "mg/ml": "mg/mL", "mg/g": "mg/g",
    "mol/l": "mol/L", "mmol/l": "mmol/L", "umol/l": "umol/L", "nmol/l": "nmol/L", "pmol/l": "pmol/L",
    "mmol/mol": "mmol/mol", "mval/l": "meq/L", "meq/l": "meq/L", "mosm/kg": "mosm/kg", "mosmol/kg": "mosm/kg",
    "mg/mmol": "mg/mmol", "mmol/kg": "mmol/kg", "u/ml": "U/mL", "u/l": "U/L", "iu/l": "[IU]/L", "ie/l": "[IU]/L",
    "e/l": "U/L",
    "ku/l": "kU/L", "mu/l": "mU/L", "miu/l": "m[IU]/L", "uu/ml": "uU/mL", "uiu/ml": "u[IU]/mL", "mie/l": "m[IU]/L",
    "iu/ml": "[IU]/mL", "kiu/l": "k[IU]/L", "miu/ml": "m[IU]/mL", "mu/ml": "mU/mL", "ukat/l": "ukat/L",
    "nkat/l": "nkat/L",
    "fl": "fL", "pg": "pg", "fmol": "fmol", "mm/h": "mm/h", "mm/1h": "mm/h", "mm/hr": "mm/h", "mmhg": "mm[Hg]",
    "kpa": "kPa", "s": "s", "sec": "s", "sek": "s", "sek.": "s", "sec.": "s", "ng/mlfeu": "ng/mL{FEU}",
    "mg/lfeu": "mg/L{FEU}",
    "ug/mlfeu": "ug/mL{FEU}", "ml/min": "mL/min", "ml/min/1.73m2": "mL/min/{1.73_m2}",
    "ml/min/1.73qm": "mL/min/{1.73_m2}",
    "mlu/l": "m[IU]/L", "ulu/ml": "u[IU]/mL",  # as recognition reads them
    "mmoll": "mmol/L", "umoll": "umol/L", "nmoll": "nmol/L", "pmoll": "pmol/L", "mgdl": "mg/dL", "ugdl": "ug/dL",
    "ngdl": "ng/dL", "ngml": "ng/mL", "pgml": "pg/mL",  # its stroke is lost on a fax
    "ratio": "{ratio}", "index": "{index}",
    "g/l/l": "g/L", "l/l": "L/L", "mmol": "mmol",
}  # fmt: skip
_POWERS = {
    "g/l": "10*9/L", "gpt/l": "10*9/L", "giga/l": "10*9/L", "/nl": "10*3/uL", "tsd/ul": "10*3/uL", "tsd./ul": "10*3/uL",
    "k/ul": "10*3/uL", "k/mm3": "10*3/uL", "thou/ul": "10*3/uL", "t/l": "10*12/L", "tpt/l": "10*12/L",
    "tera/l": "10*12/L",
    "/pl": "10*6/uL", "mio/ul": "10*6/uL", "mio./ul": "10*6/uL", "m/ul": "10*6/uL", "mill/ul": "10*6/uL",
    "/ul": "/uL", "/mm3": "/uL", "cells/ul": "/uL",
}  # fmt: skip
_POWER = re.compile(r"^[x*·]?10[\^*e]{0,2}(3|6|9|12)/(l|ul|ml|nl|pl|mm3)$")
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_VOLUMES = {"l": "L", "ul": "uL", "ml": "mL", "nl": "nL", "pl": "pL", "mm3": "uL"}


def ucum_of(printed: str, *, cells: bool = False) -> str | None:
    """Writes a printed unit in UCUM.

    Args:
        printed: As on the report, may hold spaces.
        cells: Whether the test counts cells, so that ``"G/l"`` means 10^9/L and not grams.

    Returns:
        The UCUM code; ``None`` if the text is no unit that is known here.

    Example:
        >>> ucum_of("µmol/l"), ucum_of("10^9/L"), ucum_of("G/l", cells=True), ucum_of("mL/min/1.73 m²"), ucum_of("H")
        ('umol/L', '10*9/L', '10*9/L', 'mL/min/{1.73_m2}', None)
    """
    text = printed.translate(_SUPERSCRIPT)
    text = unicodedata.normalize("NFKC", text).replace("\u03bc", "u").replace("\u00b5", "u").replace("²", "2")
    text = re.sub(r"\s", "", text).replace(",", ".").strip("[]()").replace("²", "2").replace("³", "3").lower()
    if match := _POWER.match(text):
        volume = "uL" if match[1] == "3" and match[2] == "pl" else _VOLUMES[match[2]]  # a misread micro sign
        return f"10*{match[1]}/{volume}"
    if cells and text in _POWERS:
        return _POWERS[text]
    known = _WHOLE.get(text) or _POWERS.get(text)
    if known is None and "/" in printed and known_unit(printed):
        return spell_unit(printed)
    if known is None and text.endswith("."):  # a speck that recognition takes for a full stop
        return ucum_of(printed.strip().rstrip("."), cells=cells)
    return known
