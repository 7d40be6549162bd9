"""Speed is measured in turns, on the same images, with nothing of a first call in it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from hired_core.language.generation import GenerationSettings
from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.direct import timing
from lab.evaluation.direct.loaded import LoadedModel, Room
from lab.evaluation.direct.timing import Timed, time_directly
from tests.unit.lab.evaluation.direct.test_answering import PROMPTS, SETTINGS, SIZES, image

LABELS = ("hired", "fastv", "dense")


class Log:
    """Who is at work on how many images, and a clock that tells a second for each."""

    def __init__(self) -> None:
        self.turns: list[tuple[str, int]] = []

    def clock(self) -> float:
        return float(sum(number for _, number in self.turns))


def test_rounds_take_turns_and_first_calls_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()

    def answering(settings: ReductionSettings, *_: object) -> object:
        return lambda part: log.turns.append((settings.effective_method, len(part)))

    monkeypatch.setattr(timing, "_answering", answering)
    monkeypatch.setattr(timing, "ROUND", 2)
    model = LoadedModel.load("embedded")
    broken = replace(image(SIZES[0], *PROMPTS), data=b"nothing")
    images = [image(size, *PROMPTS) for size in SIZES[:2]] + [broken, image(SIZES[2], *PROMPTS)]
    found = time_directly(
        {label: SETTINGS[label] for label in LABELS},
        images,
        model,
        generation=GenerationSettings(),
        room=Room(),
        clock=log.clock,
    )
    first = [(name, number) for name in LABELS for number in (1, 2)]
    second = [(name, 1) for name in ("fastv", "dense", "hired") for _ in range(2)]
    assert log.turns == first + second
    assert found == {label: Timed(images=(2, 1), seconds=(2.0, 1.0)) for label in LABELS}
    assert found["hired"].images_per_sec == 1.0


def test_every_variant_is_measured_for_real(small_checkpoint: Path) -> None:
    log = io.StringIO()
    found = time_directly(
        SETTINGS,
        [image(size, *PROMPTS) for size in SIZES],
        LoadedModel.load(str(small_checkpoint)),
        generation=GenerationSettings(max_new_tokens=3),
        room=Room(),
        log=log,
    )
    assert set(found) == set(SETTINGS)
    assert all(each.images == (3,) and each.seconds[0] > 0 for each in found.values())
    assert "on 3 images" in log.getvalue()
