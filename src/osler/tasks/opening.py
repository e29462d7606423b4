"""What every task on images does first: open the files, load the weights, see whether the request fits."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from osler.prepare import PreparedImages
from osler.prepare.scope import named_parts, region_is_open, region_warning, regions_in, scope_warnings
from osler.progress import Progress
from osler.readers import open_study
from osler.readers.identity import Mixing
from osler.study import Answer, Study
from osler.tasks.model_choice import SightChoice

if TYPE_CHECKING:
    from osler.engine.session import Session

OnStudy = Callable[[Study], None]
"""Takes the study before the weights are loaded; may refuse it."""

REGION_QUESTION = "What part of the body is shown?"
_REGION_TOKENS = 24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Done:
    """An answer, the study that it is about and what the model saw of it."""

    answer: Answer
    study: Study
    prepared: PreparedImages


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A study and a session, with the seconds that they took."""

    study: Study
    session: Session
    timings: dict[str, float]

    def done(self, answer: Answer) -> Done:
        """Completes the result of a task."""
        timings = {**self.timings, **(answer.timings or {}), **self.timings}
        return Done(
            answer=dataclasses.replace(answer, timings=timings),
            study=self.study,
            prepared=self.session.prepare(self.study),
        )


def open_and_load(
    path: str | Path,
    *,
    choice: SightChoice,
    priors: Sequence[str | Path] = (),
    records: Sequence[str | Path] = (),
    mixing: Mixing = "refuse",
    on_progress: Progress | None = None,
    on_study: OnStudy | None = None,
) -> Opened:
    """Opens the files of one patient and loads the weights; cheap checks come first.

    Raises:
        OslerError: If the files or the model are at fault.
    """
    choice.check()
    report = on_progress or (lambda stage, done, total: None)
    started = time.perf_counter()
    report("read", 0, 0)
    study = open_together(path, priors=priors, records=records, mixing=mixing)
    if on_study is not None:
        on_study(study)
    opened = time.perf_counter()
    report("load", 0, 0)
    session = choice.load()
    timings = {"read": opened - started, "load": time.perf_counter() - opened}
    return Opened(study=study, session=session, timings=timings)


def open_together(
    path: str | Path,
    *,
    priors: Sequence[str | Path],
    records: Sequence[str | Path],
    mixing: Mixing = "refuse",
) -> Study:
    """Opens a study, with its priors and records where there are any."""
    if not priors and not records:
        return open_study(path, mixing=mixing)
    from osler.readers.patient import open_patient

    return open_patient(path, priors=priors, records=records, mixing=mixing)


def as_study(study: Study | str | Path, *, mixing: Mixing = "refuse") -> Study:
    """Opens a path; a study is returned as it is."""
    return open_study(study, mixing=mixing) if isinstance(study, str | Path) else study


def noticed(session: Session, study: Study, requests: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Says where requests and a study do not fit, before anything is answered.

    Where a request names a part of the body and the files do not say which
    they show, the model is asked once, and the sentence says that it was.

    Args:
        session: Asked for the region only if its weights answer questions.
        study: The study.
        requests: Questions, or names of structures.

    Returns:
        What to say of each request that does not fit; the others are absent.
    """
    shown = tuple(study.series())
    modalities = [series.modality for series in shown]
    unknown = region_is_open(study) and "answers" in session.trained
    asked: frozenset[str] | None = None
    said: dict[str, tuple[str, ...]] = {}
    for request in requests:
        texts = list(scope_warnings(request, study=study, modalities=modalities))
        if unknown and named_parts(request):
            if asked is None:
                asked = seen_regions(session, study)
            source = f"the image, as {session.checkpoint.name} sees it,"
            texts.append(region_warning(request, regions=asked, source=source))
        if kept := tuple(text for text in texts if text):
            said[request] = kept
    return said


def seen_regions(session: Session, study: Study) -> frozenset[str]:
    """Returns the regions that the model sees; empty where it was not trained to answer, or says none."""
    if "answers" not in session.trained:
        return frozenset()
    return regions_in(session.ask(study, REGION_QUESTION, max_tokens=_REGION_TOKENS).text)


def flat(said: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """All that `noticed` says, in order."""
    return merged([text for texts in said.values() for text in texts])


def untrained(
    session: Session, study: Study, *, task: str, skill: str, text: str, warnings: Sequence[str] = ()
) -> Answer:
    """Builds the answer of a task that the weights were not trained for: nothing is made up in its place."""
    blank = session.blank(study)
    return dataclasses.replace(
        blank,
        task=task,
        text=text,
        untrained=(skill,),
        warnings=merged((*warnings, *blank.warnings, f"{session.checkpoint.name} is not trained for: {skill}.")),
    )


def merged(warnings: Sequence[str]) -> tuple[str, ...]:
    """Each warning once, in order."""
    return tuple(dict.fromkeys(warnings))


def one_by_one(prepared: PreparedImages, numbers: Sequence[int]) -> Iterator[PreparedImages]:
    """Yields each of the chosen images as if it were the only one, toned as in the whole series."""
    from osler.prepare import PixelBatches
    from osler.prepare.prompt import ShownSeries

    for number in numbers:
        image = prepared.images[number]
        batch = PixelBatches(rgb=prepared.pixels.rgb[number : number + 1], preprocess=prepared.pixels.preprocess)
        yield dataclasses.replace(
            prepared,
            pixels=batch,
            images=(image,),
            series=(ShownSeries(timepoint=0, date=None, images=1, kind="image"),),
            volumes={},
        )
