"""Where a prompt may be cut: never inside an image, always after the last one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHUNK = 512
"""Tokens read in one pass, unless an image is longer."""


def chunk_ends(token_ids: Sequence[int] | np.ndarray, *, image_token: int, chunk: int = CHUNK) -> list[int]:
    """Cuts a prompt into parts that are read one after the other.

    The tokens of an image see each other, so an image stays in one part. There
    is always a cut after the last image: what stands before it is the study,
    what follows is the question, and only the question changes next time. Cuts
    depend on nothing but the ids, so a reused prefix was read in the same parts
    as it would be now.

    Args:
        token_ids: The prompt.
        image_token: Id of a soft token.
        chunk: Tokens of a part; an image longer than it makes a longer part.

    Returns:
        The end of each part, rising, the last one the length of the prompt.
    """
    ids = np.asarray(token_ids)
    is_image = np.concatenate(([False], ids == image_token, [False]))
    edges = np.flatnonzero(is_image[1:] != is_image[:-1])
    starts, stops = edges[::2], edges[1::2]
    study_end = min(int(stops[-1]) + 1, len(ids)) if len(stops) else 0
    ends: list[int] = []
    begin = 0
    while begin < len(ids):
        end = min(begin + chunk, len(ids))
        if begin < study_end < end:
            end = study_end
        inside = np.flatnonzero((starts < end) & (end < stops))
        if len(inside):
            image = int(inside[0])
            end = int(starts[image]) if starts[image] > begin else int(stops[image])
        ends.append(end)
        begin = end
    return ends


def study_length(token_ids: Sequence[int] | np.ndarray, *, image_token: int) -> int:
    """Counts the tokens up to the end of the last image; 0 where there is none."""
    places = np.flatnonzero(np.asarray(token_ids) == image_token)
    return min(int(places[-1]) + 2, len(token_ids)) if len(places) else 0
