"""An independent reader of reports: text into facts, and how well two sets of facts agree."""

from osler.synth.read_back.factuality import CORE, KINDS, Factuality, Failure, Score, compare, factuality
from osler.synth.read_back.read_facts import ReadFact, ReadFacts
from osler.synth.read_back.reader import read_report

__all__ = [
    "CORE",
    "KINDS",
    "Factuality",
    "Failure",
    "ReadFact",
    "ReadFacts",
    "Score",
    "compare",
    "factuality",
    "read_report",
]
