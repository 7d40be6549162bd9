"""Which tests run side by side: those with a cluster in one process, the others in another.

A file's tests stay together, so that what they share is made once.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_ROOT = Path(__file__).parent
_WITH_A_CLUSTER = {"integration", "e2e"}


# First, since pytest-xdist reads the groups in a hook of the same name.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        room = item.path.relative_to(_ROOT)
        alone = room.parts[0] in _WITH_A_CLUSTER
        item.add_marker(pytest.mark.xdist_group("cluster" if alone else room.as_posix()))
