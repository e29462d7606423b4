"""A request that waits for its first token, and the answer that it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from osler.engine.answer_text import AnswerText
from osler.engine.constrained import Rule
from osler.engine.decode import Generated
from osler.engine.generate import Prompt
from osler.prepare import ShownImage, ShownTile
from osler.study import Answer, Evidence, SliceOrigin


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waiting:
    """A request whose images are encoded.

    Args:
        prompt: What the network reads.
        text: Takes the tokens of the answer.
        answer: All that is known before the first token.
        rule: What the answer must follow, if anything.
    """

    prompt: Prompt
    text: AnswerText
    answer: Answer
    rule: Rule | None = None

    @property
    def soft_tokens(self) -> int:
        """Tokens of images in the prompt."""
        features_NTD = self.prompt.features_NTD
        return 0 if features_NTD is None else features_NTD.shape[0] * features_NTD.shape[1]

    def after(self, seconds: Mapping[str, float]) -> Waiting:
        """Adds the time that went into reading and preparing before its turn."""
        spent = self.answer.timings or {}
        both = {stage: spent.get(stage, 0.0) + seconds.get(stage, 0.0) for stage in spent}
        return replace(self, answer=replace(self.answer, timings=both))

    def answered(self, result: Generated, *, notes: Sequence[str] = ()) -> Answer:
        """Completes the answer by what the network wrote, and by notes on the way there."""
        text, answer = self.text, self.answer
        stopped = "stop_string" if text.stopped else result.stopped
        seconds = {"prefill": result.prefill_seconds, "decode": result.decode_seconds}
        counts = {
            "prompt": result.prompt_tokens,
            "images": sum(used.tokens for used in answer.used),
            "reused": result.reused_tokens,
            "answer": len(result.token_ids) - text.thinking_tokens,
        }
        if text.thinking_tokens:
            counts["thinking"] = text.thinking_tokens
        return replace(
            answer,
            text=text.text.strip(),
            stopped=stopped,
            warnings=(*answer.warnings, *notes, *_warnings(text, result=result, stopped=stopped, rule=self.rule)),
            tokens=counts,
            timings=(answer.timings or {}) | seconds,
        )


def evidence_of(image: ShownImage) -> Evidence:
    """Names the file, frame and slice behind an image, and what a reader did to it."""
    if image.tile is not None:
        return _tile_evidence(image, image.tile)
    kind = "image" if image.slice is None else "slice"
    origin = image.origin
    if origin is None:
        return Evidence(kind=kind, series=image.series, slice=image.slice)
    return Evidence(
        kind=kind,
        series=image.series,
        slice=image.slice,
        file=origin.file,
        sop_uid=origin.sop_uid,
        frame=origin.frame + 1 if origin.frames > 1 else None,
        note=_resampled(origin),
    )


def _tile_evidence(image: ShownImage, tile: ShownTile) -> Evidence:
    return Evidence(
        kind="tile",
        series=image.series,
        file=image.origin.file if image.origin is not None else "",
        sop_uid=image.origin.sop_uid if image.origin is not None else "",
        note=f"tile {tile.number}, level {tile.level}, {tile.magnification:.2g}x",
        pixel=tile.pixel,
        slide=tile.mm,
    )


def _resampled(origin: SliceOrigin) -> str:
    """Says how a slice differs from that of its file, where a reader has straightened or filled a stack."""
    notes = []
    if origin.share < 1:
        notes.append(f"interpolated between two slices, {origin.share:.0%} of it from this file")
    if any(abs(pixels) >= 0.05 for pixels in origin.shift):
        notes.append(f"shifted in its plane by {0 - origin.shift[0]:.1f} columns and {0 - origin.shift[1]:.1f} rows")
    return "; ".join(notes)


def _warnings(text: AnswerText, *, result: Generated, stopped: str, rule: Rule | None) -> Iterator[str]:
    if text.thinking:
        yield (
            f"The model was still thinking after {len(result.token_ids)} tokens, so there is no answer: "
            "allow more tokens."
        )
    elif stopped == "max_tokens" and rule is not None and not rule.whole:
        yield (
            f"The answer was cut off after {len(result.token_ids)} tokens, so it does not fulfill its {rule.kind}: "
            "allow more tokens, or bound its texts and lists."
        )
    elif stopped == "max_tokens":
        yield f"The answer was cut off after {len(result.token_ids)} tokens: allow more tokens."
    elif not text.text.strip():
        yield "The model ended its answer without a word."
