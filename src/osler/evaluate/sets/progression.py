"""What became of findings between dates: synthetic patients, NIH pairs, Hannover pairs."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from osler.evaluate.responder import blank_study
from osler.evaluate.rows import MODEL, Measure, Pair, Row
from osler.evaluate.sets.types import Case, Plan, Setting, commonest, missing_files, right, shuffled
from osler.evaluate.sets.xrays import EPOCH, NIH_FINDINGS, nih_picture, open_xray, read_table, together
from osler.study import Study
from osler.synth.facts import Exam, PatientFacts
from osler.tasks.compare import compare
from osler.tasks.heads import HeadChange, ProgressionHead, head_for
from osler.weights.skills import Skill

SKILLS: frozenset[Skill] = frozenset({"progression", "change_text"})
MEASURES = (
    Measure(name="accuracy", field="right"),
    Measure(name="mean over classes", field="right", over="parts"),
    Measure(name="answered", field="answered"),
)
_CHANGES = {"larger": "worsened", "smaller": "improved", "stable": "stable", "new": "new", "resolved": "resolved"}
_KNOWN = "A progression head is told that the finding is there at one date: it chooses among the five changes."
_PATIENTS = 120
_MOST_DATES = 5
_LOOKED_AT = 4000


class SyntheticProgression:
    """X-rays of synthetic patients over two to five dates: the fact of each change is known.

    Args:
        patients: That are looked for; fewer are found where a kind of change is rare.
    """

    name = "progression-synthetic"
    title = "Progression over 2 to 5 dates, synthetic X-rays"
    skills = SKILLS
    measures = MEASURES
    batch = 1

    def __init__(self, *, patients: int = _PATIENTS) -> None:
        self._patients = patients
        self._majority = "stable"

    def plan(self, setting: Setting) -> Plan:
        """Takes patients whose last frontal film is compared with the one before."""
        cases = []
        truths: list[str] = []
        for patient, exams, changes in _changing(self._patients):
            cases.append(
                Case(name=f"synthetic-{patient.number}", patient=str(patient.number), content=(patient, exams))
            )
            truths += changes.values()
        self._majority = commonest(truths, otherwise="stable")
        notes = (
            f"Synthetic patients of a seed kept for evaluation, {len(cases)} of them.",
            "Stable findings prevail: see the mean over classes beside the accuracy.",
            _KNOWN,
        )
        return Plan(cases=shuffled(cases), notes=notes)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row for each finding of the last date that has a change."""
        from osler.evaluate.synthetic import study_of
        from osler.synth.lab_events import lab_events

        rows = []
        for case in cases:
            patient, exams = case.content
            truths = last_changes(exams[-1])
            study = study_of(patient, exams, events=lab_events(patient))
            said = changes_of(setting, study, findings=list(truths))
            blind = changes_of(setting, blank_study(study), findings=list(truths))
            for finding, truth in truths.items():
                rows.append(
                    Row(
                        case=case.name,
                        patient=case.patient,
                        group=f"{len(exams)} dates",
                        part=truth,
                        values=change_values(truth, said.get(finding), blind.get(finding), majority=self._majority),
                        asked=finding,
                        said=said.get(finding) or "no answer",
                        truth=truth,
                    )
                )
        return rows


