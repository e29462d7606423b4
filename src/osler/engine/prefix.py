"""The part of a prompt that was read before is not read again.

A second question about the same study has the same tokens and the same images
up to the question. The store keeps the cache of the last prompt and goes back
to a mark inside the common part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from osler.engine.chunks import study_length
from osler.engine.kv_cache import CachePoint, KVCache
from osler.engine.runner import Runner
from osler.engine.study_cache import StudyCache


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptKey:
    """What decides the keys and values of a prompt.

    Args:
        token_ids: The prompt.
        images: Digest of the features of each image, in order; of each token where images differ in size.
        image_token: Id of a soft token.
        image_tokens: Soft tokens that one digest stands for.
    """

    token_ids: np.ndarray
    images: tuple[str, ...]
    image_token: int
    image_tokens: int
    memory: str = ""

    def common(self, other: PromptKey) -> int:
        """Counts the leading tokens that are the same, images by their content."""
        if self.memory != other.memory:
            return 0
        count = min(len(self.token_ids), len(other.token_ids))
        differs = np.flatnonzero(self.token_ids[:count] != other.token_ids[:count])
        if len(differs):
            count = int(differs[0])
        places = np.flatnonzero(self.token_ids[:count] == self.image_token)
        for number, place in enumerate(places[:: self.image_tokens]):
            if self.images[number] != other.images[number]:
                return min(count, int(place))
        return count

    @property
    def study(self) -> int:
        """Tokens up to the end of the last image."""
        return study_length(self.token_ids, image_token=self.image_token)

    @property
    def study_digest(self) -> str:
        """Digest of the tokens and images of the study."""
        ids = np.ascontiguousarray(self.token_ids[: self.study], dtype=np.int64)
        return hashlib.sha256(ids.tobytes() + "".join((*self.images, self.memory)).encode()).hexdigest()


@dataclass(slots=True)
class PrefixStore:
    """Remembers the cache of the last prompt, and on disk those of the last studies.

    Not for use from several threads at once.

    Args:
        disk: Where the read study outlives the session, if anywhere.
    """

    disk: StudyCache | None = None
    _key: PromptKey | None = None
    _cache: KVCache | None = None
    _marks: list[CachePoint] = field(default_factory=list)
    _on_disk: str = ""

    def take(
        self, key: PromptKey, *, ends: Sequence[int], runner: Runner, planned: int
    ) -> tuple[KVCache, list[CachePoint]]:
        """Returns a cache that holds as much of the prompt as was read before.

        Args:
            key: The new prompt.
            ends: Where it is cut; a mark elsewhere is not used, so that every
                token is computed in the same part as without the store.
            runner: Makes the cache if none can be used.
            planned: Tokens that the cache will hold at most.

        Returns:
            The cache, to which ``cache.length`` tokens need not be read again,
            and the marks that it keeps.
        """
        cache, old_key, marks = self._cache, self._key, self._marks
        self.clear()
        if cache is not None and old_key is not None:
            common = min(key.common(old_key), len(key.token_ids) - 1)
            usable = [mark for mark in marks if mark.length <= common and mark.length in ends]
            if usable:
                cache.rewind(usable[-1], planned=planned)
                return cache, usable
        return self._from_disk(key, ends=ends, runner=runner, planned=planned) or (
            runner.new_cache(planned=planned),
            [],
        )

    def persist(self) -> None:
        """Keeps the study of the last prompt on disk; call it when the answer is out."""
        if self.disk is None or self._key is None or self._cache is None:
            return
        content = self._key.study_digest
        mark = next((mark for mark in self._marks if mark.length == self._key.study), None)
        if mark is not None and content != self._on_disk:
            self.disk.put("prefix", content=content, tensors=self._cache.saved(mark))
            self._on_disk = content

    def _from_disk(
        self, key: PromptKey, *, ends: Sequence[int], runner: Runner, planned: int
    ) -> tuple[KVCache, list[CachePoint]] | None:
        length = key.study
        if self.disk is None or not 0 < length < len(key.token_ids) or length not in ends:
            return None
        tensors = self.disk.get("prefix", content=key.study_digest)
        if tensors is None:
            return None
        cache, mark = runner.restored_cache(tensors, length=length, planned=planned)
        self._on_disk = key.study_digest
        return cache, [mark]

    def put(self, key: PromptKey, *, cache: KVCache, marks: list[CachePoint]) -> None:
        """Keeps the cache of a prompt that was read to its end."""
        self._key, self._cache, self._marks = key, cache, marks

    def fresh(self) -> PrefixStore:
        """Returns an empty store on the same disk."""
        return replace(self, _key=None, _cache=None, _marks=[], _on_disk="")

    def clear(self) -> None:
        """Forgets everything."""
        self._key, self._cache, self._marks = None, None, []

    @property
    def bytes(self) -> int:
        """Memory that is held."""
        return (self._cache.bytes if self._cache else 0) + sum(mark.bytes for mark in self._marks)


def image_digests(features_NTD: torch.Tensor | None) -> tuple[str, ...]:
    """Digests the features of each image."""
    if features_NTD is None:
        return ()
    plain = features_NTD.detach().cpu().contiguous().view(torch.uint8)
    return tuple(hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in plain)
