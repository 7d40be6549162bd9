"""Which tests run side by side: those with a cluster in one process, the others in another.

A file's tests stay together, so that what they share is made once.
"""

from __future__ import annotations

from typing import Any

import pytest

_WITH_A_CLUSTER = ("tests/e2e/", "tests/integration/")


@pytest.hookimpl(optionalhook=True)  # Without pytest-xdist nobody asks.
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Halves(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(_WITH_A_CLUSTER):
                return "cluster"
            return nodeid.partition("::")[0]

    return Halves(config, log)