class NihProgression:
    """Pairs of one patient: a finding that only one of both reports names is new or resolved.

    Where both name it, nothing is known of its course, so such findings are not asked about.
    """

    name = "progression-nih"
    title = "New and resolved findings, NIH pairs"
    skills = SKILLS
    measures = MEASURES
    batch = 1
    _table = "cxr/nih/time_pairs.csv"

    def plan(self, setting: Setting) -> Plan:
        """Lists the held-out pairs whose pictures are there."""
        if absent := missing_files(setting.root, self._table, "cxr/nih/images"):
            return Plan(absent=absent)
        columns = ("patient", "prior", "current", "prior_labels", "cur_labels")
        cases = []
        for row in read_table(setting.root / self._table, columns=columns):
            paths = [nih_picture(setting.root, row[name]) for name in ("prior", "current")]
            changed = _new_or_resolved(row)
            if changed and setting.keeps("nih", patient=row["patient"]) and all(path.is_file() for path in paths):
                name = f"{paths[0].stem}-{paths[1].stem}"
                cases.append(Case(name=name, patient=row["patient"], content=(paths, changed)))
        notes = ("Labels were mined from reports: a finding that is not mentioned is taken as absent.", _KNOWN)
        return Plan(cases=shuffled(cases), absent="" if cases else "no held-out pair", notes=notes)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row for each finding that came or went."""
        rows = []
        for case in cases:
            paths, truths = case.content
            study = together([open_xray(path, date=EPOCH + dt.timedelta(days=n)) for n, path in enumerate(paths)])
            said = changes_of(setting, study, findings=list(truths))
            blind = changes_of(setting, blank_study(study), findings=list(truths))
            for finding, truth in truths.items():
                rows.append(
                    Row(
                        case=case.name,
                        patient=case.patient,
                        part=truth,
                        values=change_values(
                            truth,
                            _came_or_went(said.get(finding)),
                            _came_or_went(blind.get(finding)),
                            majority="new",
                        ),
                        asked=finding,
                        said=said.get(finding) or "no answer",
                        truth=truth,
                        picture={"file": str(paths[1]), "before": str(paths[0])},
                    )
                )
        return rows


class HannoverProgression:
    """COVID-19 pairs: does the change in the picture go with C-reactive protein? An association, not a truth."""

    name = "progression-hannover"
    title = "Change of opacities against CRP, Hannover pairs"
    skills = SKILLS
    measures = MEASURES
    batch = 1
    _table = "cxr/hannover/time_pairs.csv"
    _least = 1.5
    finding = "consolidation"

    def plan(self, setting: Setting) -> Plan:
        """Lists the held-out pairs in which CRP rose or fell to more than one and a half times."""
        if absent := missing_files(setting.root, self._table, "cxr/hannover/images"):
            return Plan(absent=absent)
        columns = ("patient", "prior", "current", "day_prior", "day_cur", "crp_prior", "crp_cur")
        cases = []
        for row in read_table(setting.root / self._table, columns=columns):
            truth = self._direction(row)
            paths = [setting.root / "cxr" / "hannover" / "images" / f"{row[name]}.jpg" for name in ("prior", "current")]
            kept = setting.keeps("hannover", patient=row["patient"]) and all(path.is_file() for path in paths)
            if truth and kept:
                days = [round(float(row[name] or 0)) for name in ("day_prior", "day_cur")]
                content = (paths, days, truth)
                cases.append(Case(name=f"{row['prior']}-{row['current']}", patient=row["patient"], content=content))
        notes = ("Nobody read these pictures for change: CRP stands in for it, and need not agree.",)
        return Plan(cases=shuffled(cases), absent="" if cases else "no held-out pair with a change of CRP", notes=notes)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row a pair."""
        rows = []
        for case in cases:
            paths, days, truth = case.content
            dates = [EPOCH + dt.timedelta(days=day) for day in days]
            study = together([open_xray(path, date=date) for path, date in zip(paths, dates, strict=True)])
            said = changes_of(setting, study, findings=[self.finding]).get(self.finding)
            blind = changes_of(setting, blank_study(study), findings=[self.finding]).get(self.finding)
            rows.append(
                Row(
                    case=case.name,
                    patient=case.patient,
                    part=truth,
                    values=change_values(truth, _direction_of(said), _direction_of(blind), majority="improved"),
                    asked=self.finding,
                    said=said or "no answer",
                    truth=f"{truth} (CRP)",
                    picture={"file": str(paths[1]), "before": str(paths[0])},
                )
            )
        return rows

    def _direction(self, row: Mapping[str, str]) -> str:
        try:
            before, now = float(row["crp_prior"]), float(row["crp_cur"])
        except ValueError:
            return ""
        if min(before, now) <= 0 or max(before, now) < self._least * min(before, now):
            return ""
        return "worsened" if now > before else "improved"


