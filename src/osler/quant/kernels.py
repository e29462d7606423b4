"""Which kernels compute: the compiled ones on the best path of this processor, or PyTorch.

The choice is automatic and has a reason, which `osler doctor` shows.
``OSLER_KERNELS`` forces a path by its name: ``amx``, ``avx512-vnni``, ``avx2``,
``portable``, or ``torch`` for none.

Few rows, as at decoding, are always multiplied as int8, with one scale for 32
inputs; a row's result is then the same to the bit whatever rows are multiplied
beside it (up to `osler.quant.packed.FEW_ROWS`), on every path. For many rows, as
of a prompt, ``amx`` takes tiles of int8 where weights have 4 bits, so that the
activations lose less than the weights do. Where they have 8, it measures at each
product what rounding to int8 would add to the rows, and once what it would add to
the weight. Where that is more than 1.3%, rows and
weights are mixed by a Hadamard matrix first; where it is still more than 1.7%
(``kMostError`` and ``kMostHadamardError`` in ``native/many_rows.h``), tiles of
bfloat16 multiply, as they always do where weights have offsets or fewer than 256
inputs. So a row may differ by about as much beside other rows.
``amx-int8`` and ``amx-bf16`` take one kind for all, unmixed.

Legend: M rows of activations, N outputs, K inputs.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from osler.errors import CapacityError, ModelError, RequestError, unknown_name
from osler.model.pack import gate
from osler.quant import packed
from osler.quant.build import library_path, require_own_file
from osler.quant.packed import PackedWeight

VARIABLE = "OSLER_KERNELS"
PATHS = ("portable", "avx2", "avx512-vnni", "amx-bf16", "amx-int8", "amx")
"""In the order of the library's numbers, slowest first."""

_ABI = 11
_UNKNOWN = 1
_TYPES = {torch.float32: 0, torch.bfloat16: 1}


