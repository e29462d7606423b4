"""Retrieval: is the right study among the first k of a collection?

Synthetic: by a report's text, its own film among the others. Real: by an X-ray, the
other film of the same patient. Chance is k over the size of the collection.

Legend: Q queries, N studies, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.evaluate.responder import blank_study
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.types import Case, Plan, Setting, missing_files, shuffled
from osler.evaluate.sets.xrays import nih_picture, open_xray, read_table
from osler.study import Study
from osler.tasks.heads import head_for
from osler.weights.skills import Skill

if TYPE_CHECKING:
    from osler.engine.session import Session

DEPTHS = (1, 5, 10)
_COLLECTION = 100
_TABLES = (
    ("nih", "cxr/nih/time_pairs.csv"),
    ("hannover", "cxr/hannover/time_pairs.csv"),
)


class SyntheticRetrieval:
    """A report's findings as the query, the films of as many synthetic patients as the collection."""

    name = "retrieval-synthetic"
    title = "Film by report, synthetic"
    skills: frozenset[Skill] = frozenset({"embeddings"})
    measures = tuple(Measure(name=f"R@{depth}", field=f"r{depth}") for depth in DEPTHS)
    batch = 10_000

    def plan(self, setting: Setting) -> Plan:
        """Takes the first frontal chest films with findings of different patients."""
        session = setting.responder.session
        if session is None or text_encoder(session) is None:
            return Plan(absent="these weights cannot compare a text with an image")
        from osler.evaluate.synthetic import held_out_patients
        from osler.synth.patient_set import draw_with_reports
        from osler.train.synthetic_films import frontal_exams

        cases = []
        for patient in held_out_patients():
            for exam in frontal_exams(patient):
                if any(fact.visible for fact in exam.findings):
                    _, texts = draw_with_reports(seed=patient.seed, number=patient.number)
                    name = f"synthetic-{patient.number}-{exam.number}"
                    content = (patient, exam, texts[exam.number])
                    cases.append(Case(name=name, patient=str(patient.number), content=content))
                    break
            if len(cases) == _COLLECTION:
                break
        return Plan(cases=shuffled(cases), notes=(f"Chance is k of {len(cases)}.",))

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row a report."""
        from osler.evaluate.synthetic import study_of

        session = setting.responder.session
        assert session is not None
        encode = text_encoder(session)
        assert encode is not None
        images_ND = np.stack([_vector(session, study_of(one.content[0], [one.content[1]])) for one in cases])
        texts_ND = np.asarray(encode([one.content[2] for one in cases]), dtype=np.float32)
        ranks = ranks_of(texts_ND @ images_ND.T, wanted=[[number] for number in range(len(cases))])
        return [_row(case, rank=rank, blind=None, of=len(cases)) for case, rank in zip(cases, ranks, strict=True)]


class RealRetrieval:
    """An X-ray as the query; right are the other films of the same patient."""

    name = "retrieval-real"
    title = "The same patient's other X-ray, NIH and Hannover"
    skills: frozenset[Skill] = frozenset({"embeddings"})
    measures = tuple(Measure(name=f"R@{depth}", field=f"r{depth}") for depth in DEPTHS)
    batch = 10_000

    def plan(self, setting: Setting) -> Plan:
        """Lists the held-out X-rays of patients with two at least."""
        films: dict[tuple[str, str], set[Path]] = {}
        for source, table in _TABLES:
            if not (setting.root / table).is_file():
                continue
            for row in read_table(setting.root / table, columns=("patient", "prior", "current")):
                if setting.keeps(source, patient=row["patient"]):
                    mine = films.setdefault((source, row["patient"]), set())
                    mine |= {_path(setting.root, source, row[name]) for name in ("prior", "current")}
        cases = [
            Case(name=f"{source}/{path.name}", patient=f"{source}:{patient}", content=path)
            for (source, patient), paths in films.items()
            for path in sorted(paths)
            if path.is_file() and sum(other.is_file() for other in paths) > 1
        ]
        absent = missing_files(setting.root, *(table for _, table in _TABLES)) or "no held-out patient with two films"
        return Plan(cases=shuffled(cases), absent="" if len(cases) > 1 else absent)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row an X-ray."""
        session = setting.responder.session
        assert session is not None
        studies = [open_xray(case.content) for case in cases]
        wanted = [
            [n for n, other in enumerate(cases) if other.patient == case.patient and other is not case]
            for case in cases
        ]
        ranks = _among(np.stack([_vector(session, study) for study in studies]), wanted=wanted)
        blind_ND = np.repeat(_vector(session, blank_study(studies[0]))[None], len(cases), axis=0)
        blind = _among(blind_ND, wanted=wanted)
        return [
            _row(case, rank=rank, blind=unseen, of=len(cases) - 1, right=len(others), file=str(case.content))
            for case, rank, unseen, others in zip(cases, ranks, blind, wanted, strict=True)
            if others
        ]


