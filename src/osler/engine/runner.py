"""One forward pass at a time: the next part of a prompt, one token of each row, or a few of one row.

Legend: B rows, L tokens, N images, T soft tokens of an image, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from osler.engine.kv_cache import CachePoint, KVCache
from osler.engine.lean_step import LeanStep
from osler.engine.native_step import NativeStep
from osler.model.adapter import AdapterMemory
from osler.model.config import OslerConfig
from osler.model.decoder import Decoder
from osler.model.osler import Osler, image_blocks
from osler.quant.linear import QuantLinear
from osler.quant.packed import FEW_ROWS


class Runner:
    """Reads prompts and makes single steps with a cache.

    Args:
        model: The network, in evaluation mode; packed already if it shall be
            (see `osler.engine.packing`).
    """

    def __init__(self, model: Osler) -> None:
        self.model = model
        self._single = _single_step(model.decoder)

    @property
    def config(self) -> OslerConfig:
        """Of the network."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return self.model.dtype

    @property
    def backend(self) -> str:
        """The library that computes."""
        return "torch"

    @property
    def place(self) -> str:
        """The kind of device, such as ``"cpu"``."""
        return self.device.type

    @property
    def kernels(self) -> dict[str, str]:
        """What decides the last bits of a result, beside weights and inputs."""
        if self.device.type == "cuda":
            place = torch.cuda.get_device_name(self.device)
        else:
            amx = torch.cpu._is_amx_tile_supported()
            place = f"{self.device.type} {torch.backends.cpu.get_cpu_capability()} amx={amx}"
        found = {"device": place, "torch": torch.__version__, "threads": str(torch.get_num_threads())}
        head = self.model.decoder.head
        return found | {"products": head.kernels.build} if isinstance(head, QuantLinear) else found

    def new_cache(self, *, planned: int) -> KVCache:
        """Makes an empty cache for this many tokens."""
        return KVCache(self.config.decoder, planned=planned)

    def restored_cache(
        self, tensors: Mapping[str, torch.Tensor], *, length: int, planned: int
    ) -> tuple[KVCache, CachePoint]:
        """Builds the cache that `KVCache.saved` described, and its mark."""
        return KVCache.restored(self.config.decoder, tensors, length=length, planned=planned, device=self.device)

    @torch.inference_mode()
    def score(self, token_ids_1L: torch.Tensor, *, cache: KVCache, memory: AdapterMemory | None = None) -> torch.Tensor:
        """Reads text and returns the logits after each of its tokens, (L, V)."""
        token_ids_1L = token_ids_1L.to(self.device)
        start = cache.length
        positions_1L = torch.arange(start, start + token_ids_1L.shape[1], device=self.device)[None]
        hidden_1LD = self.model.decoder(
            self.model.embed(token_ids_1L), positions_BL=positions_1L, cache=cache, memory=memory
        )
        return self.model.logits(hidden_1LD)[0]

    @torch.inference_mode()
    def read(
        self,
        token_ids_1L: torch.Tensor,
        *,
        features_NTD: torch.Tensor | None,
        cache: KVCache,
        memory: AdapterMemory | None = None,
    ) -> torch.Tensor:
        """Reads the next part of one prompt, whose images are whole.

        Args:
            token_ids_1L: Ids of the part. features_NTD: Of its images.
            cache: Holds what came before; the part is added.
            memory: What the adapter reads, if the network has one.

        Returns:
            Logits after the last token, (1, V).
        """
        start, count = cache.length, token_ids_1L.shape[1]
        positions_1L = torch.arange(start, start + count, device=self.device)[None]
        token_ids_1L = token_ids_1L.to(self.device)
        blocks = None
        if features_NTD is not None:
            blocks = image_blocks(token_ids_1L, image_token=self.model.config.tokens.image)
        hidden_11D = self.model.decoder(
            self.model.embed(token_ids_1L, features_NTD),
            positions_BL=positions_1L,
            cache=cache,
            image_blocks_BL=blocks,
            memory=memory,
            last_only=True,
        )
        return self.model.logits(hidden_11D)[:, 0]

    @torch.inference_mode()
    def step(self, token_ids_B: torch.Tensor, *, cache: KVCache, memory: AdapterMemory | None = None) -> torch.Tensor:
        """Adds one token to each row and returns the logits after it, (B, V); ``memory`` as for `read`."""
        if self._single is not None and len(token_ids_B) == 1 and memory is None:
            return self._few(token_ids_B, cache=cache)
        positions_B = torch.full_like(token_ids_B, cache.length, device=self.device)
        if cache.padding_B is not None:
            positions_B = positions_B - cache.padding_B
        hidden_B1D = self.model.decoder(
            self.model.decoder.embed(token_ids_B[:, None].to(self.device)),
            positions_BL=positions_B[:, None],
            cache=cache,
            memory=memory,
        )
        return self.model.logits(hidden_B1D)[:, 0]

    @torch.inference_mode()
    def steps(self, token_ids_L: torch.Tensor, *, cache: KVCache, memory: AdapterMemory | None = None) -> torch.Tensor:
        """Adds tokens to the only row and returns the logits after each, (L, V); ``memory`` as for `read`.

        Where `repeats` is true they are, to the bit, those of one `step` after the other.
        """
        if self._single is None or memory is not None:
            return self.score(token_ids_L[None], cache=cache, memory=memory)
        return torch.cat([self._few(part, cache=cache) for part in token_ids_L.split(FEW_ROWS)])

    def go_on(self, token_ids_L: torch.Tensor, *, cache: KVCache, memory: AdapterMemory | None = None) -> torch.Tensor:
        """Adds tokens that an answer has, as `steps`; returns the logits after the last one, (1, V)."""
        return self.steps(token_ids_L, cache=cache, memory=memory)[-1:]

    def repeats(self, *, memory: AdapterMemory | None) -> bool:
        """Whether `steps` gives to the bit what `step` gives."""
        return self._single is not None and memory is None

    def _few(self, token_ids_L: torch.Tensor, *, cache: KVCache) -> torch.Tensor:
        assert self._single is not None
        return self._single.logits(self._single.hidden(token_ids_L, cache=cache))


def _single_step(decoder: Decoder) -> NativeStep | LeanStep | None:
    """The shortest way for a few tokens of one row; ``None`` where only the modules themselves know the decoder."""
    if NativeStep.fits(decoder):
        return NativeStep(decoder)
    return LeanStep(decoder) if LeanStep.fits(decoder) else None