def changes_of(setting: Setting, study: Study, *, findings: Sequence[str]) -> dict[str, str]:
    """What a model says became of findings at the last date; a finding that it cannot tell is absent.

    A head is given all dates and told that each finding is there at one of the last two, as every one that these
    sets ask about is; words are asked about the last two dates, as `osler.compare` does.
    """
    session = setting.responder.session
    assert session is not None
    head: ProgressionHead | None = head_for(session, "progression")
    if head is not None:
        known = [finding for finding in findings if finding in head.findings]
        found: Sequence[HeadChange] = head.changes(session, study, findings=known, known="there") if known else ()
        return {entry.finding: entry.change for entry in found if entry.change != "cannot tell"}
    points = [Study(timepoints=(point,), events=study.events) for point in study.timepoints[-2:]]
    answer = compare(session, points[1], [points[0]], findings=findings)
    return {entry.finding: entry.change for entry in answer.progression if entry.change != "cannot tell"}


def last_changes(exam: Exam) -> dict[str, str]:
    """Finding to its change on an exam, of several lesions the greatest change; names of `osler.tasks`."""
    from osler.prepare.finding_names import finding_names

    names = {entry.key: entry.name for entry in finding_names()}
    order = ("stable", "resolved", "smaller", "larger", "new")
    greatest: dict[str, str] = {}
    for fact in exam.findings:
        if fact.change in order and fact.certainty != "absent" and fact.key in names:
            known = greatest.get(fact.key, "stable")
            greatest[fact.key] = max(known, fact.change, key=order.index)
    return {names[key]: _CHANGES[change] for key, change in greatest.items()}


def _changing(count: int) -> Iterator[tuple[PatientFacts, list[Exam], dict[str, str]]]:
    """Patients with two to five frontal films: half of them with a finding that grew or shrank, which is rare."""
    from osler.evaluate.synthetic import held_out_patients

    left = {"graded": count // 2, "changed": count // 3, "stable": count - count // 2 - count // 3}
    for patient in held_out_patients(most=_LOOKED_AT):
        films = [exam for exam in patient.exams if exam.modality == "DX" and exam.region == "chest"]
        exams = [exam for exam in films if exam.acquisition.view in ("PA", "AP")][-_MOST_DATES:]
        if len(exams) < 2 or exams[-1].compared != exams[-2].number:
            continue
        if not (changes := last_changes(exams[-1])):
            continue
        seen = set(changes.values())
        kind = "graded" if seen & {"improved", "worsened"} else "changed" if seen - {"stable"} else "stable"
        if left[kind]:
            left[kind] -= 1
            yield patient, exams, changes
        if not any(left.values()):
            return


def change_values(truth: str, said: str | None, blind: str | None, *, majority: str) -> dict[str, dict[str, Pair]]:
    """Values of a row about a change: whether it is right, and whether there was an answer."""
    return {
        "right": {MODEL: right(truth, said), "blanked": right(truth, blind), "majority": right(truth, majority)},
        "answered": {MODEL: (float(said is not None), 1.0)},
    }


def _new_or_resolved(row: Mapping[str, str]) -> dict[str, str]:
    before, now = (set(row[name].split("|")) for name in ("prior_labels", "cur_labels"))
    changed: dict[str, str] = defaultdict(str)
    for label, finding in NIH_FINDINGS.items():
        if (label in before) != (label in now):
            changed[finding] = "new" if label in now else "resolved"
    return dict(changed)


def _came_or_went(change: str | None) -> str | None:
    """Worse counts as come, better as gone: the labels cannot tell them apart."""
    return {"worsened": "new", "improved": "resolved"}.get(change or "", change)


def _direction_of(change: str | None) -> str | None:
    return {"new": "worsened", "resolved": "improved"}.get(change or "", change)
