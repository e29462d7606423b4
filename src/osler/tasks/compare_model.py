"""Change as trained weights see it: by the progression head, else in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osler.progress import Progress
from osler.study import Evidence, Progression, Statement, Study
from osler.tasks.compare_pairs import Pair, progression, statement
from osler.tasks.compare_series import paired_series
from osler.tasks.finding_names import FindingName
from osler.tasks.findings import findings
from osler.tasks.heads import ProgressionHead, head_for
from osler.tasks.opening import merged

if TYPE_CHECKING:
    from osler.engine.session import Session

_CHANGES = ("improved", "stable", "worsened")
_CHANGE_QUESTION = (
    "Compare the current study with the earlier one. What became of {finding}: (A) improved, (B) stable or "
    "(C) worsened?"
)
_CHANGE_ANSWERS = ("(A)", "(B)", "(C)")
_PUBLISHED_QUESTION = (
    "Provide a comparison of these two images and include details from the image which students should take note of "
    "when reading longitudinal CXR"
)
_SURE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the model says of change."""

    entries: tuple[Progression, ...] = ()
    statements: tuple[Statement, ...] = ()
    notes: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ByModel:
    """Change as trained weights see it: by the progression head, else in words."""

    session: Session
    followed: Sequence[FindingName]

    def changes(self, pairs: Sequence[Pair], *, study: Study, on_progress: Progress | None) -> Said:
        """Returns what the model says of each pair."""
        head: ProgressionHead | None = head_for(self.session, "progression")
        if head is not None:
            parts = [self._by_head(head, pair, study=study) for pair in pairs]
        elif "change_text" in self.session.trained:
            parts = [self._by_text(pair, study=study, on_progress=on_progress) for pair in pairs]
        else:
            return self._untrained(pairs, study=study)
        return Said(
            entries=tuple(entry for part in parts for entry in part.entries),
            statements=tuple(sentence for part in parts for sentence in part.statements),
            notes=merged([note for part in parts for note in part.notes]),
        )

    def _untrained(self, pairs: Sequence[Pair], *, study: Study) -> Said:
        name = self.session.checkpoint.name
        entries = tuple(
            progression(pair, finding=finding.name, change="cannot tell") for pair in pairs for finding in self.followed
        )
        return Said(
            entries=entries,
            statements=(*(statement(entry, ()) for entry in entries), *self._by_findings(pairs, study=study)),
            notes=(f"{name} is not trained for: progression. Only what was drawn or measured is compared.",),
            untrained=("progression",),
        )

    def _by_findings(self, pairs: Sequence[Pair], *, study: Study) -> Iterator[Statement]:
        """What the findings head reads at both dates, where it finds something at one: numbers, no judged change."""
        if head_for(self.session, "findings") is None:
            return
        points = {id(point): point for pair in pairs for point in (pair.prior, pair.now)}
        names = [finding.name for finding in self.followed]
        read = {
            key: {
                one.name: one.probability
                for one in findings(self.session, dataclasses.replace(study, timepoints=(point,)), names=names).findings
            }
            for key, point in points.items()
        }
        for pair in pairs:
            before, now = read[id(pair.prior)], read[id(pair.now)]
            for name, probability in now.items():
                earlier = before.get(name)
                if probability is None or earlier is None or (not names and max(probability, earlier) < _SURE):
                    continue
                when = "before" if pair.prior.date is None else f"of {pair.prior.date}"
                both = f"{earlier:.0%} in the study {when}, {probability:.0%} now"
                text = f"{name}: {both}, by the findings head; not a judged change."
                yield Statement(section="comparison", text=text, evidence=_both(pair))

    def _by_head(self, head: ProgressionHead, pair: Pair, *, study: Study) -> Said:
        names = [finding.name for finding in self.followed] or sorted(head.findings)
        # The head was taught with all dates before: it also sees what came before the prior.
        place = next(number for number, point in enumerate(study.timepoints) if point is pair.prior)
        seen = dataclasses.replace(study, timepoints=(*study.timepoints[: place + 1], pair.now))
        entries = [
            progression(pair, finding=found.finding, change=found.change, probability=found.probability)
            for found in head.changes(self.session, seen, findings=[name for name in names if name in head.findings])
        ]
        entries += [
            progression(pair, finding=name, change="cannot tell") for name in names if name not in head.findings
        ]
        told = {entry.finding for entry in entries}
        unseen = [finding.name for finding in self.followed if finding.name not in told]
        return Said(
            entries=tuple(entries),
            statements=tuple(statement(entry, _both(pair)) for entry in entries),
            notes=(f"Likely at neither date: {', '.join(unseen)}.",) if unseen else (),
        )

    def _by_text(self, pair: Pair, *, study: Study, on_progress: Progress | None) -> Said:
        """The published longitudinal question in words; each named finding as a choice of three."""
        two = dataclasses.replace(study, timepoints=(pair.prior, pair.now))
        words = self.session.ask(two, _PUBLISHED_QUESTION, max_tokens=600, on_progress=on_progress).text
        statements = [Statement(section="comparison", text=words, evidence=_both(pair))] if words else []
        entries = []
        for finding in self.followed:
            question = _CHANGE_QUESTION.format(finding=finding.name)
            shares = self.session.score(two, question, _CHANGE_ANSWERS).shares()
            share = max(shares)
            change = _CHANGES[shares.index(share)] if share >= _SURE else "cannot tell"
            entries.append(progression(pair, finding=finding.name, change=change, probability=share))
        notes = ("Probabilities of change are those of the language model's choice; they are not calibrated.",)
        return Said(
            entries=tuple(entries),
            statements=(*statements, *(statement(entry, _both(pair)) for entry in entries)),
            notes=notes if entries else (),
        )


def _both(pair: Pair) -> tuple[Evidence, ...]:
    """Two series as evidence that belong together; the first of each date where none do."""
    pairs = paired_series(pair.prior, pair.now)
    prior, now = pairs[0] if pairs else (pair.prior.series[0], pair.now.series[0])
    return (
        Evidence(kind="prior", series=prior.series, date=pair.prior.date),
        Evidence(kind="image", series=now.series, date=pair.now.date),
    )
