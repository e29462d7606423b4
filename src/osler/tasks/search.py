"""Search: studies that look like one, or whose reports speak of something, in an index on disk.

Images are compared by vectors of the network, reports by their words. Weights
that were not trained for retrieval say so: their vectors tell apart what the
image tower was trained to tell apart (modality, region, plane), and a text
cannot be compared with an image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from osler.engine.backend import check_backend
from osler.errors import DataError, OslerError, RequestError
from osler.prepare.inputs import check_question
from osler.progress import Progress
from osler.readers import open_study
from osler.readers.inbox import InboxStudy, list_inbox
from osler.study import NO_MODEL, Answer, Match, Study
from osler.tasks.heads import EmbeddingHead, head_for
from osler.tasks.model_choice import ModelChoice
from osler.tasks.search_index import IndexedPage, SearchIndex, StudyEntry
from osler.tasks.search_words import best_passage, rank

if TYPE_CHECKING:
    from osler.engine.session import Session

MOST_MATCHES = 1000
_LEAST_TO_CENTER = 8
_REPORT_ENDINGS = (".txt", ".md")
_MOST_REPORT_BYTES = 1 << 20
_UNTRAINED = (
    "These weights were not trained for retrieval: images are compared by what the image tower tells apart "
    "(modality, region, plane), not by disease."
)
_OTHER_INDEX = "The index was not made with these weights as they are now: only reports were searched."
_NO_TEXT_TO_IMAGE = "These weights cannot compare a text with an image: only reports were searched."


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest(ModelChoice):
    """What to look for, and where.

    Args:
        index: The file that `build_index` wrote.
        query: A path to a study, or words.
        kind: ``"study"``, ``"text"``, or ``"auto"``: a study if such a path exists.
        top: Most matches.
    """

    index: str | Path
    query: str
    kind: Literal["auto", "study", "text"] = "auto"
    top: int = 10

    @property
    def by_study(self) -> bool:
        """Whether the query is a study."""
        return self.kind == "study" or (self.kind == "auto" and os.path.exists(self.query))


@dataclass(slots=True, kw_only=True)
class IndexReport:
    """What became of each study.

    Args:
        added: Paths that are new or changed. kept: That were there as they are.
        removed: That are in the index and no longer on disk.
        failed: Reason by path.
    """

    added: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def build_index(
    session: Session,
    folders: Iterable[str | Path],
    *,
    index: str | Path,
    on_study: Callable[[int, int, str], None] | None = None,
) -> IndexReport:
    """Puts the studies of folders into an index; what is in it and unchanged is not read again.

    Args:
        session: Whose image vectors are kept.
        folders: Each entry of each folder is one study.
        index: The file; made if absent.
        on_study: Called with studies done, studies in all, and the next path.

    Raises:
        OslerError: If a folder or the index cannot be used. A study that cannot be read is reported,
            and the others go on.
    """
    found = [study for folder in folders for study in list_inbox(folder)]
    opened = SearchIndex.create_or_open(Path(index), weights=session.checkpoint.key)
    report = IndexReport()
    try:
        known = opened.stamps()
        gone = [path for path in known if not os.path.exists(path)]
        opened.forget(gone)
        report.removed.extend(gone)
        for number, study in enumerate(found):
            path = os.path.abspath(study.path)
            if on_study is not None:
                on_study(number, len(found), path)
            if known.get(path) == study.stamp:
                report.kept.append(path)
                continue
            entry = _entry(session, study, path=path)
            opened.put(entry)
            if entry.failure:
                report.failed[path] = entry.failure
            else:
                report.added.append(path)
        kept_failures = opened.failures()
        report.failed |= {path: kept_failures[path] for path in report.kept if path in kept_failures}
        report.kept = [path for path in report.kept if path not in kept_failures]
    finally:
        opened.close()
    return report


def search(
    request: SearchRequest,
    *,
    session: Session | None = None,
    on_progress: Progress | None = None,
) -> Answer:
    """Finds the studies that are most like one, or whose reports fit some words best.

    Args:
        request: What to look for.
        session: Loaded weights, else they are loaded when the query is a study.
        on_progress: Called as the query is read and encoded.

    Raises:
        OslerError: If the query, the index or the weights are at fault.
    """
    if not 1 <= request.top <= MOST_MATCHES:
        raise RequestError(f"The {request.top!r} best matches.", allowed=f"From 1 to {MOST_MATCHES:,}.")
    check_question(request.query)
    check_backend(request.backend)
    index = SearchIndex.open(Path(request.index))
    try:
        if request.by_study:
            return _by_study(index, request, session=session, on_progress=on_progress)
        return _by_words(index, request, session=session, on_progress=on_progress)
    finally:
        index.close()


def _entry(session: Session, study: InboxStudy, *, path: str) -> StudyEntry:
    """Reads and encodes one study; a failure becomes part of the entry."""
    from osler.engine.embedding import image_vectors

    texts = list(_report_files(study.path))
    try:
        opened = open_study(study.path)
        prepared = session.prepare(opened)
        texts += [(page.name, number, text) for page in opened.documents for number, text in enumerate(page.pages, 1)]
        vectors = image_vectors(session, prepared) if prepared.images else None
    except OslerError as error:
        if texts and isinstance(error, DataError):
            return StudyEntry(path=path, stamp=study.stamp, texts=texts)
        return StudyEntry(path=path, stamp=study.stamp, failure=str(error))
    finally:
        session.forget()
    places = [(image.series, image.slice) for image in prepared.images]
    return StudyEntry(path=path, stamp=study.stamp, places=places, vectors=vectors, texts=texts)


def _report_files(path: Path) -> Iterator[tuple[str, int, str]]:
    """Plain texts beside the images of a study."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        if file.suffix.lower() in _REPORT_ENDINGS and file.is_file() and file.stat().st_size <= _MOST_REPORT_BYTES:
            yield file.name, 1, file.read_text(encoding="utf-8", errors="replace")


