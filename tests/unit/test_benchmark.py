"""The benchmark's arithmetic, and that both sides caption the same images alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.benchmark import (
    Setting,
    ours,
    run_benchmark,
    summarise,
    table,
    transformers_dense,
    truth,
)
from pipeline.evaluation.gallery import Sample, load_samples

SAMPLES = Path(__file__).parents[2] / "samples"


def test_ratios_are_taken_within_a_repeat() -> None:
    rates = {"base": [1.0, 4.0, 2.0], "other": [3.0, 4.0, 10.0]}
    summary = summarise(rates, {"base": 0.5, "other": 0.25})
    assert summary["base"]["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert summary["other"]["ratio"] == {"median": 3.0, "min": 1.0, "max": 5.0}
    assert summary["other"]["images_per_sec"]["median"] == 4.0
    assert "0.25   3.00 (1.00 to 5.00)" in table(summary)


def test_every_image_is_captioned_in_every_repeat_after_a_warm_up() -> None:
    seen: list[int] = []

    def contestant(batch: Sequence[bytes]) -> list[str]:
        seen.append(len(batch))
        return []

    rates = run_benchmark({"one": contestant}, [b"x"] * 5, batch_size=2, repeats=3)
    assert seen == [2, *([2, 2, 1] * 3)]
    assert len(rates["one"]) == 3


def test_truth_is_the_pooled_f1_in_the_order_of_the_samples() -> None:
    red, blue = frozenset({("red", "circle")}), frozenset({("blue", "star")})
    samples = [Sample(image=b"", objects=objects, signs=()) for objects in (red, blue, red)]
    said = iter([["a red circle.", "a red circle."], ["a red circle, a blue star."]])
    assert truth(lambda _: next(said), samples, batch_size=2) == 2 * 2 / (4 + 3)


def test_the_dense_contestants_say_the_same() -> None:
    """Otherwise the ratio would compare different work."""
    images = [sample.image for sample in load_samples(SAMPLES).values()][:5]
    setting = Setting(max_new_tokens=12)
    assert ours(setting, 1.0)(images) == transformers_dense(setting)(images)
