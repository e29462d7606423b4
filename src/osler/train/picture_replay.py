"""Pictures of the training sets with questions on what they are, shown between new lessons so that it stays known.

Dimensions: N pictures, T soft tokens of a picture, D width of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from osler.prepare import assemble, prepare_images
from osler.prepare.inputs import before_record
from osler.study import ArrayPixels, Image, Study, TimePoint
from osler.train.answers import Exchange, ask_about
from osler.train.cache_key import cache_key
from osler.train.film_samples import Encode, encoded_rows, stored_row, told_of
from osler.train.picture_book import PictureBook
from osler.train.taught import Taught
from osler.weights.checkpoint import Checkpoint


class PictureReplay:
    """Drawn pictures, each with one question (a `Source`); picture i is the same whenever it is asked for.

    Args:
        book: Of the pictures of one split. count: Pictures that are drawn.
        checkpoint: Whose contract and tokenizer are used.
        encode: Images to soft tokens, as inference computes them.
        folder: Where the soft tokens are kept.
        seed: Of pictures and questions.
        on_progress: Called with the pictures done and in all, for each pass.
    """

    def __init__(
        self,
        book: PictureBook,
        *,
        count: int,
        checkpoint: Checkpoint,
        encode: Encode,
        folder: Path,
        seed: int,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.book, self.count, self.checkpoint, self.seed = book, count, checkpoint, seed
        key = cache_key(weights=checkpoint.key, book=book.contents(), count=count, seed=seed)
        self._tokens = encoded_rows(
            folder / "soft-tokens",
            key=key,
            count=count,
            encode=lambda number: encode(prepare_images(self._shown(number)[0], preprocess=checkpoint.preprocess)),
            on_progress=on_progress,
        )
        studies = (self._shown(number)[0] for number in range(count))
        self._told = told_of(
            folder, checkpoint=checkpoint, key=key, studies=studies, count=count, on_progress=on_progress
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Taught:
        """Builds one sample."""
        study, exchange, source = self._shown(number)
        checkpoint = self.checkpoint
        inputs = assemble(
            prepare_images(study, preprocess=checkpoint.preprocess),
            exchange.question,
            study=study,
            preprocess=checkpoint.preprocess,
            tokenizer=checkpoint.tokenizer,
            tokens=checkpoint.model.config.tokens,
            answer=exchange.answer,
            record=before_record(self._told[number], ""),
            context=checkpoint.model.config.decoder.max_positions,
        )
        return Taught(
            name=f"picture {number} of {source}",
            token_ids=np.asarray(inputs.token_ids).astype(np.int64),
            answer_mask=np.asarray(inputs.answer_mask).astype(bool),
            images=stored_row(self._tokens, number),
        )

    def _shown(self, number: int) -> tuple[Study, Exchange, str]:
        rng = np.random.default_rng([self.seed, number])
        picture = self.book.draw(rng)
        exchange = ask_about(picture.labels, form="picture", rng=rng)
        image = Image(series=f"picture-{number}", pixels=ArrayPixels(picture.pixels), modality="", units="RGB")
        return Study(timepoints=(TimePoint(series=(image,)),)), exchange, picture.source
