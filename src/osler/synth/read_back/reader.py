"""A report's text back into facts: an independent reader.

It knows the names of the ontology and the English of radiology, and nothing of how
reports are written: no template, no draw, no seed. What it recovers measures whether
reports say what is true of their patients, and the same reader scores what a model writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from osler.synth.facts import Side
from osler.synth.read_back.book import Book, Setting, region_groups
from osler.synth.read_back.clauses import read_sentence
from osler.synth.read_back.read_facts import ReadFacts
from osler.synth.read_back.report_text import clean, is_read, language_of, sections, sentences

_LONGEST_SENTENCE = 2000
_REGIONS = (
    (re.compile(r"\b(?:biops|histolog|microscop|mikroskop|h ?& ?e|haematoxylin|hematoxylin|slide|whole.slide)"), "SM"),
    (re.compile(r"\b(?:knee|knie)"), "knee"),
    (re.compile(r"\b(?:head|brain|skull|cranial|cerebral|neuro|schädel|kopf|hirn)"), "head"),
    (re.compile(r"\b(?:chest|thora|lung|pulmonary angio|ctpa|cxr|pulmonalis|lunge)"), "chest"),
    (re.compile(r"\b(?:abdom|pelvi|liver|hepatic|leber|becken)"), "abdomen"),
)
_TISSUES = (
    ("breast", "breast"),
    ("mamma", "breast"),
    ("brust", "breast"),
    ("prostat", "prostate"),
    ("kolon", "colon"),
    ("colon", "colon"),
    ("colorect", "colon"),
    ("lung", "lung"),
    ("lunge", "lung"),
    ("pulmon", "lung"),
    ("bronch", "lung"),
)
_PART_SIDE = re.compile(
    r"\b(left|right|lt|rt|l|r|linke[ns]?|rechte[ns]?)[ \-](?:sided )?(?:knee|breast|lung|knie|brust|mamma)"
    r"|(?:knee|breast|lung|kniegelenk|knie|brust|mamma)(?: joint| biopsy| core biopsy)?"
    r"[ ,:(\-]{1,3}(left|right|lt|rt|links|rechts)\b"
)


def read_report(text: str) -> ReadFacts:
    """Reads the findings of a report.

    Args:
        text: A report, or any other text.

    Returns:
        Findings, merged over the sections; empty where nothing was understood.

    Example:
        >>> read = read_report("Findings: 12 mm nodule in the right upper lobe, previously 9 mm. No pleural effusion.")
        >>> [(fact.key, fact.certainty, fact.side, fact.size_mm, fact.prior_size_mm) for fact in read.findings]
        [('pulmonary-nodule', 'present', 'right', 12, 9), ('pleural-effusion', 'absent', 'none', None, None)]
    """
    plain = clean(text)
    parts, language = sections(plain), language_of(plain)
    book = Book(setting=_setting(parts))
    for section, part in parts:
        if is_read(section):
            for sentence in sentences(section, text=part):
                for piece in _pieces(sentence.text):
                    book.add(read_sentence(piece, language=language), text=piece, section=section)
    return ReadFacts(
        findings=tuple(book.facts), exam_side=book.setting.side, sections=tuple(name for name, _ in parts if name)
    )


def _pieces(sentence: str) -> Iterator[str]:
    """Cuts what is too long for a sentence at a comma or space."""
    start = 0
    while len(sentence) - start > _LONGEST_SENTENCE:
        window = sentence[start : start + _LONGEST_SENTENCE]
        length = (max(window.rfind(","), window.rfind(";")) + 1) or (window.rfind(" ") + 1) or _LONGEST_SENTENCE
        yield window[:length]
        start += length
    yield sentence[start:]


def _setting(parts: Sequence[tuple[str, str]]) -> Setting:
    """The part of the body that the title, the technique or else the text names first."""
    by_name = dict(reversed(parts))
    heads = [by_name.get("title", ""), by_name.get("technique", "")]
    texts = [head[:500] for head in heads if head.strip()] + [part[:2000] for _, part in parts]
    region = next((found for text in texts if (found := _region(text))), "")
    side: Side = "none"
    for text in texts:
        match = _PART_SIDE.search(text)
        if match:
            side = "left" if (match[1] or match[2]).startswith("l") else "right"
            break
    return Setting(groups=region_groups(region), side=side)


def _region(text: str) -> str:
    for pattern, region in _REGIONS:
        if pattern.search(text):
            if region == "SM":
                return next((tissue for word, tissue in _TISSUES if word in text), "")
            return region
    return ""
