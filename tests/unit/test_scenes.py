import json

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.drawing import draw_masks, draw_scene, glyph_class
from pipeline.evaluation.samples import SAMPLE_SEED, bad_samples, is_padded, make_samples
from pipeline.evaluation.scenes import (
    CANVASES,
    GLYPHS,
    Scene,
    SceneObject,
    Sign,
    best_canvas,
    content_size,
    make_scene,
)
from pipeline.evaluation.texts import caption, questions, truth_json

RED_CIRCLE, RED_STAR, BLUE_SQUARE = (0, 0), (0, 3), (5, 1)


def scene_of(objects: list[tuple[int, int]], signs: list[str]) -> Scene:
    return Scene(
        seed=1,
        width=224,
        height=112,
        objects=tuple(
            SceneObject(
                colour=colour, shape=shape, x=30 + 50 * i, y=30, diameter=40, rotation_deg=0
            )
            for i, (colour, shape) in enumerate(objects)
        ),
        signs=tuple(
            Sign(text=text, x=20, y=70, advance=18, height=25, margin=4, style=0) for text in signs
        ),
    )


def test_same_seed_same_pixels() -> None:
    first, again, other = make_scene(7), make_scene(7), make_scene(8)
    assert first == again
    assert first != other
    assert draw_scene(first).tobytes() == draw_scene(again).tobytes()


@pytest.mark.parametrize(
    ("size", "canvas", "content"),
    [
        ((224, 112), (112, 224), (224, 112)),
        ((448, 448), (224, 224), (224, 224)),
        ((100, 300), (336, 112), (112, 336)),
        # 560 x 200: 112 x 336 holds 313.6 x 112 of it, 224 x 224 only 224 x 80.
        ((560, 200), (112, 336), (314, 112)),
    ],
)
def test_canvas_and_content_by_hand(
    size: tuple[int, int], canvas: tuple[int, int], content: tuple[int, int]
) -> None:
    assert best_canvas(*size) == canvas
    assert content_size(*size) == content


def test_canvas_agrees_with_transformers() -> None:
    image_processing = pytest.importorskip("transformers.image_processing_utils")
    rng = np.random.default_rng(0)
    for width, height in rng.integers(40, 900, size=(300, 2)).tolist():
        assert best_canvas(width, height) == image_processing.select_best_resolution(
            (height, width), CANVASES
        )


def test_all_grids_padded_and_filled_occur() -> None:
    scenes = [make_scene(seed) for seed in range(300)]
    seen = {(best_canvas(scene.width, scene.height), is_padded(scene)) for scene in scenes}
    assert seen == {(canvas, padded) for canvas in CANVASES for padded in (False, True)}


@pytest.mark.parametrize("seed", range(100))
def test_content_is_inside_distinct_and_apart(seed: int) -> None:
    scene = make_scene(seed)
    width, height = content_size(scene.width, scene.height)
    class_ids = [item.class_id for item in scene.objects]
    assert class_ids == sorted(set(class_ids))
    boxes = [
        (i.x - i.diameter / 2, i.y - i.diameter / 2, i.x + i.diameter / 2, i.y + i.diameter / 2)
        for i in scene.objects
    ]
    boxes += [
        (s.x, s.y, s.x + s.advance * len(s.text) + 2 * s.margin, s.y + s.height + 2 * s.margin)
        for s in scene.signs
    ]
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
        for other in boxes[:index]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_mask_shows_the_content() -> None:
    scene = scene_of([RED_CIRCLE, BLUE_SQUARE], ["AB7"])
    classes, places = draw_masks(scene)
    assert classes.getpixel((30, 30)) == 1
    assert classes.getpixel((80, 30)) == 1 + 5 * 6 + 1
    assert classes.getpixel((55, 30)) == 0
    # Cells of 18 pixels from x = 20 + 4; the middle of the third is at 69.
    assert classes.getpixel((69, 85)) == glyph_class("7")
    assert places.getpixel((69, 85)) == 3
    assert places.getpixel((30, 30)) == 0


def test_object_has_its_colour() -> None:
    image = draw_scene(scene_of([RED_CIRCLE], []))
    red, green, blue = image.getpixel((30, 30))
    assert red > 190 and green < 60 and blue < 60


def test_caption_order_and_articles() -> None:
    scene = scene_of([RED_CIRCLE, RED_STAR, BLUE_SQUARE], ["STOP"])
    assert caption(scene) == "a red circle, a red star, a blue square and a sign that says STOP."
    assert caption(scene_of([(1, 5)], [])) == "an orange ring."


def test_questions_are_unique_and_right() -> None:
    scene = scene_of([RED_CIRCLE, RED_STAR, BLUE_SQUARE], ["STOP"])
    asked = {q.kind: q for q in questions(scene, np.random.default_rng(0))}
    assert asked["sign"].answer == "STOP"
    assert asked["count"].answer == "3"
    # Two red objects: only the blue one has a unique colour.
    assert (asked["shape"].text, asked["shape"].answer) == (
        "What shape is the blue object?",
        "square",
    )
    kinds = {q.kind for q in questions(scene_of([RED_CIRCLE], []), np.random.default_rng(0))}
    assert "sign" not in kinds


def test_presence_is_balanced_and_true() -> None:
    rng = np.random.default_rng(0)
    answers = []
    for seed in range(400):
        scene = make_scene(seed)
        question = next(q for q in questions(scene, rng) if q.kind == "presence")
        name = question.text.removesuffix("?").split(" ", 3)[3]
        is_there = name.split() in json.loads(truth_json(scene))["objects"]
        assert question.answer == ("yes" if is_there else "no")
        answers.append(is_there)
    assert 0.4 < np.mean(answers) < 0.6


def test_samples_cover_grids_and_bad_files() -> None:
    samples = make_samples(10)
    assert len({sample.key for sample in samples}) == 10
    assert samples == make_samples(10)
    assert {sample.ending for sample in samples} == {"jpg", "png", "webp", "JPG"}
    bad = bad_samples(10)
    assert [sample.scene for sample in bad] == [None] * 3
    assert [len(sample.data) > 100 for sample in bad] == [True, False, False]


def test_glyphs_have_no_lookalikes() -> None:
    assert len(set(GLYPHS)) == len(GLYPHS)
    assert not set("01Q") & set(GLYPHS)
    assert SAMPLE_SEED > 10**6


def test_draw_scene_is_rgb_of_its_size() -> None:
    scene = make_scene(3)
    image = draw_scene(scene)
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", (scene.width, scene.height))