def _by_study(
    index: SearchIndex, request: SearchRequest, *, session: Session | None, on_progress: Progress | None
) -> Answer:
    report = on_progress or (lambda stage, done, total: None)
    report("read", 0, 0)
    study = open_study(request.query)
    if session is None:
        report("load", 0, 0)
        session = request.load()
    from osler.engine.embedding import image_vectors

    if index.weights != session.checkpoint.key:
        raise RequestError(
            f"The index was not made with {session.checkpoint.name!r} as it is now.",
            next_step="Name the model that made it with --model, or run `osler index` again.",
        )
    prepared = session.prepare(study, on_progress=on_progress)
    if not prepared.images:
        raise RequestError("The query has no images.", next_step="Search by words instead.")
    query_QD = image_vectors(session, prepared, on_progress=on_progress)
    places, vectors_ND = index.vectors()
    same = os.path.abspath(request.query)
    matches = _nearest(query_QD, vectors_ND, studies=[place.study for place in places], top=request.top, without=same)
    found = tuple(
        Match(study=places[best].study, score=score, series=places[best].series, slice=places[best].slice)
        for best, score in matches
    )
    trained = "embeddings" in session.trained
    return Answer(
        task="search",
        text=_summary(found, asked=f"that look like {Path(request.query).name}"),
        model=session.stamp(),
        preprocess=session.checkpoint.preprocess.hash,
        untrained=() if trained else ("embeddings",),
        warnings=(*prepared.warnings, *(() if trained else (_UNTRAINED,))),
        left_out=study.left_out,
        matches=found,
    )


