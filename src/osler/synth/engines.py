"""Who writes the shards: processes of this machine, or a Ray cluster.

Both hand out one shard at a time and yield its record when it is on disk; neither
holds more than a few thousand patients of a shard in memory.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import wait as wait_for
from pathlib import Path

from osler.errors import CapacityError, OslerError
from osler.extras import import_extra
from osler.synth.shards import ReportRun, ShardPlan, ShardRecord, write_shard

_AHEAD = 1  # shards that wait for each worker
_WARNINGS = "PYTHONWARNINGS"
_NO_LEAKS = "ignore::UserWarning:multiprocessing.resource_tracker"


def run_local(plans: Sequence[ShardPlan], *, run: ReportRun, folder: Path, workers: int) -> Iterator[ShardRecord]:
    """Writes shards with processes of this machine."""
    workers = min(workers, len(plans))
    if workers == 1:
        yield from (write_shard(plan, run=run, folder=folder) for plan in plans)
        return
    _start_tracker()
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    waiting: set[Future[ShardRecord]] = set()
    todo = iter(plans)
    try:
        while True:
            for plan in todo:
                with _interrupts_held():
                    waiting.add(pool.submit(write_shard, plan, run=run, folder=folder))
                if len(waiting) >= workers * (1 + _AHEAD):
                    break
            if not waiting:
                return
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise _lost_worker() from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def run_ray(plans: Sequence[ShardPlan], *, run: ReportRun, folder: Path, workers: int) -> Iterator[ShardRecord]:
    """Writes shards with Ray; the folder must be one that every node sees.

    A cluster that ``RAY_ADDRESS`` names is used, otherwise this machine.

    Raises:
        RequestError: If Ray is not installed.
        CapacityError: If a node fails again and again.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = import_extra("ray", extra="ray")
    own = not ray.is_initialized()
    if own:
        _start_ray(ray, workers=workers)
    task = ray.remote(max_retries=3)(_write_for_ray)
    folder = folder.absolute()
    todo, waiting = iter(plans), []
    try:
        while True:
            for plan in todo:
                waiting.append(task.remote(plan, run, folder))
                if len(waiting) >= workers * (1 + _AHEAD):
                    break
            if not waiting:
                return
            finished, waiting = ray.wait(waiting, num_returns=1)
            for record in ray.get(finished):
                if isinstance(record, OslerError):
                    raise record
                yield record
    except ray.exceptions.RayError as error:
        raise _lost_worker() from error
    finally:
        if own:
            ray.shutdown()


def _start_ray(ray: object, *, workers: int) -> None:
    settings = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    if "RAY_ADDRESS" not in os.environ:
        settings |= {"num_cpus": workers, "object_store_memory": 100 << 20}
    ray.init(**settings)


def _write_for_ray(plan: ShardPlan, run: ReportRun, folder: Path) -> ShardRecord | OslerError:
    """An error that Osler foresees comes back as a value: Ray would wrap it."""
    _single_threaded()
    try:
        return write_shard(plan, run=run, folder=folder)
    except OslerError as error:
        return type(error)(error.problem, allowed=error.allowed, next_step=error.next_step)


def _start_tracker() -> None:
    """Starts Python's cleaner of semaphores so that it works in silence.

    After a ``kill -9`` of the parent it removes the pool's semaphores, as it should, but also warns of a leak.
    """
    before = os.environ.get(_WARNINGS)
    os.environ[_WARNINGS] = ",".join(filter(None, (before, _NO_LEAKS)))  # read by the cleaner when it starts
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ[_WARNINGS]
        else:
            os.environ[_WARNINGS] = before


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keeps Ctrl-C from processes that start here (they inherit the mask); the parent gets it right after."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _single_threaded()
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


def _single_threaded() -> None:
    pyarrow = import_extra("pyarrow", extra="synth")
    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)


def _lost_worker() -> CapacityError:
    return CapacityError(
        "A worker died while it wrote a shard, perhaps for want of memory.",
        allowed="Finished shards are kept.",
        next_step="Give the same command again, with fewer --workers.",
    )
