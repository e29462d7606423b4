"""Soft tokens of films that know the films before them and the record, for weights whose attention over time is open.

Legend: N images, T soft tokens of an image, M tokens of a prompt with volumes, P films, D width of the decoder.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from osler.engine.head_features import film_of_each_date
from osler.engine.heads_progression import day_of, event_table
from osler.engine.slab_features import token_starts
from osler.prepare import PixelBatches

if TYPE_CHECKING:
    from osler.engine.backend import AnyNetwork
    from osler.engine.session import Session
    from osler.prepare import PreparedImages
    from osler.study import Study


class TimelineStore:
    """Encodes the films of all dates together, and remembers those of the last study. Threads take turns.

    Args:
        network: Of any kind. Without attention over time, and while its gate is closed, films are left as they are.
    """

    def __init__(self, network: AnyNetwork) -> None:
        self._network = network
        self._turn = threading.RLock()
        self._study: Study | None = None
        self._key: tuple[str, ...] = ()
        self._tokens_PTD = torch.empty(0)

    @torch.inference_mode()
    def joined(
        self, features: torch.Tensor | None, *, session: Session, study: Study | None, prepared: PreparedImages
    ) -> torch.Tensor | None:
        """Puts films that know the earlier ones in place of films alone.

        Args:
            features: Of the prompt, (N, T, D), or (M, 1, D) where volumes are read as slabs.
            session: With these weights.
            study: One frontal X-ray of each date is read; `Study.events` up to its day are, too.
            prepared: Its images.

        Returns:
            Features of the same shape; the same object where nothing changes.
        """
        temporal = self._network.temporal
        if features is None or study is None or temporal is None or temporal.gate == 0:
            return features
        films = film_of_each_date(study, prepared)
        if not films or (len(films) == 1 and not study.events):
            return features
        pixels = PixelBatches(
            rgb=prepared.pixels.rgb[[number for _, number in films]], preprocess=prepared.pixels.preprocess
        )
        key = tuple(pixels.digests())
        with self._turn:
            if self._study is not study or self._key != key:
                self.clear()
                dates = [study.timepoints[timepoint].date for timepoint, _ in films]
                self._tokens_PTD = self._encoded(pixels, dates=dates, session=session, study=study)
                self._study, self._key = study, key
            tokens_PTD = self._tokens_PTD.to(features)
        joined = features.clone()
        by_token = joined.flatten(0, 1)
        starts = token_starts(prepared, image_tokens=tokens_PTD.shape[1])
        for (_, number), tokens_TD in zip(films, tokens_PTD, strict=True):
            by_token[starts[number] : starts[number] + len(tokens_TD)] = tokens_TD
        return joined

    def clear(self) -> None:
        """Forgets the last study."""
        with self._turn:
            self._study, self._key, self._tokens_PTD = None, (), torch.empty(0)

    def _encoded(
        self, pixels: PixelBatches, *, dates: Sequence[dt.date | None], session: Session, study: Study
    ) -> torch.Tensor:
        network = self._network
        batch = torch.from_numpy(pixels.array()).to(device=network.device, dtype=network.dtype)
        # Only differences of days count; near zero float32 holds them exactly.
        zero = next((date for date in reversed(dates) if date is not None), dt.date.min)
        days_1P = torch.tensor([[day_of(date, zero=zero) for date in dates]], device=network.device)
        events = event_table(session, study.events, zero=zero, last=dates[-1])
        return network.encode_timeline(batch[None], days_BT=days_1P, events=events)[0]