class WeightStruct(ctypes.Structure):
    """``OslerWeight`` of ``native/kernels.h``."""

    _fields_ = (
        ("codes", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("offset", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("padded", ctypes.c_int64),
        ("bits", ctypes.c_int32),
        ("group", ctypes.c_int32),
        ("known", ctypes.c_void_p),
    )


class TorchKernels:
    """Products in PyTorch: dequantize a few outputs, multiply, go on."""

    name = build = "torch"

    def prepare(self, weight: PackedWeight) -> PackedWeight:
        """Returns what `linear` takes."""
        return weight

    def linear(self, x_MK: Tensor, weight: PackedWeight) -> Tensor:
        """Returns (M, N)."""
        return packed.matmul(x_MK, weight)

    def gated(self, x_MK: Tensor, weight: PackedWeight) -> Tensor:
        """Returns ``gelu(first half of the outputs) * second half``, (M, N / 2)."""
        return gate(packed.matmul(x_MK, weight))

    def take_rows(self, weight: PackedWeight, ids: Tensor, *, dtype: torch.dtype) -> Tensor:
        """Returns rows of a weight, (M, K)."""
        return packed.take_rows(weight, ids).to(dtype)

    def widen(self, weight: PackedWeight, *, dtype: torch.dtype) -> Tensor:
        """Returns the whole weight, (N, K)."""
        return packed.dequantize(weight).to(dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A weight as the library takes it, and the tensors that keep its memory.

    Attributes:
        struct: Points to the other two. weight: What was prepared.
        known: uint8, where products of many rows keep what they found of the weight; empty where they look for nothing.
    """

    struct: WeightStruct
    weight: PackedWeight
    known: Tensor


class NativeKernels:
    """Products by the compiled library.

    Args:
        library: Loaded. number: Of the path, an index into `PATHS`.

    Attributes:
        build: The path and the library's file, whose name follows from its sources: what the bits of results depend on.
    """

    def __init__(self, library: ctypes.CDLL, *, number: int) -> None:
        self._linear = library.osler_linear
        self._known_bytes = library.osler_known_bytes
        self._gated = library.osler_gated
        self._biased = library.osler_biased
        self._rows = library.osler_rows
        self._token = library.osler_token
        self._heads = library.osler_heads
        self._norm = library.osler_norm
        self._tower_turn = library.osler_tower_turn
        self._tower_unpack = library.osler_tower_unpack
        self._tower_rows = library.osler_tower_rows
        self._tower_linear = library.osler_tower_linear
        self._attend = library.osler_attend
        self._number = number
        self.name = PATHS[number]
        self.build = f"{self.name} {Path(library._name).stem}"

    def prepare(self, weight: PackedWeight) -> Prepared:
        """Returns what `linear` takes; the weight must have passed `PackedWeight.check`."""
        struct = WeightStruct(
            codes=weight.codes.data_ptr(),
            scale=weight.scale.data_ptr(),
            offset=None if weight.offset is None else weight.offset.data_ptr(),
            rows=weight.rows,
            columns=weight.columns,
            padded=weight.padded,
            bits=weight.format.bits,
            group=weight.group,
        )
        known = torch.zeros(self._known_bytes(self._number, ctypes.byref(struct)), dtype=torch.uint8, device="cpu")
        if len(known):
            struct.known = known.data_ptr()
        return Prepared(struct, weight, known)

    def linear(self, x_MK: Tensor, prepared: Prepared) -> Tensor:
        """Returns (M, N); float32 or bfloat16 on the CPU, as ``x_MK`` has it."""
        return self._multiply(self._linear, x_MK, prepared=prepared, outputs=prepared.weight.rows)

    def gated(self, x_MK: Tensor, prepared: Prepared) -> Tensor:
        """Returns ``gelu(first half of the outputs) * second half``, (M, N / 2)."""
        return self._multiply(self._gated, x_MK, prepared=prepared, outputs=prepared.weight.rows // 2)

    def biased(
        self, x_MK: Tensor, prepared: Prepared, *, bias_N: Tensor | None, activation: Literal["none", "gelu"]
    ) -> Tensor:
        """Returns ``act(product + bias)``, (M, N); GELU by its tanh approximation.

        In one pass, added to sums in float32, for more than a few rows (`FEW_ROWS`) and weights of 8 bits on
        ``avx512-vnni``; elsewhere added to what the product was rounded to.
        """
        if bias_N is not None:
            bias_N = bias_N.to(x_MK.dtype).contiguous()
        if self.vectors and prepared.weight.format.bits == 8:
            x_MK = x_MK.contiguous()
            out_MN = torch.empty(x_MK.shape[0], prepared.weight.rows, dtype=x_MK.dtype)
            status = self._biased(
                self._number,
                ctypes.byref(prepared.struct),
                x_MK.data_ptr(),
                _TYPES[x_MK.dtype],
                x_MK.shape[0],
                None if bias_N is None else bias_N.data_ptr(),
                activation == "gelu",
                out_MN.data_ptr(),
                torch.get_num_threads(),
            )
            if status != _UNKNOWN:
                _require_done(status)
                return out_MN
        out_MN = self.linear(x_MK, prepared)
        if bias_N is not None:
            out_MN = out_MN + bias_N
        return F.gelu(out_MN, approximate="tanh") if activation == "gelu" else out_MN

    def _multiply(self, function: Callable[..., int], x_MK: Tensor, *, prepared: Prepared, outputs: int) -> Tensor:
        x_MK = x_MK.contiguous()
        out_MN = torch.empty(x_MK.shape[0], outputs, dtype=x_MK.dtype)
        status = function(
            self._number,
            ctypes.byref(prepared.struct),
            x_MK.data_ptr(),
            _TYPES[x_MK.dtype],
            x_MK.shape[0],
            out_MN.data_ptr(),
            torch.get_num_threads(),
        )
        _require_done(status)
        return out_MN

    def token(self, token: ctypes.Structure, x_LD: Tensor) -> None:
        """Runs a few tokens through all layers, see `osler.quant.token`; ``x_LD`` is changed in place."""
        _require_done(self._token(self._number, ctypes.byref(token), x_LD.data_ptr(), torch.get_num_threads()))

    def heads(self, heads: ctypes.Structure) -> None:
        """Places the heads of a prompt, see `osler.quant.prompt`."""
        _require_done(self._heads(self._number, ctypes.byref(heads), torch.get_num_threads()))

    def norm(self, norm: ctypes.Structure) -> None:
        """Normalizes the rows of a prompt, see `osler.quant.prompt`."""
        _require_done(self._norm(self._number, ctypes.byref(norm), torch.get_num_threads()))

    @property
    def tiles(self) -> bool:
        """Whether this path has tiles of bfloat16, which the fused layers of the image tower need."""
        return self.name.startswith("amx")

    @property
    def vectors(self) -> bool:
        """Whether this path has AVX-512 VNNI and no tiles: then bias, GELU and attention run by vectors."""
        return self.name == "avx512-vnni"

    @property
    def attends(self) -> bool:
        """Whether this path has an attention of its own."""
        return self.tiles or self.vectors

    def tower_tiles(self, weight_NK: Tensor) -> Tensor:
        """Lays a matrix of the image tower (bfloat16) into tiles, for `tower_linear`."""
        rows, columns = weight_NK.shape
        tiles = torch.empty(-(-rows // 32) * 32 * -(-columns // 32) * 32, dtype=torch.bfloat16)
        place = weight_NK.contiguous().data_ptr()
        _require_done(self._tower_turn(self._number, place, rows, columns, tiles.data_ptr(), torch.get_num_threads()))
        return tiles

    def stored_tiles(self, prepared: Prepared) -> Tensor:
        """Lays a stored matrix of the image tower into tiles of bfloat16, as `tower_tiles` does."""
        weight = prepared.weight
        tiles = torch.empty(-(-weight.rows // 32) * 32 * weight.padded, dtype=torch.bfloat16)
        struct = ctypes.byref(prepared.struct)
        _require_done(self._tower_unpack(self._number, struct, tiles.data_ptr(), torch.get_num_threads()))
        return tiles

    def tower_rows(self, rows: ctypes.Structure) -> None:
        """Lays rows of the image tower out in tiles, see `osler.quant.tower`."""
        _require_done(self._tower_rows(self._number, ctypes.byref(rows), torch.get_num_threads()))

    def tower_linear(self, product: ctypes.Structure) -> None:
        """Runs a product of the image tower, see `osler.quant.tower`."""
        _require_done(self._tower_linear(self._number, ctypes.byref(product), torch.get_num_threads()))

    def attend(self, attention: ctypes.Structure) -> None:
        """Runs an attention, see `osler.quant.attention`."""
        _require_done(self._attend(self._number, ctypes.byref(attention), torch.get_num_threads()))

    def take_rows(self, prepared: Prepared, ids: Tensor, *, dtype: torch.dtype) -> Tensor:
        """Returns rows of a weight, (M, K)."""
        ids = ids.to(torch.int64).contiguous()
        out_MK = torch.empty(len(ids), prepared.weight.columns, dtype=dtype)
        status = self._rows(ctypes.byref(prepared.struct), ids.data_ptr(), len(ids), out_MK.data_ptr(), _TYPES[dtype])
        if status == 3:
            raise IndexError(f"ids run from {int(ids.min())} to {int(ids.max())}, and there are {prepared.weight.rows}")
        assert status == 0, f"the kernels refused a call: {status}"
        return out_MK

    def widen(self, prepared: Prepared, *, dtype: torch.dtype) -> Tensor:
        """Returns the whole weight, (N, K)."""
        return self.take_rows(prepared, torch.arange(prepared.weight.rows), dtype=dtype)


Kernels = NativeKernels | TorchKernels


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelChoice:
    """Which kernels compute, and why."""

    kernels: Kernels
    reason: str


def choose_kernels(wish: str | None = None, *, library: Path | None = None) -> KernelChoice:
    """Chooses the fastest kernels that are here.

    Args:
        wish: A path by its name, ``"torch"``, or ``"auto"``; ``None`` reads ``$OSLER_KERNELS``.
        library: The compiled kernels; the user's own if not given.

    Raises:
        RequestError: If the name is unknown, or the path is asked for and not here.
    """
    wish = wish or os.environ.get(VARIABLE) or "auto"
    if wish not in ("auto", "torch", *PATHS):
        raise unknown_name("kernels", name=wish, known=("auto", "torch", *PATHS))
    if wish == "torch":
        return KernelChoice(kernels=TorchKernels(), reason="asked for")
    path = library or library_path()
    if not path.is_file():
        reason = "the kernels are not built; 'osler build-kernels' builds them"
        return _without(wish, reason=reason)
    try:
        loaded = _load(str(path), path.stat().st_mtime_ns)
    except ModelError as error:
        return _without(wish, reason=str(error))
    here = [number for number in range(len(PATHS)) if loaded.osler_paths() >> number & 1]
    if wish == "auto":
        missing = ", ".join(name for number, name in enumerate(PATHS) if number not in here)
        reason = f"the fastest that this processor and its system have{f'; not here: {missing}' if missing else ''}"
        return KernelChoice(kernels=NativeKernels(loaded, number=here[-1]), reason=reason)
    number = PATHS.index(wish)
    if number not in here:
        raise RequestError(
            f"The kernels {wish!r} do not run on this processor.",
            allowed=f"Here: {', '.join([PATHS[n] for n in here])}, torch.",
            next_step=f"Unset {VARIABLE}, or name one of these.",
        )
    return KernelChoice(kernels=NativeKernels(loaded, number=number), reason="asked for")


def _require_done(status: int) -> None:
    if status == 2:
        raise CapacityError("A product ran out of memory.", next_step="Close other programs or ask a shorter question.")
    assert status == 0, f"the kernels refused a call: {status}"


def _without(wish: str, *, reason: str) -> KernelChoice:
    if wish != "auto":
        raise RequestError(
            f"The kernels {wish!r} were asked for, but {reason}.",
            allowed="Without them: torch.",
            next_step="Run: osler build-kernels",
        )
    return KernelChoice(kernels=TorchKernels(), reason=reason)


@lru_cache(maxsize=4)
def _load(path: str, changed: int) -> ctypes.CDLL:
    """Loads a library that only this user could have written."""
    require_own_file(path)
    try:
        library = ctypes.CDLL(path)
        for product in (library.osler_linear, library.osler_gated):
            product.argtypes = (
                ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_void_p,
                ctypes.c_int,
            )  # fmt: skip
        library.osler_biased.argtypes = (
            ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int,
            ctypes.c_void_p, ctypes.c_int,
        )  # fmt: skip
        library.osler_rows.argtypes = (
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int,
        )  # fmt: skip
        library.osler_token.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
        library.osler_heads.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        library.osler_norm.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        library.osler_tower_turn.argtypes = (
            ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int,
        )  # fmt: skip
        library.osler_tower_unpack.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
        library.osler_tower_rows.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        library.osler_tower_linear.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        library.osler_attend.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        library.osler_known_bytes.argtypes = (ctypes.c_int, ctypes.c_void_p)
        library.osler_known_bytes.restype = ctypes.c_int64
        library.osler_paths.restype = ctypes.c_uint
        library.osler_use_openmp.argtypes = (ctypes.c_void_p,) * 3
        abi = library.osler_abi()
    except (OSError, AttributeError) as error:
        raise ModelError(f"the kernels at {path!r} cannot be loaded: {error}") from error
    if abi != _ABI:
        raise ModelError(f"the kernels at {path!r} have the interface {abi}, not {_ABI}")
    _share_threads(library)
    return library


def _share_threads(library: ctypes.CDLL) -> None:
    """Has the kernels run on the threads of PyTorch's own OpenMP library, where it is GNU's."""
    for place in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*")):
        try:
            openmp = ctypes.CDLL(str(place))
            functions = [
                ctypes.cast(getattr(openmp, name), ctypes.c_void_p)
                for name in ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
            ]
        except (OSError, AttributeError):
            continue
        library.osler_use_openmp(*functions)
        return
