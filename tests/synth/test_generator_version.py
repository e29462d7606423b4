"""Version 4 of the generator makes these reports, on any machine, with any pyarrow.

If a change of facts, phrases or rendering is meant, raise ``GENERATOR_VERSION`` in
``osler.synth.shards`` (collections that were written are then not mixed with new ones) and
pin what this test prints.
"""

from __future__ import annotations

import hashlib

import numpy as np

from osler.synth.shards import GENERATOR_VERSION, render_batch

PINNED = {"4": "3696173c3cce402a8c8d6fb3084b067e1d7f8b0e816d3537cf0ad18b07c8032e"}


def test_this_version_makes_the_reports_it_made() -> None:
    digest = hashlib.sha256()
    for batch in (
        render_batch(seed=0, patients=np.arange(300)),
        render_batch(seed=5, patients=np.arange(10**7, 10**7 + 100)),
    ):
        for row in batch.to_pylist():
            digest.update(repr(sorted(row.items())).encode())
    assert digest.hexdigest() == PINNED[GENERATOR_VERSION]
