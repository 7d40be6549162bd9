"""What has to hold of every family, held against transformers on tiny random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import hired_core
from hired_core.errors import SettingError
from hired_core.geometry.base import Geometry
from hired_core.geometry.canvas import Size
from hired_core.images.fast_partition import partition_pixels
from hired_core.images.partition import partition_image
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Request
from hired_core.methods.registry import METHODS, method
from hired_core.vlm.language_half import RequestBuilder
from hired_core.vlm.settings import ReductionSettings
from tests.support.halves import Halves, Original, picture
from tests.support.settings import reduction

DENSE = reduction(method="dense")
Arrays = npt.NDArray[Any]


def check_dense_parity(
    halves: Halves, original: Original, sizes: Sequence[Size], prompts: Sequence[str], limit: int
) -> list[list[int]]:
    """Singly and in one mixed batch, on both sides, by both backends; the tokens of each image."""
    images = [picture(*size) for size in sizes]
    asked = [prompts[i % len(prompts)] for i in range(len(sizes))]
    texts = [halves.template.render(prompt) for prompt in asked]
    singly = [original.generate([i], [t], limit) for i, t in zip(images, texts, strict=True)]
    expected = [tokens[0] for tokens, _ in singly]
    requests = halves.requests(images, asked, DENSE, "all")
    assert [r.num_prompt_tokens for r in requests] == [lengths[0] for _, lengths in singly]
    together = halves.generate(requests, max_new_tokens=limit, batch_size=len(sizes))
    assert [completion.token_ids for completion in together] == expected
    if len(sizes) == 1:
        return expected
    for image, prompt, tokens in zip(images, asked, expected, strict=True):
        alone = halves.requests([image], [prompt], DENSE, "all")
        assert halves.generate(alone, max_new_tokens=limit)[0].token_ids == tokens
    assert original.generate(images, texts, limit)[0] == expected
    return expected


def check_questions(halves: Halves, original: Original, size: Size, prompts: Sequence[str]) -> None:
    """Several about one image, which share its tensors and by them its prefill."""
    image = picture(*size)
    texts = [halves.template.render(prompt) for prompt in prompts]
    expected = [original.generate([image], [text], 8)[0][0] for text in texts]
    found = halves.generate(shared_requests(halves, image, prompts), max_new_tokens=8)
    assert [completion.token_ids for completion in found] == expected


def shared_requests(halves: Halves, image: Image.Image, prompts: Sequence[str]) -> list[Request]:
    builder = RequestBuilder(spec=halves.spec, template=halves.template, settings=DENSE)
    visual = builder.visual(halves.encode([image], DENSE)[0])
    return [builder.request(visual, prompt) for prompt in prompts]


def check_every_method(halves: Halves, sizes: Sequence[Size], budget: int) -> set[str]:
    """Every method keeps within its budget, or is refused by name; those that are refused."""
    images, refused = [picture(*size) for size in sizes], set()
    for name in METHODS:
        settings = ReductionSettings(method=name, budget=1 if name == "dense" else budget)
        if method(name).schedule is not None:
            check_inside(halves, settings, images)
            continue
        try:
            kept = halves.encode(images, settings)
        except SettingError as exc:
            assert name in str(exc)
            refused.add(name)
            continue
        counts = [len(one.place) for one in kept]
        assert name == "dense" or all(0 < count <= budget for count in counts), name
        if name != "hired-upstream":  # Which loses some of them.
            assert counts == [int(one.budgets.sum()) for one in kept], name
    return refused


def check_inside(
    halves: Halves, settings: ReductionSettings, images: Sequence[Image.Image]
) -> None:
    """A method inside the language model, through everything that `load` puts together."""
    new = GenerationSettings(max_new_tokens=3)
    vlm = hired_core.load(halves.spec.path, settings=settings, generation=new, slots=2)
    for each in vlm.caption(list(images), "What?"):
        assert each.finish_reason in ("stop", "length")


def check_cut(geometry: Geometry, processor: Callable[[Image.Image], Arrays], size: Size) -> None:
    """The cut is transformers' own to the bit; by torch, at most 1 of 255 off, enlarged 2."""
    image = picture(*size)
    expected = processor(image)
    found = partition_image(image, geometry)
    assert found.dtype == np.uint8 and np.array_equal(found, expected)
    by_torch = partition_pixels(np.array(image), geometry)
    assert by_torch.shape == found.shape
    # On noise the order of the two passes shows; see `partition_pixels`.
    assert np.abs(by_torch.astype(int) - expected).mean() < 0.5
    smooth = gradient(*size)
    difference = partition_pixels(np.array(smooth), geometry).astype(int) - processor(smooth)
    needed = geometry.needed_size(size)
    enlarged = needed[0] > size[0] or needed[1] > size[1]
    assert np.abs(difference).max() <= 1 + enlarged


def gradient(height: int, width: int) -> Image.Image:
    """Colours that change slowly, as most of a photograph does."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [255 * y / height, 255 * x / width, 127 * (y / height + x / width)]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


def write_published(folder: Path, config: dict[str, Any], image: dict[str, Any]) -> Path:
    """A folder with the two configuration files of a checkpoint on the hub, and no weights."""
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    return folder
