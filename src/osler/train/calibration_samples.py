"""What a network reads while its weights are rounded: synthetic reports, questions, and drawn pictures.

Everything is made on this machine from what is in the package, with a seed of
its own, so it works offline and never meets what a model is judged by. Reports
need the extra ``synth``; without it, shipped facts stand in for them, and the
metadata of the weights say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np

from osler.errors import RequestError
from osler.model.config import OslerConfig, TokenIds
from osler.prepare import PixelBatches, Preprocess
from osler.prepare.chat import Tokenizer
from osler.progress import Progress
from osler.quant.calibration import Calibration, CalibrationSample, Method
from osler.synth.draw import draw_patient
from osler.synth.xrays import render_xray
from osler.train import synthetic_pictures
from osler.train.answers import ask_about
from osler.train.picture_book import to_square
from osler.train.pictures import Labels, Picture, gray_to_rgb
from osler.train.samples import SampleMaker
from osler.train.synthetic_films import frontal_exams
from osler.train.text_questions import TextBook, open_text_book

TOKENS = 12_288
"""Tokens of a usual calibration: what benchmarks/quantisation.md was measured with."""

_SEED = 7_110_417
_LONGEST = 256
_FILM_SIZE = 512
_PATIENTS = 16


def calibration(
    config: OslerConfig,
    *,
    method: Method,
    tokenizer: Tokenizer,
    preprocess: Preprocess,
    tokens: int = TOKENS,
    on_progress: Progress | None = None,
) -> Calibration:
    """Makes the samples of a calibration.

    Args:
        config: Of the network. tokenizer: Its tokenizer. preprocess: Its contract.
        method: How weights will be rounded.
        tokens: At least this many, over all samples; never more than a sample beyond.
        on_progress: Called with ``"samples"``, tokens made and tokens in all.

    Raises:
        RequestError: If there are no tokens, or the method is unknown.
    """
    if tokens < 1:
        raise RequestError(f"A calibration on {tokens!r} tokens.", allowed="One token at least; 10,000 and more help.")
    rng = np.random.default_rng(_SEED)
    book = open_text_book(None)
    maker = SampleMaker(tokenizer=tokenizer, tokens=config.tokens, preprocess=preprocess)
    texts, source = _report_texts()
    kinds = [
        _plain_samples(texts or _fact_texts(book, rng=rng), tokenizer=tokenizer, tokens=config.tokens),
        _plain_samples(_fact_texts(book, rng=rng), tokenizer=tokenizer, tokens=config.tokens),
        _question_samples(book, maker=maker, rng=rng),
    ]
    if config.vision is not None:
        kinds.append(_picture_samples(maker, preprocess=preprocess, rng=rng))
        source = f"{source}, synthetic pictures"
    samples: list[CalibrationSample] = []
    spent = [0] * len(kinds)
    while sum(spent) < tokens:
        # The kind with the fewest tokens is next, so that each has its share.
        kind = spent.index(min(spent))
        samples.append(next(kinds[kind]))
        spent[kind] += len(samples[-1].token_ids)
        if on_progress is not None:
            on_progress("samples", min(sum(spent), tokens), tokens)
    return Calibration(method=method, samples=samples, source=source)


def _report_texts() -> tuple[Iterator[str] | None, str]:
    """Synthetic reports, where the packages that write them are installed, and what the samples are."""
    try:
        from osler.synth.iterate import iterate_reports
    except RequestError:
        return None, "shipped facts, questions"

    def reports() -> Iterator[str]:
        for start in count(step=_PATIENTS):
            yield from (row.report for row in iterate_reports(seed=_SEED, start=start, stop=start + _PATIENTS))

    return reports(), "synthetic reports, shipped facts, questions"


def _fact_texts(book: TextBook, *, rng: np.random.Generator) -> Iterator[str]:
    """Shipped facts, a dozen in a paragraph."""
    while True:
        picked = rng.permutation(len(book.facts))[:12]
        yield " ".join(book.facts[int(number)][1] for number in picked)


def _plain_samples(texts: Iterator[str], *, tokenizer: Tokenizer, tokens: TokenIds) -> Iterator[CalibrationSample]:
    for text in texts:
        ids = tokenizer.encode(text)[: _LONGEST - 1]
        yield CalibrationSample(token_ids=np.array([tokens.bos, *ids], dtype=np.int64))


def _question_samples(book: TextBook, *, maker: SampleMaker, rng: np.random.Generator) -> Iterator[CalibrationSample]:
    while True:
        sample = maker.make([book.draw(rng) for _ in range(3)])
        yield CalibrationSample(token_ids=sample.token_ids[:_LONGEST].astype(np.int64))


def _picture_samples(
    maker: SampleMaker, *, preprocess: Preprocess, rng: np.random.Generator
) -> Iterator[CalibrationSample]:
    """One picture each, with two questions about it and their answers."""
    for picture in _pictures(rng):
        exchanges = [ask_about(picture.labels, form="picture", rng=rng) for _ in range(2)]
        sample = maker.make(exchanges, rows=(0,))
        square = to_square(picture.pixels, size=preprocess.image_size, aspect=preprocess.aspect)
        yield CalibrationSample(
            token_ids=sample.token_ids.astype(np.int64),
            pixels=PixelBatches(rgb=square[None], preprocess=preprocess),
        )


def _pictures(rng: np.random.Generator) -> Iterator[Picture]:
    """X-rays of synthetic patients, stained tissue and heads, by turns."""
    number = 0
    while True:
        patient = draw_patient(seed=_SEED, number=number)
        number += 1
        for exam in frontal_exams(patient)[:1]:
            shot = render_xray(patient, exam=exam, size=_FILM_SIZE)
            view = "pa" if exam.acquisition.view == "PA" else "ap"
            labels = Labels(modality="xray", region="chest", plane="frontal", view=view)
            yield Picture(
                pixels=gray_to_rgb(shot.pixels), labels=labels, source="synthetic-xray", patient=str(patient.number)
            )
            yield synthetic_pictures.tissue(rng)
            yield synthetic_pictures.head_ct(rng)