def _nearest(
    query_QD: np.ndarray, vectors_ND: np.ndarray, *, studies: Sequence[str], top: int, without: str
) -> list[tuple[int, float]]:
    """Ranks studies by the mean over the query's images of the best cosine with any of their images.

    Vectors of one network share a large common part; with enough images it is
    taken off before they are compared.

    Returns:
        The image that fits best of each study, and the study's score, best first.
    """
    if not len(vectors_ND):
        return []
    if len(set(studies)) >= _LEAST_TO_CENTER:
        mean_D = vectors_ND.mean(axis=0)
        query_QD, vectors_ND = _unit(query_QD - mean_D), _unit(vectors_ND - mean_D)
    cosines_QN = np.clip(query_QD @ vectors_ND.T, -1.0, 1.0)
    names = np.array(studies)
    ranked = []
    for name in dict.fromkeys(studies):
        if name == without:
            continue
        columns = np.flatnonzero(names == name)
        part = cosines_QN[:, columns]
        ranked.append((int(columns[int(part.max(axis=0).argmax())]), float(part.max(axis=1).mean())))
    return sorted(ranked, key=lambda pair: -pair[1])[:top]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _by_words(
    index: SearchIndex, request: SearchRequest, *, session: Session | None, on_progress: Progress | None
) -> Answer:
    """Reports that fit the words, best first; then, by weights that can compare, images that fit them."""
    pages, wanted = index.pages(request.query)
    if not wanted:
        raise RequestError(f"No words to look for in {request.query!r}.", allowed="At least one word.")
    found_in = {word: sum(word in page.entry.counts for page in pages) for word in wanted}
    scores = rank([page.entry for page in pages], wanted=wanted, found_in=found_in)
    best: dict[str, tuple[float, IndexedPage]] = {}
    for page, score in zip(pages, scores, strict=True):
        if score > best.get(page.study, (0.0, page))[0]:
            best[page.study] = (score, page)
    ranked = sorted(best.values(), key=lambda pair: -pair[0])[: request.top]
    most = ranked[0][0] if ranked else 1.0  # BM25 has no upper end: scores are shares of the best
    matches = tuple(
        Match(study=page.study, score=score / most, text=_passage(page, query=request.query)) for score, page in ranked
    )
    comparing = _able_to_compare(request, session=session, on_progress=on_progress)
    if comparing is None:
        return Answer(
            task="search",
            text=_summary(matches, asked=f"whose reports speak of {request.query!r}"),
            model=NO_MODEL,
            preprocess="",
            untrained=("embeddings",),
            warnings=(_NO_TEXT_TO_IMAGE,),
            matches=matches,
        )
    alike = index.weights == comparing.checkpoint.key
    if alike:
        told = {match.study for match in matches}
        images = _images_like(index, request, session=comparing)
        matches = (*matches, *(match for match in images if match.study not in told))[: request.top]
    return Answer(
        task="search",
        text=_summary(matches, asked=f"whose reports speak of {request.query!r}, then whose images fit it"),
        model=comparing.stamp(),
        preprocess=comparing.checkpoint.preprocess.hash,
        warnings=() if alike else (_OTHER_INDEX,),
        matches=matches,
    )


def _able_to_compare(
    request: SearchRequest, *, session: Session | None, on_progress: Progress | None
) -> Session | None:
    """A session whose weights put texts and images into one space; the model is loaded only if it can."""
    if session is None:
        from osler.weights.skills import skills_of

        if "embeddings" not in skills_of(request.model):
            return None
        if on_progress is not None:
            on_progress("load", 0, 0)
        session = request.load()
    return session if head_for(session, "embeddings") is not None else None


def _images_like(index: SearchIndex, request: SearchRequest, *, session: Session) -> tuple[Match, ...]:
    """The image of each study that fits the words best; a score is a cosine, 0 where it is negative."""
    head: EmbeddingHead | None = head_for(session, "embeddings")
    assert head is not None
    places, vectors_ND = index.vectors()
    if not len(vectors_ND):
        return ()
    best: dict[str, tuple[float, int]] = {}
    for number, cosine in enumerate((vectors_ND @ head.text(session, request.query)).tolist()):
        study = places[number].study
        if study not in best or cosine > best[study][0]:
            best[study] = (cosine, number)
    ranked = sorted(best.values(), key=lambda pair: -pair[0])[: request.top]
    return tuple(
        Match(
            study=places[number].study,
            score=min(max(cosine, 0.0), 1.0),
            series=places[number].series,
            slice=places[number].slice,
        )
        for cosine, number in ranked
    )


def _passage(page: IndexedPage, *, query: str) -> str:
    """What the page says about the query, read from the report itself."""
    study = Path(page.study)
    file = study / page.source if study.is_dir() else study
    if file.suffix.lower() in _REPORT_ENDINGS:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
    else:
        text = _document_page(study, page=page)
    return best_passage(text, query=query)


def _document_page(study: Path, *, page: IndexedPage) -> str:
    try:
        opened: Study = open_study(study)
    except OslerError:
        return ""
    for document in opened.documents:
        if document.name == page.source and page.page <= len(document.pages):
            return document.pages[page.page - 1]
    return ""


def _summary(matches: Sequence[Match], *, asked: str) -> str:
    if not matches:
        return "No study was found."
    lines = [f"Studies {asked}, best first:"]
    for number, match in enumerate(matches, start=1):
        where = f", slice {match.slice + 1}" if match.slice is not None else ""
        quoted = f": {match.text}" if match.text else ""
        lines.append(f"{number}. {match.study}{where} ({match.score:.2f}){quoted}")
    return "\n".join(lines)
