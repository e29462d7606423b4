"""Questions without an image: facts, what Osler is, and small patient records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from osler.train.answers import Exchange
from osler.train.questions import CLOSINGS, OPENINGS

DEFINE = (
    "What is {t}?",
    "What is {t}?",
    "Define {t}.",
    "Explain {t}.",
    "Explain {t} in one sentence.",
    "Tell me about {t}.",
    "What does {t} mean?",
    "Can you explain what {t} is?",
    "Describe {t} briefly.",
    "I would like to know what {t} is.",
    "Give a short definition of {t}.",
    "Could you tell me what {t} is?",
    "what is {t}",
    "What do we call {t}, in a sentence?",
)
LOOK_UP = (
    "What was the {name}?",
    "What is the value of {name}?",
    "Tell me the {name}.",
    "How high was the {name}?",
    "Find the {name} in this record.",
    "Which value does the record give for {name}?",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextBook:
    """Everything text-only questions are drawn from.

    Args:
        facts: (term, sentence); a term that starts with ``?`` is a whole question.
        about: (questions, answer) on Osler itself.
        observations: Per patient, (date, name, value with unit).
    """

    facts: tuple[tuple[str, str], ...]
    about: tuple[tuple[tuple[str, ...], str], ...]
    observations: tuple[tuple[tuple[str, str, str], ...], ...] = ()

    def draw(self, rng: np.random.Generator) -> Exchange:
        """Draws a question and its answer."""
        draw = rng.random()
        if draw < 0.22:
            questions, answer = self.about[int(rng.integers(len(self.about)))]
            return Exchange(question=_vary(str(rng.choice(questions)), rng), answer=answer)
        if draw < 0.38 and self.observations:
            return self._record(rng)
        term, sentence = self.facts[int(rng.integers(len(self.facts)))]
        question = term[1:] if term.startswith("?") else str(rng.choice(DEFINE)).replace("{t}", term)
        return Exchange(question=_polite(_vary(question, rng), rng), answer=sentence)

    def _record(self, rng: np.random.Generator) -> Exchange:
        rows = self.observations[int(rng.integers(len(self.observations)))]
        names = sorted({name for _, name, _ in rows})
        chosen = rng.choice(names, size=min(len(names), int(rng.integers(2, 6))), replace=False)
        picked = []
        for name in chosen:
            same = [row for row in rows if row[1] == name]
            picked.append(same[int(rng.integers(len(same)))])
        date, name, value = picked[int(rng.integers(len(picked)))]
        lines = "\n".join(f"{d} {n}: {v}" for d, n, v in sorted(picked))
        question = str(rng.choice(LOOK_UP)).replace("{name}", name.lower() if rng.random() < 0.5 else name)
        text = f"{lines}\n{question}" if rng.random() < 0.6 else f"{question}\n{lines}"
        return Exchange(question=text, answer=f"{name} was {value} on {date}.")


def open_text_book(root: Path | None) -> TextBook:
    """Reads the shipped facts, and the FHIR bundles under ``root`` if there are any."""
    files = resources.files("osler.train")
    facts = [_split(line) for line in _lines(files.joinpath("facts.txt").read_text(encoding="utf-8"))]
    about = [_split(line) for line in _lines(files.joinpath("about_osler.txt").read_text(encoding="utf-8"))]
    bundles = sorted((root / "fhir").glob("*.json")) if root is not None else []
    return TextBook(
        facts=tuple(facts),
        about=tuple((tuple(q.strip() for q in left.split(";")), right) for left, right in about),
        observations=tuple(rows for rows in map(_observations, bundles) if len(rows) > 4),
    )


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _split(line: str) -> tuple[str, str]:
    left, _, right = line.partition(" | ")
    return left.strip(), right.strip()


def _observations(path: Path) -> tuple[tuple[str, str, str], ...]:
    rows = []
    for entry in json.loads(path.read_text(encoding="utf-8")).get("entry", []):
        resource = entry["resource"]
        quantity = resource.get("valueQuantity") or {}
        if resource.get("resourceType") == "Observation" and "value" in quantity:
            name = resource["code"].get("text") or resource["code"]["coding"][0]["display"]
            if len(name) < 45:
                value = f"{quantity['value']:.4g} {quantity.get('unit', '')}".strip()
                rows.append((str(resource.get("effectiveDateTime", ""))[:10], name.split("[")[0].strip(), value))
    return tuple(rows)


def _vary(text: str, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.1:
        return text.lower()
    return text.rstrip("?.") if draw < 0.15 else text


def _polite(text: str, rng: np.random.Generator) -> str:
    opening = str(rng.choice(OPENINGS)) if rng.random() < 0.4 else ""
    if opening.startswith(("Look", "You are")):
        opening = ""
    return opening + text + (str(rng.choice(CLOSINGS)) if rng.random() < 0.4 else "")
