"""One engine for each model, since each takes a while to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from hired_core.models import text_folder
from lab.benchmark.contestants.models import PRESETS, write_preset
from tests.vllm.cases import Case

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marked here, so that a test cannot be without."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            if find_spec("vllm") is None:
                item.add_marker(pytest.mark.skip(reason="needs vLLM: make test-vllm"))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Decoders are exported to a folder of these tests, also by processes that they start."""
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(home))
        patch.setattr(text_folder, "CACHE", home / "hired-decoders")
        yield home


@pytest.fixture(scope="session")
def embedded(cache: Path) -> Iterator[Case]:
    """The shipped model: its texts have an end, and say what is there."""
    with Case("embedded") as case:
        yield case


@pytest.fixture(scope="session")
def bigger(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Case]:
    """44 M random weights and the published geometry, loaded when it is asked for."""
    folder = tmp_path_factory.mktemp("44m")
    write_preset(PRESETS["44m"], folder)
    return lambda: Case(str(folder))
