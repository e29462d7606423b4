"""Settings of all tests."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import settings

# People's runs search anew each time; a shared run must not fail by chance on somebody else's change.
settings.register_profile("search", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "search")

# A shell that starts the tests in the background has them ignore SIGINT, and so would the processes that
# they start: the tests of Ctrl-C need the default, which a handler here hands on to them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests must not read or fill the user's encoded studies; those of the cache name a folder of their own.
os.environ["OSLER_STUDY_CACHE"] = "off"

_MUCH = 2 << 30


@pytest.fixture(scope="module", autouse=True)
def _memory_given_back() -> Iterator[None]:
    """Gives back what a module's tests left: models in cycles of references, and what glibc keeps of them."""
    yield
    if psutil.Process().memory_info().rss > _MUCH:
        gc.collect()  # by itself it comes late: a model is many bytes and few objects
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
