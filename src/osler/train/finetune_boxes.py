"""The boxes of a user's table in a fine-tuning: which of them a box head learns, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from osler.errors import DataError, RequestError
from osler.train.box_scans import BoxScans, read_box_scans
from osler.train.checkpoints import save_json
from osler.train.distributed import Place
from osler.train.finetune_model import Learner, ship_result, write_result
from osler.train.finetune_state import RUN_FOLDER, SUMMARY
from osler.train.local_box_head import TaughtBoxes, taught_boxes
from osler.train.local_table import LocalRow, LocalTable, Unreadable, list_unreadable
from osler.train.recipe import FinetuneRecipe
from osler.weights.checkpoint import Checkpoint
from osler.weights.skills import skills_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearnedBoxes:
    """A head that learned from a table, and the rows that it could not use."""

    taught: TaughtBoxes
    unreadable: tuple[Unreadable, ...]


def rows_of_head(recipe: FinetuneRecipe, *, table: LocalTable) -> tuple[LocalRow, ...]:
    """The rows that a box head learns; the decoder learns the others.

    Raises:
        RequestError: If the recipe wants a head, and the base has none, or all weights learn.
    """
    rows = tuple(row for row in table.rows if row.label)
    if not rows or recipe.boxes == "text":
        return ()
    able = "boxes" in skills_of(recipe.base) and recipe.method != "full"
    if recipe.boxes == "head":
        if not able:
            raise RequestError(
                "All weights learn, and boxes are to be a head's."
                if recipe.method == "full"
                else f"The weights {recipe.base!r} have no box head that could learn more labels.",
                next_step='Set boxes = "text", which teaches the decoder.',
            )
        return rows
    several = any(count > 1 for count in Counter((row.path, row.label) for row in rows).values())
    return rows if able and not several else ()


def boxed_scans(
    recipe: FinetuneRecipe,
    *,
    rows: Sequence[LocalRow],
    checkpoint: Checkpoint,
    place: Place,
    listener: Callable[[Mapping[str, float]], None] | None,
) -> BoxScans:
    """Opens the scans of the rows of a head.

    Raises:
        RequestError: If the base would forget labels that it was taught.
        DataError: If no box is left to train on.
    """
    assert checkpoint.model.config.heads is not None
    slices = checkpoint.model.config.heads.slices

    def on_progress(done: int, total: int) -> None:
        if listener is not None and place.first:
            listener({"scans with boxes": done, "scans with boxes in all": total})

    heads = checkpoint.model.config.heads
    if lost := sorted(set(heads.taught) - {row.label for row in rows}):
        raise RequestError(
            f"The base was taught {', '.join(map(repr, lost))}, which the table does not hold: it would be forgotten.",
            next_step="Add the rows that it was taught by, or start from the base of that folder.",
        )
    scans = read_box_scans(
        rows, preprocess=checkpoint.preprocess, slices=slices, share=recipe.kept_out, on_progress=on_progress
    )
    if not any(scan.item.boxes and not scan.kept_out for scan in scans.scans):
        reasons = sorted({entry.reason.rstrip(".") for entry in scans.unreadable})
        raise DataError(
            "No box of the table is left to train on.",
            allowed=f"Reasons: {'; '.join(reasons[:4]) or 'all patients are kept out'}.",
            next_step='Mend the table, or keep out fewer patients; boxes = "text" teaches the decoder.',
        )
    return scans


def learn_boxes(
    recipe: FinetuneRecipe,
    *,
    scans: BoxScans,
    checkpoint: Checkpoint,
    folder: Path,
    place: Place,
    listener: Callable[[Mapping[str, float]], None] | None,
) -> LearnedBoxes:
    """Teaches a head on the first process; the others read it.

    Args:
        folder: Of the run.

    Raises:
        DataError: If encoding fails.
        TrainingError: If a loss is not a number.
        CheckpointError: If a file is damaged or cannot be written.
    """

    def learned() -> TaughtBoxes:
        return taught_boxes(
            scans,
            checkpoint=checkpoint,
            teaching=recipe.box_head,
            folder=folder / "boxes",
            seed=recipe.seed,
            workers=recipe.workers,
            listener=listener if place.first else None,
        )

    taught = learned() if place.first else None
    place.wait()
    return LearnedBoxes(taught=taught or learned(), unreadable=scans.unreadable)


def write_boxes(
    recipe: FinetuneRecipe, *, learner: Learner, table: LocalTable, boxes: LearnedBoxes, place: Place
) -> Path:
    """Writes the result where a box head is all that learned; the decoder stays as it is.

    Raises:
        CheckpointError: If a file cannot be written.
    """
    out, bad = Path(recipe.out), (*table.unreadable, *boxes.unreadable)
    if place.first:
        list_unreadable(out / RUN_FOLDER / "unreadable.csv", entries=bad)
        write_result(recipe, learner=learner, weights=None, skills=frozenset({"boxes"}), boxes=boxes.taught)
        if recipe.ship:
            ship_result(recipe, learner=learner)
        about = {
            "rows": len(table.rows) + len(table.unreadable),
            "unreadable": len(bad),
            "updates": recipe.box_head.optimizer.steps,
            "kept_out": {"boxes": asdict(boxes.taught.measured)},
        }
        save_json(out / RUN_FOLDER / SUMMARY, about)
    place.wait()
    return out
