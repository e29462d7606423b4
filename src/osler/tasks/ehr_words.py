"""The words by which a question about a record says what it asks for.

Patterns are matched against plain lower-case text. ``ASKING`` lists what a
question may say beside its topic: any other word belongs to the topic and must
be in the entries, so that a question about somebody's mother finds nothing.
"""

from __future__ import annotations

import re

from osler.study import EventKind


def _any(*phrases: str, start: str = r"\b") -> re.Pattern[str]:
    """A pattern for any of the phrases, each given with bars between alternatives."""
    return re.compile(rf"{start}(?:{'|'.join(phrases)})\b")


POLITE = re.compile(
    r"^(?:please,? )?(?:(?:can|could|would) you (?:please )?)?(?:(?:tell|give|show) (?:me|us) )?"
    r"(?:i(?:'d| would) like to know |i (?:want|need) to know |do you know )?"
)
OPEN = _any(
    r"why|explain|summar\w*|recommend\w*|should|could|would|might|likely|risk|interpret\w*|describe|suggest\w*|think",
    r"advice|advise|prognosis|because|cause[sd]?|related|relat\w+|correlat\w*|compare|differential|plan",
    r"what (?:does|do) .* mean",
)
OPEN_START = re.compile(r"^how (?:is|was|can|does|did|do)\b(?! many)")
COUNT = _any(r"how (?:many|often)|number of|count of")
TREND = _any(
    r"trends?|over time|chang(?:e|ed|es|ing)|(?:increas|decreas)\w*|risen|rising|fallen|falling|rise|fall",
    r"(?:gone|going|goes|go|went) (?:up|down)|up or down|(?:better|higher) or (?:worse|lower)|course of|evol\w+",
    r"progress(?:ed|ion)?",
)
DATE = re.compile(r"^when\b|^date\b|\b(?:what|which) (?:date|day)\b|\bdates? of\b|\bsince when\b")
YES_NO = _any("is|does|has|did|was|were|do|are|had|have|any", start="^")
LIST = _any("which|what|list|name|show", start="^")
SEVERAL = _any(
    r"medications|medicines|drugs|conditions|diagnoses|diseases|problems|immunizations|vaccines|vaccinations",
    r"procedures|surgeries|operations|encounters|visits|admissions|allergies|scans|labs|results|values",
)
PRESENT = _any(r"current\w*|active|now")
VALUE = _any(
    r"what|which|give|tell|show|how (?:high|low|tall|heavy|much)|last|latest|first|most recent|highest|lowest|current",
    start="^",
)
FIRST = _any(r"first|earliest|initial(?:ly)?|oldest|diagnosed|onset|start(?:ed)?|began|begun|prescribed")
LAST = _any(r"last|latest|most recent(?:ly)?|recent(?:ly)?|newest|current(?:ly)?|now")
HIGHEST = _any("highest|maximum|max|peak|largest")
LOWEST = _any("lowest|minimum|min|nadir|smallest")
ABNORMAL = _any(r"abnormal|out of range|outside (?:of )?(?:the )?(?:normal|reference) range|flagged|pathological")
EVER = _any(r"ever|previously|in the past|history|had|did|was|were|been|received|any time")
KINDS: tuple[tuple[EventKind, re.Pattern[str]], ...] = (
    (
        "medication",
        _any(
            r"medications?|medicines?|drugs?|taking|takes?|taken|took|prescri\w+|treated with",
            r"is (?:the )?(?:patient|he|she) on",
        ),
    ),
    ("condition", _any(r"conditions?|diagnos\w+|diseases?|problems?|suffer\w*|illness(?:es)?")),
    ("immunization", _any(r"immuni[sz]\w+|vaccin\w+|shots?|jabs?")),
    ("procedure", _any(r"procedures?|surger(?:y|ies)|operations?|operated|interventions?")),
    ("encounter", _any(r"encounters?|visits?|visited|admissions?|admitted|hospitali[sz]ed|appointments?|seen by")),
    ("allergy", _any(r"allerg\w+|intoleran\w+")),
    ("imaging", _any(r"imaging|scans?|scanned|x-?rays?|ultrasounds?|radiographs?|imaged")),
    (
        "observation",
        _any(
            r"values?|results?|levels?|lab|labs|laborator\w+|tests?|tested|checked|measured|measurements?|readings?",
            r"vitals?",
        ),
    ),
)
ASKING = _any(
    r"what|which|when|how|many|much|often|high|tall|heavy|times?|number|count|trends?|over time|chang\w+|increas\w+",
    r"decreas\w+|risen|rising|fallen|falling|rise|fall|gone up|gone down|going up|going down|went up|went down|go|up",
    r"down|higher|lower|better|worse|or|course|progress\w*|date|day|dates|days|list|name|last|latest|most recent\w*",
    r"recent\w*|newest|current\w*|now|so far|to date|first|earliest|initial\w*|oldest|diagnosed|onset|start\w*|began",
    r"begun|highest|maximum|max|peak|largest|lowest|minimum|min|nadir|smallest|abnormal|out of range|flagged|ever",
    r"previously|in the past|received?|receiving|get|got|given|undergo\w*|undergone|performed|done|determined|obtained",
    r"drawn|sampled|assessed|noted|charted?|file|recorded|documented|checked?|taken|took|against|patient's|there|value",
    r"take|using|use[sd]?|active|all|most|total|entry|entries|it|since|before|after|until|above|below|say|says|see|seen",
    r"known|listed|exist\w*|about|patients?|during|record|records|who|whom|any|he|she",
)
