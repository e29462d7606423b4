"""Synthetic reports as a stream of text samples: facts in, report out.

The shards of `osler synth reports` are read one at a time, however many there are.
Number i of the stream is row i of all shards in order; `ShardOrder` shuffles shards and the
rows within, so that each process reads one shard after another and each report is seen
once an epoch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import DataError, RequestError
from osler.prepare import Turn, render_chat
from osler.synth.extra import import_pyarrow
from osler.train.local_table import is_kept_out
from osler.train.taught import Taught
from osler.weights.checkpoint import Checkpoint

_LANGUAGES = {"en": "English", "de": "German"}
_LEFT_OUT = ("schema", "seed", "patient", "exam", "day", "compared")


class ReportShards:
    """Reports of Parquet shards (a `Source`).

    Args:
        folder: With ``reports-*.parquet``.
        checkpoint: Whose tokenizer is used.

    Raises:
        RequestError: If the folder has no shards.
        DataError: If a shard is damaged or has other columns.
    """

    def __init__(self, folder: Path, *, checkpoint: Checkpoint) -> None:
        self._pa, self._pq = import_pyarrow()
        self.checkpoint = checkpoint
        self.paths = sorted(folder.glob("reports-*.parquet"))
        if not self.paths:
            raise RequestError(
                f"No shards in {str(folder)!r}.",
                allowed="Files reports-*.parquet.",
                next_step=f"Write some: osler synth reports --count 100000 --out {folder}",
            )
        counts = [self._open(path).metadata.num_rows for path in self.paths]
        self.counts = np.array(counts, dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])
        self._held: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, number: int) -> Taught:
        """Builds one sample.

        Raises:
            DataError: If the shard is damaged.
        """
        shard = int(np.searchsorted(self.starts, number, side="right")) - 1
        place = number - int(self.starts[shard])
        (row,) = self._table(shard).slice(place, 1).to_pylist()
        return self._taught(row, name=f"{self.paths[shard].name} row {place}")

    def kept_out_shards(self, *, share: float) -> list[int]:
        """Shards that are kept out of training, by the hash of their names; the last if the hash takes none or all.

        A patient's reports are all in one shard.
        """
        if not share or len(self.paths) < 2:
            return []
        chosen = [i for i, path in enumerate(self.paths) if is_kept_out(path.name, share=share)]
        return chosen if 0 < len(chosen) < len(self.paths) else [len(self.paths) - 1]

    def _table(self, shard: int) -> Any:
        if self._held[0] != shard:
            self._held = (shard, self._open(self.paths[shard]).read(columns=["language", "report", "facts"]))
        return self._held[1]

    def _open(self, path: Path) -> Any:
        try:
            file = self._pq.ParquetFile(path)
            absent = {"language", "report", "facts"} - set(file.schema_arrow.names)
        except (OSError, self._pa.ArrowInvalid) as error:
            raise DataError(f"Cannot read {str(path)!r}: {error}.", next_step="Write the shards again.") from error
        if absent:
            raise DataError(f"{str(path)!r} lacks the columns {', '.join(sorted(absent))}.")
        return file

    def _taught(self, row: dict[str, Any], *, name: str) -> Taught:
        facts = {key: value for key, value in json.loads(row["facts"]).items() if key not in _LEFT_OUT}
        language = _LANGUAGES.get(row["language"], row["language"])
        question = f"Write a radiology report in {language} from these facts:\n{json.dumps(facts, ensure_ascii=False)}"
        chat = render_chat(
            [Turn.of("user", question), Turn.of("assistant", row["report"])],
            tokenizer=self.checkpoint.tokenizer,
            tokens=self.checkpoint.model.config.tokens,
            image_tokens=self.checkpoint.preprocess.image_tokens,
        )
        return Taught(name=name, token_ids=chat.token_ids, answer_mask=chat.answer_mask)


class ShardOrder:
    """Epoch after epoch: shards shuffled, and rows within each; see `osler.train.taught.Order`.

    Args:
        shards: Numbers of the shards to learn from.
        counts: Rows of every shard. starts: First number of every shard.
        seed: Of the shuffles.
    """

    def __init__(self, shards: list[int], *, counts: np.ndarray, starts: np.ndarray, seed: int) -> None:
        self.shards, self.counts, self.starts, self.seed = list(shards), counts, starts, seed
        self.count = int(counts[self.shards].sum())
        self._epoch, self._ends = -1, np.empty(0, dtype=np.int64)
        self._sequence = np.empty(0, dtype=np.int64)
        self._shuffled: tuple[tuple[int, int], np.ndarray] = ((-1, -1), np.empty(0, dtype=np.int64))

    def __getitem__(self, place: int) -> int:
        """The number of the report at a place."""
        epoch, index = divmod(place, self.count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._sequence = np.random.default_rng([self.seed, epoch]).permutation(self.shards)
            self._ends = np.cumsum(self.counts[self._sequence])
        turn = int(np.searchsorted(self._ends, index, side="right"))
        shard = int(self._sequence[turn])
        if self._shuffled[0] != (epoch, shard):
            rows = np.random.default_rng([self.seed, epoch, shard]).permutation(int(self.counts[shard]))
            self._shuffled = ((epoch, shard), rows)
        first = int(self._ends[turn] - self.counts[shard])
        return int(self.starts[shard] + self._shuffled[1][index - first])
