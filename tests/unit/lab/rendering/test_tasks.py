import io
import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from lab.rendering import TASKS, render
from lab.rendering.compose import make_picture
from lab.rendering.geometry import content_size
from lab.rendering.picture import Bar, Chart, Form, FormLine, Picture, SceneObject
from lab.rendering.tasks import Asked, caption, truth_json
from lab.rendering.vocabulary import COLOURS, SHAPES

# (colour, shape, x, y): a red circle top left, a blue star right of it, a red star bottom right.
THREE = (("red", "circle", 40, 40), ("blue", "star", 90, 40), ("red", "star", 300, 150))


def scene_of(*objects: tuple[str, str, float, float]) -> Picture:
    return Picture(
        seed=0,
        split="train",
        width=336,
        height=168,
        objects=tuple(
            SceneObject(
                colour=list(COLOURS).index(colour),
                shape=SHAPES.index(shape),
                x=x,
                y=y,
                diameter=30,
                rotation_deg=0,
            )
            for colour, shape, x, y in objects
        ),
    )


def asked_of(task: str, picture: Picture, times: int = 60) -> dict[str, str]:
    """Answers by question over many draws; a question has one answer."""
    rng, found = np.random.default_rng(0), {}
    for _ in range(times):
        if (asked := TASKS[task].ask(picture, rng)) is not None:
            assert found.setdefault(asked.text, asked.answer) == asked.answer
    return found


def test_attribute_by_hand() -> None:
    """Red and star occur twice: only the lone circle and the lone blue object are asked for."""
    assert asked_of("attribute", scene_of(*THREE)) == {
        "What colour is the circle?": "red",
        "What shape is the blue object?": "star",
    }


def test_count_by_hand() -> None:
    found = asked_of("count", scene_of(*THREE), times=400)
    assert found["How many objects are there?"] == "3"
    assert found["How many red objects are there?"] == "2"
    assert found["How many stars are there?"] == "2"
    assert found["How many crosses are there?"] == "0"


def test_spatial_by_hand() -> None:
    found = asked_of("spatial", scene_of(*THREE), times=400)
    assert found["Is the red circle left of the blue star?"] == "yes"
    assert found["Is the red circle right of the blue star?"] == "no"
    assert found["Is the red star below the red circle?"] == "yes"
    # The circle and the blue star are at one height.
    assert "Is the red circle above the blue star?" not in found
    assert found["In which quarter is the red circle?"] == "top left"
    assert found["In which quarter is the red star?"] == "bottom right"
    assert found["Which object is nearest to the red circle?"] == "blue star"
    # 237 and 282 pixels away: not clearly nearer.
    assert "Which object is nearest to the red star?" not in found


def test_spatial_leaves_out_what_is_unclear() -> None:
    # In the middle across, and as far from both others.
    picture = scene_of(
        ("red", "circle", 168, 30), ("blue", "star", 68, 30), ("red", "star", 268, 30)
    )
    found = asked_of("spatial", picture, times=400)
    assert "In which quarter is the red circle?" not in found
    assert "Which object is nearest to the red circle?" not in found


def test_document_and_chart_by_hand() -> None:
    form = make_picture("form", "train", 0).form
    chart = make_picture("chart", "train", 0).chart
    assert isinstance(form, Form) and isinstance(chart, Chart)
    lines = (FormLine(key=0, value="4K7"), FormLine(key=6, value="123"))
    page = Picture(seed=0, split="train", width=336, height=168, form=_with(form, lines=lines))
    assert asked_of("document", page) == {"What is the total?": "4K7", "What is the tax?": "123"}
    assert caption(page) == "A form with total 4K7 and tax 123."
    bars = (Bar(label="A", value=40), Bar(label="K", value=95), Bar(label="B", value=10))
    panel = Picture(seed=0, split="train", width=336, height=168, chart=_with(chart, bars=bars))
    found = asked_of("chart", panel, times=100)
    assert found["What is the value of K?"] == "95"
    assert found["Which label has the highest value?"] == "K"
    assert found["Which label has the lowest value?"] == "B"
    assert caption(panel) == "A chart with A 40, K 95 and B 10."


def _with(item: object, **changes: object) -> object:
    return type(item)(**{**vars(item), **changes})


def test_caption_order_and_articles() -> None:
    assert caption(scene_of(*THREE)) == "A red circle, a blue star and a red star."
    assert caption(scene_of(("orange", "ring", 30, 30))) == "An orange ring."


def test_existence_is_balanced_true_and_hard() -> None:
    rng = np.random.default_rng(0)
    kinds: Counter[str] = Counter()
    for seed in range(600):
        picture = make_picture("scene", "train", seed)
        asked = TASKS["existence"].ask(picture, rng)
        if asked is None:
            continue
        name = asked.text.removesuffix("?").split(" ", 3)[3]
        is_there = name.split() in json.loads(truth_json(picture))["objects"]
        assert asked.answer == ("yes" if is_there else "no")
        kinds[asked.kind] += 1
    assert 0.45 < kinds["present"] / kinds.total() < 0.55
    assert kinds["hard"] > kinds["absent"]


def test_nearest_is_nearest() -> None:
    """Recomputed for rendered scenes, from centres alone."""
    rng, checked = np.random.default_rng(1), 0
    for seed in range(300):
        picture = make_picture("scene", "train", seed)
        asked: Asked | None = TASKS["spatial"].ask(picture, rng)
        if asked is None or asked.kind != "nearest":
            continue
        names = {
            f"{list(COLOURS)[item.colour]} {SHAPES[item.shape]}": (item.x, item.y)
            for item in picture.objects
        }
        one = asked.text.removeprefix("Which object is nearest to the ").removesuffix("?")
        middle = names.pop(one)
        assert asked.answer == min(names, key=lambda name: math.dist(names[name], middle))
        checked += 1
    assert checked > 30


@pytest.mark.parametrize("split", ["validation", "test"])
def test_render_takes_tasks_by_turns(split: str) -> None:
    images = list(render(split, 16))
    assert [image.questions[0].task for image in images] == list(TASKS) * 2
    assert len({image.image_id for image in images}) == 16
    assert images == list(render(split, 16))
    for image in images:
        picture = Image.open(io.BytesIO(image.data))
        question = image.questions[0]
        assert picture.format == "JPEG"
        assert question.question_id == f"{image.image_id}-{question.task}"
        assert all(question.answers)
        width, height = content_size(*picture.size)
        assert (f"{height}x{width}" == question.details["grid"]) == (
            question.details["padded"] == "no"
        )


def test_seeds_and_splits_share_no_image() -> None:
    runs = [render("test", 8, 0), render("test", 8, 1), render("train", 8, 0)]
    names = [image.image_id for image in itertools.chain.from_iterable(runs)]
    assert len(set(names)) == 24


def test_render_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="no 'poetry' in the rendered benchmark; there are attr"):
        render("test", 1, tasks=("poetry",))
    with pytest.raises(ValueError, match="there are train, validation, test"):
        render("dev", 1)
    with pytest.raises(ValueError, match=r"seed must be in 0\.\.899, got 900"):
        render("test", 1, seed=900)
