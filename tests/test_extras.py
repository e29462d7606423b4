"""Optional packages: what is said where one is missing."""

from __future__ import annotations

import pytest

from osler.errors import RequestError
from osler.extras import import_extra


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(
        RequestError, match=r"'no_such_package', which is not installed.*\n?.*pip install 'osler\[ray\]'"
    ):
        import_extra("no_such_package.part", extra="ray")
