import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lab.rendering.backgrounds import BACKGROUNDS
from lab.rendering.compose import KINDS, make_picture
from lab.rendering.drawing import draw_picture
from lab.rendering.geometry import (
    CANVASES,
    PARTITION_SIZE,
    best_canvas,
    content_size,
)
from lab.rendering.painter import Labels, Painter, Typeface
from lab.rendering.picture import Picture, SceneObject, Sign
from lab.rendering.splits import SAMPLE_SEED, SPLITS
from lab.rendering.vocabulary import GLYPHS, NUM_CLASSES, glyph_class, key_owner

Box = tuple[float, float, float, float]


def boxes_of(picture: Picture) -> list[Box]:
    """(left, top, right, bottom) of all content."""
    found = [
        (i.x - i.diameter / 2, i.y - i.diameter / 2, i.x + i.diameter / 2, i.y + i.diameter / 2)
        for i in picture.objects
    ]
    found += [(s.x, s.y, s.x + s.size[0], s.y + s.size[1]) for s in picture.signs]
    if (form := picture.form) is not None:
        found.append((form.x, form.y, form.x + form.width, form.y + form.tall))
    if (chart := picture.chart) is not None:
        found.append((chart.x, chart.y, chart.x + chart.size[0], chart.y + chart.size[1]))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_pixels_with_and_without_masks(kind: str) -> None:
    first, again = make_picture(kind, "train", 7), make_picture(kind, "train", 7)
    assert first == again
    assert first != make_picture(kind, "train", 8)
    assert first.kind == kind
    drawn = draw_picture(first)
    assert drawn.masks == ()
    assert drawn.image.tobytes() == draw_picture(again, with_masks=True).image.tobytes()
    assert (drawn.image.mode, drawn.image.size) == ("RGB", (first.width, first.height))


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="no kind of picture 'map'; there are scene, form, chart"):
        make_picture("map", "train", 0)


def test_splits_share_nothing() -> None:
    for one, other in itertools.combinations(SPLITS.values(), 2):
        assert not set(one.fonts) & set(other.fonts)
        assert not set(one.backgrounds) & set(other.backgrounds)
    seeds = [split.first_seed for split in SPLITS.values()]
    assert np.diff([*seeds, SAMPLE_SEED]).min() >= 10**9
    assert {name for split in SPLITS.values() for name in split.backgrounds} == set(BACKGROUNDS)


