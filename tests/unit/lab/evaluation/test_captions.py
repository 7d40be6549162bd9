import pytest

from lab.evaluation.scoring.captions import items_named, items_shown
from lab.rendering.compose import KINDS, make_picture
from lab.rendering.tasks import caption, truth_json


def test_names_by_hand() -> None:
    assert items_named("A red circle, a blue square and a sign that says ST0P.") == {
        ("red", "circle"),
        ("blue", "square"),
        ("sign", "ST0P"),
    }
    assert items_named("A form with total 4K7 and tax 123.") == {("total", "4K7"), ("tax", "123")}
    assert items_named("A chart with A 40 and K 95.") == {("A", "40"), ("K", "95")}


def test_nonsense_and_repeats() -> None:
    assert items_named("") == frozenset()
    assert items_named("a red a circle, reddish circles") == frozenset()
    assert items_named("A Red circle, a red circle") == {("red", "circle")}
    # A letter and a number are a bar in charts only.
    assert items_named("Plan B 12") == frozenset()


@pytest.mark.parametrize("kind", KINDS)
def test_a_true_caption_names_all_that_is_shown(kind: str) -> None:
    for seed in range(100):
        picture = make_picture(kind, "train", seed)
        assert items_named(caption(picture)) == items_shown(truth_json(picture))
