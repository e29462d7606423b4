"""The preprocessing contract: one object shared by training, commands and server.

A checkpoint stores its contract as JSON. Whoever feeds the checkpoint compares
the contract's hash with its own and stops at a difference, so weights never
meet pixels or prompts that they were not trained on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Protocol, Self

from osler.errors import CheckpointError, PreprocessMismatchError, RequestError
from osler.study import Window

Sampling = Literal["published", "equidistant"]
Aspect = Literal["stretch", "pad-square"]
PromptStyle = Literal["labeled", "published"]
Orientation = Literal["radiological", "as-stored"]
SlideTiles = Literal["published", "spread"]
VisualTokens = int | Literal["slices"] | None
"""A budget of tokens for volumes, ``"slices"`` to read them slice by slice, ``None`` for what the weights say."""

CONTRACT_VERSION = 2
_HASH_SHOWN = 16
_CT_WINDOWS = (Window(low=-1024, high=1024), Window(low=-135, high=215), Window(low=0, high=80))
_CHOICES: dict[str, tuple[str, ...]] = {
    "sampling": ("published", "equidistant"),
    "mr": ("min-max",),
    "grey": ("window-or-percentile",),
    "resize": ("bilinear",),
    "orientation": ("radiological", "as-stored"),
    "aspect": ("stretch", "pad-square"),
    "prompt": ("labeled", "published"),
    "tiles": ("published", "spread"),
}
_LEAST = {
    "image_size": 0, "image_tokens": 0, "max_slices": 1, "max_tiles": 1,
    "visual_tokens": 0, "slab_depth": 1, "max_slabs": 1,
}  # fmt: skip
# Fields that came later: a contract that does not name them means these values, and keeps its hash.
_LATER: dict[str, Any] = {
    "tiles": "published", "max_tiles": 126, "visual_tokens": 0, "slab_depth": 4, "max_slabs": 85,
}  # fmt: skip


class _VisionSize(Protocol):
    @property
    def image_size(self) -> int: ...


class ImageModelConfig(Protocol):
    """What the contract needs to know of a network's configuration."""

    @property
    def name(self) -> str:
        """The variant."""
        ...

    @property
    def image_tokens(self) -> int:
        """Soft tokens an image takes."""
        ...

    @property
    def vision(self) -> _VisionSize | None:
        """The image tower, ``None`` for a text-only network."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """Everything that decides which numbers a network is fed for a given study.

    Source of the defaults: MedGemma 1.5 technical report (arXiv 2604.05081)
    and its CT notebook; the image processor of ``transformers`` for Gemma 3.

    Args:
        image_size: Side of the square the tower sees, px; 0 for a text-only network.
        image_tokens: Soft tokens an image takes in the prompt.
        max_slices: Most images in one prompt, all series together.
        sampling: How slices are picked from a longer volume: ``"published"`` (the notebook's formula,
            which never takes the first slice) or ``"equidistant"`` (first and last included).
        ct_windows: HU windows shown as red, green and blue.
        mr: Scaling of MR and of volumes without HU: ``"min-max"`` over the whole volume.
        grey: Scaling of a grey image. ``"window-or-percentile"``: 8-bit pixels as they are, else the
            file's own display window, else the two percentiles.
        grey_percentiles: Percentiles shown black and white where the file has no window.
        mean: Taken off after scaling to 0..1, all channels.
        std: Divided by after that.
        resize: ``"bilinear"``: triangle filter with antialiasing on uint8, as Pillow computes it.
        orientation: ``"radiological"``: slices that lie in a patient are flipped or transposed to the
            radiologist's view (`osler.prepare.orientation`), which leaves the usual DICOM slice as it is;
            or ``"as-stored"``.
        aspect: ``"stretch"`` to the square, or ``"pad-square"`` with zeros, centered, before resizing.
        prompt: ``"published"``: images and ``SLICE n`` only, order is the only sign of time.
            ``"labeled"``: Osler's own: where there are several time points or series, a line with the
            date or number stands before each.
        instruction: Text in front of the first slice of a volume; empty for none. It names neither
            modality nor body region, so that the model has to look.
        version: Version of the recipe behind these fields.
        tiles: Which tiles of a whole slide are shown: ``"published"`` or ``"spread"`` (`osler.prepare.tiles`).
        max_tiles: Most tiles of slides in one prompt; images and slices of other series count towards it.
        visual_tokens: Most tokens of all volumes of a prompt together, which are then read as slabs
            (`osler.prepare.volume_slabs`); 0 reads them slice by slice.
        slab_depth: Slices that the tower reads as one, a power of two.
        max_slabs: Most slabs of all volumes of a prompt together.

    Raises:
        RequestError: If a field has a value that does not exist or makes no sense.
    """

    image_size: int
    image_tokens: int
    max_slices: int = 85
    sampling: Sampling = "published"
    ct_windows: tuple[Window, Window, Window] = _CT_WINDOWS
    mr: Literal["min-max"] = "min-max"
    grey: Literal["window-or-percentile"] = "window-or-percentile"
    grey_percentiles: tuple[float, float] = (0.1, 99.9)
    mean: float = 0.5
    std: float = 0.5
    resize: Literal["bilinear"] = "bilinear"
    orientation: Orientation = "radiological"
    aspect: Aspect = "stretch"
    prompt: PromptStyle = "labeled"
    instruction: str = "Please review the slices provided below carefully."
    version: int = CONTRACT_VERSION
    tiles: SlideTiles = "published"
    max_tiles: int = 126
    visual_tokens: int = 0
    slab_depth: int = 4
    max_slabs: int = 85

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise _bad(name, value=getattr(self, name), allowed=f"One of {', '.join(allowed)}.")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise _bad(name, value=value, allowed=f"A whole number, at least {least}.")
        if self.slab_depth & (self.slab_depth - 1):
            raise _bad("slab_depth", value=self.slab_depth, allowed="A power of two, such as 4.")
        if len(self.ct_windows) != 3:
            raise _bad("ct_windows", value=self.ct_windows, allowed="Three windows, for red, green and blue.")
        low, high = self.grey_percentiles
        if not 0 <= low < high <= 100:
            raise _bad("grey_percentiles", value=self.grey_percentiles, allowed="0 <= low < high <= 100.")
        if not self.std > 0:
            raise _bad("std", value=self.std, allowed="Above zero.")

    def to_json(self) -> str:
        """Returns the contract as JSON text with sorted keys."""
        return json.dumps(_told(self), indent=2, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads a contract from JSON text.

        Raises:
            CheckpointError: If the text is not JSON, or a field is unknown, missing or wrong.
        """
        try:
            record = json.loads(text)
        except ValueError as error:
            raise _damaged(f"it is not JSON ({error})") from error
        if not isinstance(record, dict):
            raise _damaged("it is not a JSON object")
        known = {field.name for field in fields(cls)}
        unknown, missing = sorted(set(record) - known), sorted(known - set(record) - set(_LATER))
        if unknown or missing:
            raise _damaged(f"unknown fields {unknown}, missing fields {missing}")
        try:
            record["ct_windows"] = tuple(Window(**window) for window in record["ct_windows"])
            record["grey_percentiles"] = tuple(record["grey_percentiles"])
            return cls(**record)
        except (TypeError, ValueError, RequestError) as error:
            raise _damaged(str(error)) from error

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
        canonical = json.dumps(_canonical(_told(self)), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def short_hash(self) -> str:
        """The first 16 digits of `hash`, as shown to people."""
        return self.hash[:_HASH_SHOWN]


def with_visual_tokens(preprocess: Preprocess, wish: VisualTokens) -> Preprocess:
    """Returns the contract with another way to read volumes.

    Args:
        preprocess: Of the weights.
        wish: A budget of tokens for all volumes together, ``"slices"`` to read them slice by slice, or
            ``None`` for what the weights say.

    Raises:
        RequestError: If the budget is not a whole number from 1.
    """
    if wish is None:
        return preprocess
    return replace(preprocess, visual_tokens=0 if wish == "slices" else check_visual_tokens(wish))


def check_visual_tokens(wish: object) -> int:
    """Checks a budget of visual tokens.

    Raises:
        RequestError: If it is not a whole number from 1.
    """
    if isinstance(wish, bool) or not isinstance(wish, int) or wish < 1:
        raise RequestError(
            f"A budget of {wish!r} visual tokens.",
            allowed="A whole number from 1, or slices to read volumes slice by slice.",
            next_step="Try 512; more than a volume has is no mistake.",
        )
    return wish


def preprocess_for(config: ImageModelConfig) -> Preprocess:
    """Returns the contract of a network that has none stored with its weights.

    ``medgemma-1.5-4b`` gets the published recipe; Osler's own networks get the
    same one at their own image size, with equidistant slices and labeled series.
    """
    size = config.vision.image_size if config.vision is not None else 0
    tokens = config.image_tokens if config.vision is not None else 0
    if config.name.startswith("medgemma"):
        return Preprocess(image_size=size, image_tokens=tokens, sampling="published", prompt="published")
    return Preprocess(image_size=size, image_tokens=tokens, sampling="equidistant", prompt="labeled")


def require_same(found: Preprocess, wanted: Preprocess) -> None:
    """Checks that two contracts are the same.

    Args:
        found: The contract stored with the weights.
        wanted: The contract that was asked for.

    Raises:
        PreprocessMismatchError: With both hashes and each field that differs.
    """
    if found.hash == wanted.hash:
        return
    differences = [
        f"{field.name}: {_shown(getattr(found, field.name))} in the checkpoint, "
        f"{_shown(getattr(wanted, field.name))} asked for"
        for field in fields(Preprocess)
        if getattr(found, field.name) != getattr(wanted, field.name)
    ]
    raise PreprocessMismatchError(
        f"The checkpoint was trained with preprocessing {found.short_hash}, but {wanted.short_hash} was asked for "
        f"({'; '.join(differences)}).",
        allowed="Both must be the same.",
        next_step="Use the checkpoint's own preprocess.json, or train with the other contract.",
    )


def _told(contract: Preprocess) -> dict[str, Any]:
    """The fields that are written down: later ones only where they differ from what their absence means."""
    return {name: value for name, value in asdict(contract).items() if name not in _LATER or value != _LATER[name]}


def _canonical(value: Any) -> Any:
    """Numbers as floats, so that 1024 and 1024.0 hash alike."""
    if isinstance(value, dict):
        return {key: _canonical(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(entry) for entry in value]
    return float(value) if isinstance(value, int | float) else value


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(entry, Window) for entry in value):
        return ", ".join(f"[{window.low:g}, {window.high:g}]" for window in value)
    return repr(value)


def _bad(name: str, *, value: Any, allowed: str) -> RequestError:
    return RequestError(f"Preprocessing field {name} is {value!r}.", allowed=allowed)


def _damaged(why: str) -> CheckpointError:
    return CheckpointError(
        f"The preprocessing contract cannot be read: {why}.",
        allowed=f"JSON with the fields of Preprocess, version {CONTRACT_VERSION}.",
        next_step="Get preprocess.json again from where the checkpoint came from.",
    )
