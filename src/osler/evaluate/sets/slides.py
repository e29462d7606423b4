"""Whole slides, as a smoke test: one is read and answered about, a broken one is refused."""

from __future__ import annotations

from collections.abc import Sequence

from osler.errors import DataError
from osler.evaluate.answer_reader import read_answer
from osler.evaluate.responder import Inquiry
from osler.evaluate.rows import MODEL, Measure, Pair, Row
from osler.evaluate.sets.types import Case, Plan, Setting, right
from osler.readers import open_study
from osler.weights.skills import Skill

_QUESTION = "What imaging modality is this?"
_BROKEN = "broken"
_TOKENS = 48


class Slides:
    """Nobody said what the slides show, so only whether they are read as slides counts."""

    name = "slides"
    title = "Whole slides (smoke test)"
    skills: frozenset[Skill] = frozenset({"answers"})
    measures = (Measure(name="handled", field="right"),)
    batch = 1

    def plan(self, setting: Setting) -> Plan:
        """Lists the slides; a name with "broken" must be refused."""
        paths = sorted((setting.root / "slides").glob("*.svs"))
        cases = tuple(Case(name=path.name, patient=path.name, content=path) for path in paths)
        notes = ("The upper part of the slide trained the image tower of the shipped weights.",)
        return Plan(cases=cases, absent="" if cases else "not found: slides/*.svs", notes=notes)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row a slide."""
        rows = []
        for case in cases:
            values: dict[str, Pair]
            if _BROKEN in case.name:
                try:
                    said = f"read as {len(open_study(case.content).slides())} slides"
                    values = {MODEL: right(True, False)}
                except DataError as error:
                    said, values = str(error), {MODEL: right(True, True)}
                truth = "refused with a reason"
            else:
                inquiry = Inquiry(study=open_study(case.content), question=_QUESTION)
                (said,) = setting.responder.ask([inquiry], max_tokens=_TOKENS)
                values, truth = {MODEL: right("pathology", read_answer(said, kind="modality"))}, "pathology"
            rows.append(
                Row(
                    case=case.name,
                    patient=case.patient,
                    values={"right": values},
                    asked=_QUESTION,
                    said=said,
                    truth=truth,
                )
            )
        return rows
