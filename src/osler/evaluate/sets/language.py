"""Perplexity on general and medical text: what adapters and 4 or 8 bits cost in language."""

from __future__ import annotations

from collections.abc import Sequence

from osler.evaluate.perplexity import general_texts, likelihood_by, medical_texts
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.types import Case, Plan, Setting, shuffled
from osler.weights.skills import Skill


class Perplexity:
    """Texts that the model reads; its own tokens are counted, so models with other tokenizers do not compare."""

    name = "perplexity"
    title = "Perplexity on general and medical text"
    skills: frozenset[Skill] = frozenset()
    measures = (Measure(name="perplexity", field="likelihood", kind="exp_ratio", better="lower", unit="number"),)
    batch = 1

    def plan(self, setting: Setting) -> Plan:
        """Takes the paragraphs that come with Osler, and PubMedQA contexts where they are."""
        if setting.responder.session is None:
            return Plan(absent="perplexity is computed for models that Osler loads")
        general, medical = general_texts(), medical_texts(setting.root)
        cases = [
            Case(name=f"{group}-{number}", patient=f"{group}-{number}", content=(group, text))
            for group, texts in (("general", general), ("medical", medical))
            for number, text in enumerate(texts)
        ]
        return Plan(cases=shuffled(cases))

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """Reads each text."""
        session = setting.responder.session
        assert session is not None
        found = []
        for case in cases:
            group, text = case.content
            total, count = likelihood_by(session.runner, text, tokenizer=session.checkpoint.tokenizer)
            values = {"likelihood": {MODEL: (total, float(count))}}
            found.append(Row(case=case.name, patient=case.patient, group=group, values=values, asked=text[:80]))
        return found
