"""The public face: images of every kind, batches, questions, both halves, against transformers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hired_core
from hired_core import GenerationSettings, ReductionSettings, Vlm
from hired_core.backends.base import MemoryLimitError
from hired_core.errors import SettingError
from hired_core.images.decode import ImageError
from hired_core.models.checkpoint import CheckpointError
from tests.support.checkpoints import EMBEDDED, build_llava
from tests.support.halves import Original, picture

PROMPT = "Describe the image."
QUESTIONS = ["What?", "How many red circles are there?", "Read the text."]


@pytest.fixture(scope="module")
def vlm() -> Vlm:
    return hired_core.load("embedded", token_budget=0.2, max_new_tokens=12, slots=3)


@pytest.fixture(scope="module")
def dense() -> Vlm:
    return hired_core.load("embedded", token_budget=1, max_new_tokens=12, slots=3)


@pytest.fixture(scope="module")
def original() -> Original:
    return Original(EMBEDDED)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_with_nothing_dropped_it_is_transformers_generate(dense: Vlm, original: Original) -> None:
    images = [picture(200, 300), picture(340, 170), picture(150, 480)]
    render = dense.language.builder.template.render
    expected = [original.generate([i], [render(PROMPT)], 12)[0][0] for i in images]
    assert [each.token_ids for each in dense.caption(images)] == expected
    texts = [render(question) for question in QUESTIONS]
    asked = [original.generate([images[0]], [text], 12)[0][0] for text in texts]
    assert [each.token_ids for each in dense.ask(images[0], QUESTIONS)] == asked


def test_every_kind_of_image_is_the_same_image(vlm: Vlm, tmp_path: Path) -> None:
    image = picture(200, 300)
    path = tmp_path / "image.png"
    path.write_bytes(png(image))
    kinds: list[Any] = [path, str(path), png(image), image, np.asarray(image)]
    texts = {vlm.caption(kind).text for kind in kinds}
    assert len(texts) == 1 and texts.pop()
    together = vlm.caption(kinds)
    assert {each.text for each in together} == {vlm.caption(image).text}
    grey = np.asarray(image.convert("L"))
    assert vlm.caption(grey) == vlm.caption(image.convert("L"))


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), 3, None]
)
def test_what_is_no_image_is_refused(vlm: Vlm, bad: Any) -> None:
    with pytest.raises(TypeError, match="an image is a path, bytes, a PIL image or uint8"):
        vlm.reduce(bad)


def test_bad_bytes_and_missing_files(vlm: Vlm, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="plain text"):
        vlm.caption(b"no image")
    with pytest.raises(FileNotFoundError):
        vlm.caption(tmp_path / "nothing.png")


def test_batches_change_nothing(vlm: Vlm) -> None:
    """More images than go at once, of several grids."""
    images = [picture(100 + 20 * i, 400 - 25 * i) for i in range(11)]
    together = vlm.caption(images)
    assert together == [vlm.caption(image) for image in images]
    assert len({each.text for each in together}) > 3


def test_reduce_tells_what_is_kept(vlm: Vlm) -> None:
    one, two = vlm.reduce([picture(200, 300), picture(340, 170)])
    for kept, size in ((one, (200, 300)), (two, (340, 170))):
        assert kept.features.shape == (144, 192) and kept.size == size
        assert int(kept.budgets.sum()) == len(kept.place) == 144
    alone = vlm.reduce(picture(340, 170))
    assert torch.equal(alone.place, two.place)


def test_the_halves_apart_are_the_whole(vlm: Vlm) -> None:
    image = picture(200, 300)
    kept = vlm.reduce(image)
    assert vlm.language.ask(kept, QUESTIONS) == vlm.ask(image, QUESTIONS)
    assert vlm.language.ask_each([kept], [PROMPT])[0] == vlm.caption(image)


def test_a_single_question_has_a_single_answer(vlm: Vlm) -> None:
    assert vlm.ask(picture(200, 300), "What?") == vlm.ask(picture(200, 300), ["What?"])[0]


def test_the_seed_is_that_of_the_content() -> None:
    """The same image as file and as bytes keeps the same tokens at random; another does not."""
    vlm = hired_core.load(settings=ReductionSettings(method="random", budget=0.1))
    data = png(picture(200, 300))
    first, again = vlm.reduce([data, data])
    other = vlm.reduce(png(picture(200, 301)))
    assert torch.equal(first.place, again.place)
    assert not torch.equal(first.place, other.place)


def test_other_families_methods_and_backends(tmp_path: Path) -> None:
    folder = build_llava(tmp_path, seed=5)
    image = picture(80, 60)
    slots = hired_core.load(folder, token_budget=0.5, method="fastv", max_new_tokens=6)
    pooled = hired_core.load(folder, token_budget=0.25, method="average-pool", max_new_tokens=6)
    assert slots.caption(image).token_ids != pooled.caption(image).token_ids
    reference = hired_core.load(
        folder, token_budget=0.25, method="average-pool", max_new_tokens=6, backend="reference"
    )
    assert reference.caption(image).token_ids == pooled.caption(image).token_ids


def test_sampling_is_asked_for_by_generation() -> None:
    generation = GenerationSettings(max_new_tokens=8, temperature=1.5)
    vlm = hired_core.load(generation=generation, token_budget=0.2)
    assert vlm.caption(picture(200, 300)) == vlm.caption(picture(200, 300))


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"method: no 'hird'; there are distinct"):
        hired_core.load(method="hird")
    with pytest.raises(SettingError, match=r"alhpa: no option of method distinct; it has"):
        hired_core.load(method_options={"alhpa": 0.1})
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        hired_core.load(tmp_path / "nothing")
    with pytest.raises(MemoryLimitError, match="GiB are needed for one slot"):
        hired_core.load(memory_limit_gib=0.01)
