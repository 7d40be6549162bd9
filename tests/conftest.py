"""Which tests run side by side, so that two processes are done at about the same time.

Those that share one cluster stay in one process; the others go to the other, the end-to-end ones
last, which start what they need themselves. A file's tests stay together, so that what they share
is made once.
"""

from __future__ import annotations

from typing import Any

import pytest

_ONE_CLUSTER = "tests/integration/"
_LAST = "tests/e2e/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.nodeid))


def _rank(nodeid: str) -> int:
    return (nodeid.startswith(_ONE_CLUSTER), not nodeid.startswith(_LAST), True).index(True)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their length: gzip and tar write the time into theirs.

    Two processes that name a test differently run none.
    """
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.hookimpl(optionalhook=True)  # Without pytest-xdist nobody asks.
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Halves(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(_ONE_CLUSTER):
                return "cluster"
            return nodeid.partition("::")[0]

    return Halves(config, log)