def ranks_of(scores_QN: np.ndarray, *, wanted: Sequence[Sequence[int]]) -> list[float]:
    """The place of the best of the wanted studies of each query, from 0; among ties the mean place.

    Args:
        scores_QN: The higher the more alike; minus infinity leaves a study out.
        wanted: Right studies of each query; a query without one gets infinity.
    """
    ranks = []
    for scores_N, right in zip(scores_QN, wanted, strict=True):
        if not right:
            ranks.append(float("inf"))
            continue
        best = scores_N[list(right)].max()
        above, same = (scores_N > best).sum(), (scores_N == best).sum()
        ranks.append(float(above) + (float(same) - 1) / 2)
    return ranks


def text_encoder(session: Session) -> Any | None:
    """What turns texts into vectors of the images' space, (N, D), where the weights can."""
    head = head_for(session, "embeddings")
    if head is None:
        return None
    return lambda texts: np.stack([head.text(session, text) for text in texts])


def _vector(session: Session, study: Study) -> np.ndarray:
    """The mean of a study's image vectors, of length 1."""
    from osler.engine.embedding import image_vectors

    vector_D = image_vectors(session, session.prepare(study)).mean(axis=0)
    return vector_D / max(float(np.linalg.norm(vector_D)), 1e-12)


def _among(vectors_ND: np.ndarray, *, wanted: Sequence[Sequence[int]]) -> list[float]:
    """Ranks within one collection; a query does not find itself."""
    scores_NN = (vectors_ND @ vectors_ND.T).astype(np.float64)
    np.fill_diagonal(scores_NN, -np.inf)
    return ranks_of(scores_NN, wanted=wanted)


def _row(case: Case, *, rank: float, blind: float | None, of: int, right: int = 1, file: str = "") -> Row:
    values = {}
    for depth in DEPTHS:
        values[f"r{depth}"] = {MODEL: (float(rank < depth), 1.0), "chance": (_chance(depth, right=right, of=of), 1.0)}
        if blind is not None:
            values[f"r{depth}"]["blanked"] = (float(blind < depth), 1.0)
    return Row(
        case=case.name,
        patient=case.patient,
        values=values,
        asked="which study",
        said=f"place {rank + 1:.0f} of {of}",
        truth="place 1",
        picture={"file": file} if file else {},
    )


def _chance(depth: int, *, right: int, of: int) -> float:
    """How likely one of ``right`` studies is among ``depth`` drawn of ``of`` without putting back."""
    miss = 1.0
    for number in range(min(depth, of)):
        miss *= max(of - right - number, 0) / (of - number)
    return 1.0 - miss


def _same_patient(other: Case, case: Case) -> bool:
    return other.patient == case.patient and other is not case


def _path(root: Path, source: str, name: str) -> Path:
    return nih_picture(root, name) if source == "nih" else root / "cxr" / "hannover" / "images" / f"{name}.jpg"