@pytest.mark.parametrize(
    ("size", "canvas", "content"),
    [
        ((336, 168), (168, 336), (336, 168)),
        ((672, 672), (336, 336), (336, 336)),
        ((200, 600), (504, 168), (168, 504)),
        # 560 x 200: 168 x 504 holds 470.4 x 168 of it, 336 x 336 only 336 x 120.
        ((560, 200), (168, 504), (471, 168)),
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
    pictures = [make_picture("scene", "train", seed) for seed in range(300)]
    seen = set()
    for picture in pictures:
        canvas_h, canvas_w = best_canvas(picture.width, picture.height)
        is_padded = content_size(picture.width, picture.height) != (canvas_w, canvas_h)
        seen.add(((canvas_h, canvas_w), is_padded))
    assert seen == {(canvas, padded) for canvas in CANVASES for padded in (False, True)}


@pytest.mark.parametrize(("kind", "seed"), list(itertools.product(KINDS, range(40))))
def test_content_is_inside_distinct_and_apart(kind: str, seed: int) -> None:
    picture = make_picture(kind, "test", SPLITS["test"].first_seed + seed)
    width, height = content_size(picture.width, picture.height)
    class_ids = [item.class_id for item in picture.objects]
    assert class_ids == sorted(set(class_ids))
    boxes = boxes_of(picture)
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
        for other in boxes[:index]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_content_lies_unevenly() -> None:
    """With four sub-images, the fullest holds more than half of what lies in scenes of many."""
    shares = []
    for seed in range(400):
        picture = make_picture("scene", "train", seed)
        if best_canvas(picture.width, picture.height) != (336, 336) or len(picture.objects) < 5:
            continue
        width, height = content_size(picture.width, picture.height)
        counts = np.zeros((2, 2))
        for item in picture.objects:
            row = int(item.y + (336 - height) // 2) // PARTITION_SIZE
            counts[row, int(item.x + (336 - width) // 2) // PARTITION_SIZE] += 1
        shares.append(counts.max() / counts.sum())
    assert len(shares) > 20
    assert np.mean(shares) > 0.5


def scene_of(objects: list[tuple[int, int]], signs: list[str]) -> Picture:
    return Picture(
        seed=1,
        split="train",
        width=336,
        height=168,
        objects=tuple(
            SceneObject(colour=c, shape=s, x=30 + 50 * i, y=30, diameter=40, rotation_deg=0)
            for i, (c, s) in enumerate(objects)
        ),
        signs=tuple(
            Sign(
                text=text,
                x=20,
                y=70,
                advance=18,
                height=25,
                margin=4,
                style=0,
                font=0,
                rotation_deg=0,
            )
            for text in signs
        ),
    )


def test_masks_show_the_content() -> None:
    # A red circle, a blue square, and "AB7".
    classes, places, owners, _ = draw_picture(scene_of([(0, 0), (5, 1)], ["AB7"]), True).masks
    assert classes.getpixel((30, 30)) == 1
    assert classes.getpixel((80, 30)) == 1 + 5 * 6 + 1
    assert classes.getpixel((55, 30)) == 0
    # Cells of 18 pixels from x = 20 + 4; the middle of the third is at 69.
    assert classes.getpixel((69, 85)) == glyph_class("7")
    assert places.getpixel((69, 85)) == 3
    assert places.getpixel((30, 30)) == 0
    assert owners.getpixel((69, 85)) == 0


def test_masks_of_a_rotated_sign_turn_with_it() -> None:
    upright = scene_of([], ["AB7"])
    turned = replace(upright, signs=(replace(upright.signs[0], rotation_deg=90.0),))
    # Turned by a right angle about (51, 86.5), the third glyph lies above the others.
    classes, places, *_ = draw_picture(turned, True).masks
    assert classes.getpixel((51, 68)) == glyph_class("7")
    assert [places.getpixel((51, y)) for y in (105, 86, 68)] == [1, 2, 3]


def test_masks_of_a_form_say_whose_value_a_glyph_is() -> None:
    picture = make_picture("form", "train", 3)
    form, unit = picture.form, picture.pixels_per_unit
    assert form is not None
    classes, places, owners, _ = draw_picture(picture, True).masks
    for number, line in enumerate(form.lines):
        for place, glyph in enumerate(line.value, start=1):
            x = form.x + 6 + form.key_width + 4 + (place - 0.5) * form.advance
            y = form.y + 5 + number * form.pitch + form.height / 2
            at = (int(x * unit), int(y * unit))
            assert classes.getpixel(at) == glyph_class(glyph)
            assert (places.getpixel(at), owners.getpixel(at)) == (place, key_owner(line.key))


def test_object_has_its_colour() -> None:
    red, green, blue = draw_picture(scene_of([(0, 0)], [])).image.getpixel((30, 30))
    assert red > 150 and green < 100 and blue < 100


def test_glyphs_have_no_lookalikes() -> None:
    assert len(set(GLYPHS)) == len(GLYPHS)
    assert not set("IOQ") & set(GLYPHS)
    assert NUM_CLASSES < 255


def test_fonts_write_every_glyph_differently() -> None:
    """A font without a glyph draws the same box for all it lacks."""
    for split, settings in SPLITS.items():
        for font in range(len(settings.fonts)):
            sign = replace(scene_of([], ["A"]).signs[0], font=font)
            drawn = set()
            for glyph in GLYPHS:
                picture = replace(scene_of([], []), split=split, signs=(replace(sign, text=glyph),))
                crop = draw_picture(picture).image.crop((24, 74, 42, 99))
                file = io.BytesIO()
                crop.point(lambda value: 255 * (value > 128)).save(file, "PNG")
                drawn.add(Image.open(file).tobytes())
            assert len(drawn) == len(GLYPHS), settings.fonts[font]


def ink_of(face: Typeface, glyph: str = "H", cell: Box = (20.0, 20.0, 100.0, 80.0)) -> np.ndarray:
    """Where a black glyph in a cell of a white image has ink, `[120, 120]` bool."""
    image = Image.new("RGB", (120, 120), "white")
    mask = Image.new("L", image.size)
    labels = Labels(class_id=glyph_class(glyph))
    Painter(image, 1.0, face, [mask]).glyph(glyph, cell, (0, 0, 0), labels)
    assert mask.getbbox() == tuple(int(x) + (i > 1) for i, x in enumerate(cell))
    return np.asarray(image)[..., 0] < 128


def test_varied_glyphs() -> None:
    plain = ink_of(Typeface(font="DejaVuSans.ttf"))
    # The other way of drawing agrees but for pixels at edges.
    same = ink_of(Typeface(font="DejaVuSans.ttf", breadth=1.0001))
    assert np.mean(plain != same) < 0.02
    bold = ink_of(Typeface(font="DejaVuSans.ttf", weight=0.14))
    assert bold.sum() > 1.5 * plain.sum()
    wide, narrow = (
        np.ptp(np.nonzero(ink_of(Typeface(font="DejaVuSans.ttf", breadth=breadth)))[1])
        for breadth in (1.2, 0.85)
    )
    assert 1.2 * np.ptp(np.nonzero(plain)[1]) == pytest.approx(wide, abs=2)
    assert 0.85 * np.ptp(np.nonzero(plain)[1]) == pytest.approx(narrow, abs=2)
    leaning = ink_of(Typeface(font="DejaVuSans.ttf", slant=0.2))
    top, bottom = (np.nonzero(half)[1].mean() for half in (leaning[:50], leaning[50:]))
    assert top - bottom > 2


@pytest.mark.parametrize("glyph", ["W", "1"])
def test_varied_glyphs_stay_in_their_cells(glyph: str) -> None:
    cell = (40.0, 40.0, 70.0, 82.0)
    rng = np.random.default_rng(5)
    for _ in range(20):
        weight, slant, breadth = rng.uniform((0.0, -0.2, 0.85), (0.14, 0.2, 1.2)).tolist()
        face = Typeface(font="DejaVuSans-Bold.ttf", weight=weight, slant=slant, breadth=breadth)
        rows, columns = np.nonzero(ink_of(face, glyph, cell))
        assert columns.min() >= 38 and columns.max() <= 72
        assert rows.min() >= 38 and rows.max() <= 84


def test_only_training_varies_glyphs() -> None:
    assert [name for name, split in SPLITS.items() if split.varies_glyphs] == ["train"]
