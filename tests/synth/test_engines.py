"""Engines hand out shards and pass on what Osler foresees."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import OslerError, RequestError
from osler.extras import import_extra
from osler.synth.engines import run_local, run_ray
from osler.synth.shards import ReportRun, plan_shards

RUN = ReportRun(count=400, shard_patients=64)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_is_the_callers(tmp_path: Path, workers: int) -> None:
    with pytest.raises(OslerError, match="Cannot write"):
        list(run_local(plan_shards(RUN), run=RUN, folder=tmp_path / "absent", workers=workers))


@pytest.mark.slow
def test_an_error_on_a_node_is_the_callers(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the ray engine needs the package ray")
    with pytest.raises(OslerError, match="Cannot write"):
        list(run_ray(plan_shards(RUN), run=RUN, folder=tmp_path / "absent", workers=1))


def test_a_missing_package_is_told_with_the_command() -> None:
    with pytest.raises(RequestError, match=r"'nosuchpackage', which is not installed\. pip install 'osler\[synth\]'"):
        import_extra("nosuchpackage.parquet", extra="synth")
