"""Failures cost one case, rows survive a crash, and what nobody trained is not scored."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from osler.errors import FileFormatError, RequestError
from osler.evaluate.published import PLAIN
from osler.evaluate.responder import Inquiry, Meter
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.runner import chosen_sets, run_set
from osler.evaluate.sets import GROUPS, all_sets
from osler.evaluate.sets.types import Case, Plan, Setting


class Counting:
    """A model of others that counts what it is asked."""

    name = "counting"
    style = PLAIN
    session = None
    note = ""

    def __init__(self, *, key: str = "k") -> None:
        self.key = key
        self.trained = frozenset({"answers"})
        self.asked_anyway = frozenset()
        self.meter = Meter()

    def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
        self.meter.questions += len(inquiries)
        self.meter.prompt_tokens += 10 * len(inquiries)
        return ["yes" for _ in inquiries]

    def score(self, inquiry: Inquiry, choices: Sequence[str]) -> list[float]:
        self.meter.questions += 1
        return [float(-number) for number, _ in enumerate(choices)]


class Numbers:
    """Asks about numbers; 3 and 7 are broken files, and their batch with them."""

    name = "numbers"
    title = "Numbers"
    measures = (Measure(name="accuracy", field="right"),)

    def __init__(self, *, skills: frozenset = frozenset({"answers"}), batch: int = 4, broken: tuple = (3, 7)) -> None:
        self.skills = skills
        self.batch = batch
        self.broken = broken

    def plan(self, setting: Setting) -> Plan:
        return Plan(cases=tuple(Case(name=str(n), patient=f"p{n % 5}", content=n) for n in range(10)))

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        for case in cases:
            if case.content in self.broken:
                raise FileFormatError(f"file {case.name} is broken.")
        said = setting.responder.ask([Inquiry(study=None, question=case.name) for case in cases], max_tokens=1)
        return [
            Row(case=f"{case.name}#0", patient=case.patient, values={"right": {MODEL: (1.0, 1.0)}}, said=text)
            for case, text in zip(cases, said, strict=True)
        ]


def setting(responder: Counting, **options: object) -> Setting:
    return Setting(root=Path(), responder=responder, **options)  # type: ignore[arg-type]


def test_a_broken_file_costs_one_case_not_its_batch() -> None:
    result = run_set(Numbers(), setting(Counting()))
    assert result.state == "measured"
    assert [entry.case for entry in result.failed] == ["3", "7"]
    assert "broken" in result.failed[0].why
    assert sorted(row.case for row in result.rows) == [f"{n}#0" for n in range(10) if n not in (3, 7)]
    assert (result.asked, result.cases) == (10, 10)


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    class Stopping(Counting):
        def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
            if self.meter.questions >= 4:
                raise KilledError
            return super().ask(inquiries, max_tokens=max_tokens)

    with pytest.raises(KilledError):
        run_set(Numbers(batch=2, broken=()), setting(Stopping()), out=tmp_path)
    path = tmp_path / "rows" / "numbers.jsonl"
    assert len(path.read_text().splitlines()) == 1 + 4
    with path.open("a") as file:
        file.write('{"case": "9", "rows": [')  # the power went
    again = Counting()
    result = run_set(Numbers(batch=2, broken=()), setting(again), out=tmp_path)
    assert again.meter.questions == 6
    assert len(result.rows) == 10
    assert result.prompt_tokens == 100
    third = Counting()
    assert len(run_set(Numbers(batch=2, broken=()), setting(third), out=tmp_path).rows) == 10
    assert third.meter.questions == 0


def test_rows_of_other_weights_are_not_taken_up(tmp_path: Path) -> None:
    run_set(Numbers(), setting(Counting()), out=tmp_path)
    other = Counting(key="other")
    run_set(Numbers(), setting(other), out=tmp_path)
    assert other.meter.questions == 8
    assert json.loads((tmp_path / "rows" / "numbers.jsonl").read_text().splitlines()[0])["model"] == "other"


def test_more_cases_are_added_to_those_of_a_shorter_run(tmp_path: Path) -> None:
    run_set(Numbers(batch=1, broken=()), setting(Counting(), limit=3), out=tmp_path)
    more = Counting()
    result = run_set(Numbers(batch=1, broken=()), setting(more, limit=5), out=tmp_path)
    assert (more.meter.questions, len(result.rows), result.asked, result.cases) == (2, 5, 5, 10)


def test_what_nobody_trained_is_listed_and_not_scored() -> None:
    model = Counting()
    result = run_set(Numbers(skills=frozenset({"boxes"})), setting(model))
    assert (result.state, result.rows, model.meter.questions) == ("not trained", [], 0)
    assert "boxes" in result.why
    # A model of others has no task to be asked all the same.
    assert run_set(Numbers(skills=frozenset({"boxes"})), setting(model, untrained="ask")).state == "not trained"


def test_a_set_whose_cases_all_fail_says_so() -> None:
    result = run_set(Numbers(broken=tuple(range(10))), setting(Counting()))
    assert result.state == "failed"
    assert result.why.startswith("all 10 cases failed; the first: file 0")


def test_missing_data_is_said(tmp_path: Path) -> None:
    for one in chosen_sets(("nih-findings", "lung-boxes", "hippocampus-boxes", "vqa-rad", "medqa", "slides")):
        one.skills = frozenset()  # whatever the weights can do
        result = run_set(one, Setting(root=tmp_path, responder=Counting()))
        assert result.state == "no data", one.name
        assert result.why


def test_an_unknown_set_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RequestError, match="Did you mean 'lung-boxes'"):
        chosen_sets(("lung-box",))
    published = [one.name for one in chosen_sets(("published",))]
    assert published[:5] == ["vqa-rad", "medqa", "medmcqa", "mmlu-medical", "pubmedqa"]
    assert "cxr14" in published
    assert "perplexity" not in published
    assert published == [one.name for one in all_sets() if one.name in GROUPS["published"]]
    assert set(published) == set(GROUPS["published"])


class Read(Numbers):
    """Numbers whose files are read before their turn."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.events: list[tuple[str, str]] = []
        self.second_is_open = threading.Event()

    def open(self, setting: Setting, case: Case) -> int:
        self.events.append((threading.current_thread().name, case.name))
        if case.content in self.broken:
            raise FileFormatError(f"file {case.name} is broken.")
        if case.name == "5":  # of the second batch
            self.second_is_open.set()
        return 10 * case.content

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        if cases[0].name == "0":
            assert self.second_is_open.wait(timeout=30), "nothing is read while the first cases are asked about"
        for case in cases:
            assert (case.opened or self.open(setting, case)) == 10 * case.content
        return super().rows(setting, cases)


def test_files_are_read_while_the_cases_before_them_are_asked_about() -> None:
    plain, ahead = run_set(Numbers(), setting(Counting())), Read()
    result = run_set(ahead, setting(Counting()))
    assert result.rows == plain.rows
    assert result.failed == plain.failed
    before = [name for thread, name in ahead.events if thread.startswith("osler-ahead")]
    assert before == [str(number) for number in range(10)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("osler-ahead")]


def test_a_run_that_is_stopped_ends_its_reading() -> None:
    def stop(name: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_set(Read(), setting(Counting()), on_progress=stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("osler-ahead")]
