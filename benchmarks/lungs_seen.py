"""How often the box head sees lungs in held-out pictures of every kind: where they are, and where they are not.

    python -m benchmarks.lungs_seen --data DATA

Findings are read only where a lung is seen, so a lung that is seen by mistake gives findings to a picture of something
else. Pictures are drawn from the book of the held-out split; some come twice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from osler.errors import OslerError, RequestError
from osler.train.perception_data import states_of
from osler.train.picture_book import open_book
from osler.train.presence import LUNGS, draw_pictures, presence_states
from osler.weights import load_checkpoint

_PICTURES, _SEED = 400, 7


@torch.no_grad()
def lungs_seen(model: str, *, data: Path) -> str:
    """A sentence on both kinds of pictures.

    Raises:
        RequestError: If the weights have no box head.
        OslerError: If the weights or the data cannot be read.
    """
    checkpoint = load_checkpoint(model, dtype="float32")
    heads, tower = checkpoint.model.heads, checkpoint.model.vision
    if heads is None or tower is None:
        raise RequestError(f"{model!r} has no box head.", allowed="Weights with heads, such as osler-mini.")
    book = open_book(data, split="held-out", preprocess=checkpoint.preprocess)
    pixels, chest = draw_pictures(book, count=_PICTURES, size=checkpoint.preprocess.image_size, seed=_SEED)
    text = states_of(list(LUNGS), checkpoint=checkpoint)
    states = presence_states(
        heads,
        tower=tower,
        pixels_NSS3=pixels,
        text_QC=torch.stack([text[label] for label in LUNGS]),
        preprocess=checkpoint.preprocess,
    )
    seen = (heads.boxes.presence(states)[..., 0] > 0).any(1)
    return (
        f"Lungs seen in {int((seen & chest).sum())} of {int(chest.sum())} frontal chest X-rays, and by mistake in "
        f"{int((seen & ~chest).sum())} of {int((~chest).sum())} other pictures."
    )


def main() -> None:
    """Reads the command line and prints the sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="osler-mini")
    given = parser.parse_args()
    try:
        print(lungs_seen(given.model, data=given.data))
    except OslerError as error:
        raise SystemExit(f"lungs_seen: {error}") from error


if __name__ == "__main__":
    main()
