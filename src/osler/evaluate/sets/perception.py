"""Modality, region, plane and view: the questions of `osler.evaluate.mini_quality` as one set."""

from __future__ import annotations

from collections.abc import Sequence

from osler.errors import RequestError
from osler.evaluate.answer_reader import read_answer
from osler.evaluate.held_out import Case as Shown
from osler.evaluate.held_out import Listed, listed_cases
from osler.evaluate.mini_quality import truth_of, wording_for
from osler.evaluate.responder import Inquiry, blank_study
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.types import Case, Plan, Setting, commonest, right, shuffled
from osler.weights.skills import Skill

_TOKENS = 48


class Perception:
    """What is shown: asked in wordings that no training template holds, read by an independent reader."""

    name = "perception"
    title = "Modality, region, plane and view"
    skills: frozenset[Skill] = frozenset({"answers"})
    measures = (
        Measure(name="accuracy", field="right"),
        Measure(name="mean over classes", field="right", over="parts"),
    )
    batch = 8

    def __init__(self) -> None:
        self._commonest: dict[str, str] = {}

    def plan(self, setting: Setting) -> Plan:
        """Lists X-rays, VQA-RAD pictures, fields of a slide, and volumes."""
        notes: tuple[str, ...] = ()
        found: list[Listed] = []
        try:
            found.extend(listed_cases(setting.root, split=setting.split))
        except RequestError as error:  # the package that reads slides is not installed
            notes = (f"Without fields of a slide and volumes: {error}",)
        for facet in ("modality", "region", "plane", "view"):
            truths = (truth_of(one.labels, asked=facet) for one in found)
            self._commonest[facet] = commonest((truth for truth in truths if truth != "none"), otherwise="")
        cases = shuffled(Case(name=one.name, patient=f"{one.source}:{one.patient}", content=one) for one in found)
        return Plan(
            cases=cases,
            absent="" if cases else "no picture or volume of a known set",
            notes=(*notes, "Majority: the commonest class of the cases themselves."),
        )

    def open(self, setting: Setting, case: Case) -> Shown:
        """Reads the picture or volume."""
        return case.content.case()

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """Asks everything that is known of each case, with the image and blanked."""
        asked: list[tuple[Case, str, str]] = []
        seen: list[Inquiry] = []
        blanked: list[Inquiry] = []
        for case in cases:
            shown = case.opened or self.open(setting, case)
            blank = blank_study(shown.study)
            for facet in shown.asked:
                question = wording_for(shown, asked=facet)  # type: ignore[arg-type]
                asked.append((case, facet, question))
                seen.append(Inquiry(study=shown.study, question=question))
                blanked.append(Inquiry(study=blank, question=question))
        texts = setting.responder.ask(seen, max_tokens=_TOKENS)
        blind = setting.responder.ask(blanked, max_tokens=_TOKENS)
        found: list[Row] = []
        for (case, facet, question), said, unseen in zip(asked, texts, blind, strict=True):
            facets = [facet, "view"] if facet == "plane" and case.content.labels.view != "none" else [facet]
            found += [self._row(case, asked=one, question=question, said=said, unseen=unseen) for one in facets]
        return found

    def _row(self, case: Case, *, asked: str, question: str, said: str, unseen: str) -> Row:
        listed: Listed = case.content
        truth = truth_of(listed.labels, asked=asked)
        values = {
            MODEL: right(truth, read_answer(said, kind=asked)),  # type: ignore[arg-type]
            "blanked": right(truth, read_answer(unseen, kind=asked)),  # type: ignore[arg-type]
            "majority": right(truth, self._commonest[asked]),
        }
        return Row(
            case=case.name,
            patient=case.patient,
            group=asked,
            part=f"{asked}: {truth}",
            values={"right": values},
            asked=question,
            said=said,
            truth=truth,
            picture={"file": str(listed.path)} if listed.path and listed.form == "picture" else {},
        )
