import numpy as np

from lab.rendering.compose import make_picture
from lab.rendering.geometry import content_size
from lab.rendering.picture import Picture, SceneObject, class_name
from lab.rendering.tasks import SPATIAL_KINDS
from lab.training.data.lessons import ask_order, ask_place


def scenes(least: int) -> list[Picture]:
    pictures = [make_picture("scene", "train", seed) for seed in range(60)]
    return [picture for picture in pictures if len(picture.objects) >= least]


def named(picture: Picture, name: str) -> SceneObject:
    (item,) = (x for x in picture.objects if class_name(x.class_id) == name)
    return item


def test_places_agree_with_quarters() -> None:
    rng, seen = np.random.default_rng(0), 0
    for picture in scenes(1):
        for _ in range(6):
            asked = ask_place(picture, rng)
            quarter = SPATIAL_KINDS["quarter"](picture, rng)
            assert asked is not None
            across, down = asked.answer.split(" ")
            assert across in "0123456789" and down in "0123456789"
            name = asked.text.removeprefix("Where is the ").removesuffix("?")
            if quarter is not None and name in quarter.text:
                sides = (
                    "top" if int(down) < 5 else "bottom",
                    "left" if int(across) < 5 else "right",
                )
                assert quarter.answer == " ".join(sides)
                seen += 1
    assert seen > 50


def test_order_is_by_centre_in_the_direction_asked() -> None:
    rng, directions = np.random.default_rng(1), set()
    for picture in scenes(3):
        asked = ask_order(picture, rng)
        assert asked is not None
        items = [named(picture, name) for name in asked.answer.split(", ")]
        assert len(items) == len(picture.objects)
        direction = asked.text.removeprefix("Objects from ").removesuffix("?")
        centres = {
            "left to right": [item.x for item in items],
            "right to left": [-item.x for item in items],
            "top to bottom": [item.y for item in items],
            "bottom to top": [-item.y for item in items],
        }[direction]
        assert centres == sorted(centres)
        directions.add(direction)
    assert len(directions) == 4


def test_nothing_to_ask() -> None:
    rng = np.random.default_rng(2)
    form = make_picture("form", "train", 0)
    assert ask_place(form, rng) is None
    alone = next(
        x for x in (make_picture("scene", "train", i) for i in range(200)) if len(x.objects) == 1
    )
    assert ask_order(alone, rng) is None


def test_a_place_is_a_tenth_of_the_image() -> None:
    picture = scenes(1)[0]
    item = picture.objects[0]
    width, height = content_size(picture.width, picture.height)
    answers = set()
    rng = np.random.default_rng(3)
    for _ in range(40):
        asked = ask_place(picture, rng)
        assert asked is not None
        if class_name(item.class_id) in asked.text:
            answers.add(asked.answer)
    assert answers == {f"{int(10 * item.x / width)} {int(10 * item.y / height)}"}
