"""Peak memory is that of the contestant's own process, and of its call rather than its loading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lab.benchmark.contestants.answers import Answer
from lab.benchmark.contestants.registry import Entry
from lab.benchmark.contestants.subject import Setting, Subject
from lab.benchmark.measurements.peak import peak_memory
from tests.support.checkpoints import build_checkpoint

MIB = 2**20


@dataclass
class Greedy:
    """Takes so much for a moment when it opens, and so much when it is called."""

    opening_mib: int
    calling_mib: int
    slots: int = 1

    def open(self) -> None:
        torch.ones(self.opening_mib * MIB // 4)

    def close(self) -> None:
        pass

    def __call__(self, images: Sequence[bytes]) -> list[Answer]:
        torch.ones(self.calling_mib * MIB // 4)
        return []


@dataclass(frozen=True, kw_only=True)
class GreedyEntry(Entry):
    opening_mib: int
    calling_mib: int

    def build(self, subject: Subject) -> Greedy:
        return Greedy(self.opening_mib, self.calling_mib)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(model=str(build_checkpoint(tmp_path_factory.mktemp("tiny"), seed=4)))


def peak_mib(setting: Setting, opening: int, calling: int) -> float:
    entry = GreedyEntry(opening_mib=opening, calling_mib=calling)
    found = peak_memory(setting, entry, [b""])
    return (found["peak_bytes"] - found["loaded_bytes"]) / MIB


def test_what_a_call_takes_is_what_is_measured(setting: Setting) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not let a peak begin anew")
    assert 195 < peak_mib(setting, 0, 200) < 230
    # What opening took for a moment is not in it.
    assert 35 < peak_mib(setting, 300, 40) < 70
