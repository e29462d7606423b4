"""Lessons on films as samples: each film is encoded once, the prompts are those of inference.

Dimensions: N films, T soft tokens of a film, D width of the decoder, P patches, V width of the tower, Q boxes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from osler.engine.session import Session
from osler.model.osler import Osler
from osler.prepare import PreparedImages, assemble, prepare_images
from osler.prepare.inputs import before_record
from osler.prepare.record_text import record_text
from osler.study import ArrayPixels, Box2D, Image, Study, TimePoint
from osler.synth.timeline import calendar_date
from osler.tasks.box_text import TextBox, to_square, write_box_text
from osler.tasks.box_tokens import ABSENT, with_box_token
from osler.train.cache_key import cache_key, has_key, set_key
from osler.train.checkpoints import save_json
from osler.train.film_lessons import FilmLesson
from osler.train.synthetic_films import Film
from osler.train.taught import Taught
from osler.weights.checkpoint import Checkpoint

Encode = Callable[[PreparedImages], Tensor]


class FilmSamples:
    """Lessons on films (a `Source`).

    Args:
        films: Of synthetic patients. lessons: On them.
        checkpoint: Whose contract and tokenizer are used, and whose heads read box tokens.
        encode: Images to soft tokens, as inference computes them.
        folder: Where the soft tokens are kept.
        boxes_read: What the box head reads at a box token: ``"heads"``, the features of the checkpoint's own heads, or
            ``"images"``, what ``encode`` gave of the film, which the teacher makes features of.
        on_progress: Called with the films done and in all, anew for each pass: soft tokens, what is told, features.
    """

    def __init__(
        self,
        films: Sequence[Film],
        lessons: Sequence[FilmLesson],
        *,
        checkpoint: Checkpoint,
        encode: Encode,
        folder: Path,
        boxes_read: Literal["heads", "images"] = "heads",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.films, self.lessons, self.checkpoint = films, lessons, checkpoint
        self._square = dataclasses.replace(checkpoint.preprocess, aspect="pad-square")
        by_text = {lesson.film for lesson in lessons if lesson.task == "boxes"}
        others = {lesson.film for lesson in lessons if lesson.task != "boxes"}
        marked = {lesson.film for lesson in lessons if lesson.task == "box-tokens" and boxes_read == "heads"}
        shown = [(film, "plain") for film in sorted(others)] + [(film, "square") for film in sorted(by_text)]
        self._rows = {key: row for row, key in enumerate(shown)}
        digest = _digest(films)
        self._tokens = encoded_rows(
            folder / "soft-tokens",
            key=cache_key(weights=checkpoint.key, films=digest, shown=shown),
            count=len(shown),
            encode=lambda row: encode(self._prepared(*shown[row])),
            on_progress=on_progress,
        )
        seen = sorted(others | by_text)  # once, in whatever forms the decoder sees it
        told = told_of(
            folder,
            checkpoint=checkpoint,
            key=cache_key(weights=checkpoint.key, films=digest, told=seen),
            studies=(self._study(film) for film in seen),
            count=len(seen),
            on_progress=on_progress,
        )
        self._told = dict(zip(seen, told, strict=True))
        heads = sorted(marked)
        self._head_rows = {film: row for row, film in enumerate(heads)}
        self._seen = encoded_rows(
            folder / "head-features",
            key=cache_key(weights=checkpoint.key, films=digest, marked=heads),
            count=len(heads),
            encode=lambda row: _head_features(checkpoint.model, self._prepared(heads[row], "plain")),
            on_progress=on_progress,
        )

    def __len__(self) -> int:
        return len(self.lessons)

    def __getitem__(self, number: int) -> Taught:
        """Builds one sample.

        Raises:
            CapacityError: If it does not fit the context.
        """
        lesson = self.lessons[number]
        form = "square" if lesson.task == "boxes" else "plain"
        prepared, checkpoint = self._prepared(lesson.film, form), self.checkpoint
        tokens = checkpoint.model.config.tokens
        study = self._study(lesson.film, events=lesson)
        inputs = assemble(
            prepared,
            lesson.question,
            study=study,
            preprocess=self._square if form == "square" else checkpoint.preprocess,
            tokenizer=checkpoint.tokenizer,
            tokens=tokens,
            answer=self._answer(lesson, prepared),
            record=before_record(
                self._told[lesson.film],
                record_text(study, question=lesson.question).text if lesson.events else "",
            ),
            context=checkpoint.model.config.decoder.max_positions,
        )
        ids, mask = np.asarray(inputs.token_ids), np.asarray(inputs.answer_mask)
        boxes_Q6 = None
        if lesson.task == "box-tokens" and lesson.box is not None:
            ids, mask = with_box_token(ids, mask, box=tokens.box, end=tokens.end_of_turn)
            boxes_Q6 = torch.tensor([_edges(lesson.box, prepared)])
        film = self.films[lesson.film]
        return Taught(
            name=f"patient {film.patient} exam {film.exam}, {lesson.task}",
            token_ids=ids.astype(np.int64),
            answer_mask=mask.astype(bool),
            images=stored_row(self._tokens, self._rows[lesson.film, form]),
            boxes_Q6=boxes_Q6,
            seen_PV=stored_row(self._seen, self._head_rows[lesson.film])[0]
            if boxes_Q6 is not None and self._head_rows
            else None,
        )

    def _study(self, number: int, *, events: FilmLesson | None = None) -> Study:
        film = self.films[number]
        picture = Image(
            series=f"{film.patient}-{film.exam}",
            pixels=ArrayPixels(film.pixels),
            modality="DX",
            body_part="CHEST",
            view=film.view,
        )
        point = TimePoint(series=(picture,), date=calendar_date(film.day))
        return Study(timepoints=(point,), events=events.events if events is not None else ())

    def _prepared(self, number: int, form: str) -> PreparedImages:
        contract = self._square if form == "square" else self.checkpoint.preprocess
        return prepare_images(self._study(number), preprocess=contract)

    def _answer(self, lesson: FilmLesson, prepared: PreparedImages) -> str:
        if lesson.task == "boxes":
            if lesson.box is None:
                return write_box_text([])
            x0, y0, x1, y1 = lesson.box
            box = to_square(Box2D(x0=x0, y0=y0, x1=x1, y1=y1), image=prepared.images[0])
            return write_box_text([TextBox(label=lesson.label, box=box)])
        return ABSENT if lesson.task == "box-tokens" else lesson.answer


def _edges(box: tuple[float, float, float, float], prepared: PreparedImages) -> list[float]:
    """A box in pixels of the film as shares of what the network sees; NaN in z, as the box loss takes pictures."""
    x0, y0, x1, y1 = box
    image = prepared.images[0]
    seen = image.to_model(Box2D(x0=x0, y0=y0, x1=x1, y1=y1))
    size = image.pixel_map.image_size
    low_x, low_y, high_x, high_y = (min(max(edge / size, 0.0), 1.0) for edge in (seen.x0, seen.y0, seen.x1, seen.y1))
    return [low_x, low_y, float("nan"), high_x, high_y, float("nan")]


def told_of(
    folder: Path,
    *,
    checkpoint: Checkpoint,
    key: str,
    studies: Iterable[Study],
    count: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Sequence[str]:
    """What the decoder is told of each study by the findings head, as in use; kept on disk under the key."""
    heads = checkpoint.model.config.heads
    if heads is None or not heads.told:
        return [""] * count
    path = folder / "told.json"
    if not has_key(folder / "told", key=key):
        (folder / "told").mkdir(parents=True, exist_ok=True)
        session = Session(checkpoint)
        reader = session.heads["findings"]
        told = []
        for study in studies:
            told.append(reader.told(session, study))
            if on_progress is not None:
                on_progress(len(told), count)
        save_json(path, told)
        set_key(folder / "told", key=key)
    return json.loads(path.read_text(encoding="utf-8"))


@torch.no_grad()
def _head_features(model: Osler, prepared: PreparedImages) -> Tensor:
    pixels = torch.from_numpy(prepared.pixels.array())
    return model.head_features(pixels.to(device=model.device, dtype=model.dtype))


def encoded_rows(
    folder: Path,
    *,
    key: str,
    count: int,
    encode: Callable[[int], Tensor],
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray | None:
    """Rows of bfloat16 kept on disk, computed where they are not there under the same key."""
    if not count:
        return None
    path = folder / "rows.npy"
    if not has_key(folder, key=key):
        folder.mkdir(parents=True, exist_ok=True)
        rows: np.ndarray | None = None
        for number in range(count):
            encoded = encode(number).detach().to(torch.bfloat16).cpu().contiguous()
            if rows is None:
                shape = (count, *encoded.shape)
                rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint16, shape=shape)
            rows[number] = encoded.view(torch.uint16).numpy()
            if on_progress is not None:
                on_progress(number + 1, count)
        del rows
        set_key(folder, key=key)
    return np.load(path, mmap_mode="r")


def stored_row(rows: np.ndarray | None, number: int) -> Tensor:
    """One of the rows of `encoded_rows`."""
    assert rows is not None
    return torch.from_numpy(np.array(rows[number])).view(torch.bfloat16)


def _digest(films: Sequence[Film]) -> str:
    found = hashlib.sha256()
    for film in films:
        found.update(f"{film.patient} {film.exam} {film.pixels.shape}".encode())
        found.update(np.ascontiguousarray(film.pixels).tobytes())
    return found.hexdigest()
