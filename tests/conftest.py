"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# People's runs search anew each time; a shared run must not fail by chance on somebody else's change.
settings.register_profile("search", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "search")
