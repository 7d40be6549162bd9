"""At budget 1.0 greedy tokens equal `LlavaNextForConditionalGeneration.generate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import LlamaConfig, MistralConfig, Qwen2Config

from hired_core.backends.reference import ReferenceBackend
from hired_core.language.generation import GenerationSettings
from tests.support.checkpoints import EMBEDDED, MANY_STOPS, build_checkpoint
from tests.support.halves import Halves, Original, picture
from tests.support.settings import reduction

DENSE = reduction(method="dense", token_budget=1.0)
GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
PROMPTS = (
    "Describe the image.",
    "What?",
    "Look: <image> and say how many red circles there are in the second row, please.",
    "USER: <image>\nRead the text. ASSISTANT:",
)

Model = tuple[Halves, Original]


# height x width as shares of a partition; the last so long that no sub-image patch is kept.
PADDED = ((0.8, 1.9), (1.7, 0.9), (1.3, 1.9), (1.9, 1.4), (2.9, 0.7), (0.6, 2.8), (0.1, 2.8))


def cases(
    partition: int, shares: Sequence[tuple[float, float]] = (*GRIDS, *PADDED)
) -> tuple[list[Image.Image], list[str]]:
    images = [picture(int(h * partition), int(w * partition)) for h, w in shares]
    return images, [PROMPTS[i % len(PROMPTS)] for i in range(len(images))]


@pytest.fixture(scope="module")
def embedded() -> Model:
    return Halves("embedded"), Original(EMBEDDED)


@pytest.fixture(scope="module")
def random_336(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Stops at many ids, so that rows of a batch end at different steps."""
    folder = build_checkpoint(
        tmp_path_factory.mktemp("parity336"), seed=2, partition_size=336, stop_ids=MANY_STOPS
    )
    return Halves(folder), Original(folder)


def expected_singly(
    model: Original, images: Sequence[Image.Image], texts: Sequence[str], limit: int
) -> tuple[list[list[int]], list[int]]:
    rows = [model.generate([i], [t], limit) for i, t in zip(images, texts, strict=True)]
    return [tokens[0] for tokens, _ in rows], [lengths[0] for _, lengths in rows]


def check(
    halves: Halves, original: Original, shares: Sequence[tuple[float, float]], limit: int
) -> list[list[int]]:
    """Singly and in one mixed batch, on both sides; the tokens of each image."""
    images, prompts = cases(halves.spec.partition_size, shares)
    texts = [halves.template.render(prompt) for prompt in prompts]
    expected, lengths = expected_singly(original, images, texts, limit)
    for image, prompt, tokens in zip(images, prompts, expected, strict=True):
        alone = halves.requests([image], [prompt], DENSE, "all")
        assert halves.generate(alone, max_new_tokens=limit)[0].token_ids == tokens
    requests = halves.requests(images, prompts, DENSE, "all")
    assert [request.num_prompt_tokens for request in requests] == lengths
    together = halves.generate(requests, max_new_tokens=limit, batch_size=len(images))
    assert [completion.token_ids for completion in together] == expected
    for completion in together:
        assert completion.finish_reason == (
            "length" if len(completion.token_ids) == limit else "stop"
        )
    assert original.generate(images, texts, limit)[0] == expected
    return expected


def test_the_embedded_checkpoint(embedded: Model) -> None:
    """All five grids, without and with padding."""
    check(*embedded, (*GRIDS, *PADDED), limit=8)


def test_a_random_checkpoint_with_336_pixel_partitions(random_336: Model) -> None:
    tokens = check(*random_336, (*GRIDS, *PADDED), 8)
    # Nothing degenerate: texts differ, some rows stop early and at different steps.
    assert len({tuple(row) for row in tokens}) == len(tokens)
    assert len({len(row) for row in tokens}) >= 3


def test_every_method_is_dense_at_budget_one(embedded: Model) -> None:
    halves, original = embedded
    images, _ = cases(halves.spec.partition_size, ((1.3, 1.8), (1, 3)))
    prompts = ["Describe the image."] * 2
    texts = [halves.template.render(prompt) for prompt in prompts]
    expected, _ = expected_singly(original, images, texts, 12)
    for method in ("hired", "hired-upstream", "uniform", "stride", "random"):
        settings = reduction(method=method, token_budget=1.0)
        requests = halves.requests(images, prompts, settings, "all")
        completions = halves.generate(requests, max_new_tokens=12)
        assert [completion.token_ids for completion in completions] == expected, method


@pytest.mark.parametrize(
    ("seed", "decoder", "text"),
    [
        (21, MistralConfig, {"sliding_window": None, "rope_theta": 1e6}),  # -mistral-7b
        (22, Qwen2Config, {"rope_theta": 1e6, "use_sliding_window": False}),  # -72b, -110b
        (23, LlamaConfig, {"rope_theta": 5e6, "num_key_value_heads": 1}),  # -34b
        (24, LlamaConfig, {"num_key_value_heads": 4, "num_hidden_layers": 3}),  # -vicuna-13b
        (25, LlamaConfig, {"rope_theta": 5e5, "rms_norm_eps": 1e-5}),  # llama3-llava-next-8b
    ],
)
def test_the_decoders_of_the_published_sizes(
    tmp_path: Path, seed: int, decoder: type[Any], text: dict[str, Any]
) -> None:
    """Their kinds and proportions, at a width that a test can run."""
    folder = build_checkpoint(tmp_path, seed=seed, decoder=decoder, **text)
    check(Halves(folder), Original(folder), ((1, 2), (2, 2), (1.3, 1.9)), 6)


@pytest.mark.parametrize(
    ("seed", "text"),
    [
        (11, {"num_key_value_heads": 1}),
        (12, {"num_key_value_heads": 4, "head_dim": 48}),
        (13, {"tied": True}),
        (14, {"tied": False, "text_says_tied": True}),
        (15, {"tied": True, "text_says_tied": False}),
    ],
)
def test_other_decoder_shapes(tmp_path: Path, seed: int, text: dict[str, object]) -> None:
    folder = build_checkpoint(tmp_path, seed=seed, **text)
    halves, original = Halves(folder), Original(folder)
    images, prompts = cases(56)
    texts = [halves.template.render(prompt) for prompt in prompts]
    requests = halves.requests(images, prompts, DENSE, "all")
    completions = halves.generate(requests, max_new_tokens=8)
    expected, _ = expected_singly(original, images, texts, 8)
    assert [completion.token_ids for completion in completions] == expected


def test_sampled_texts_depend_on_the_seed_and_not_on_the_batch(small_checkpoint: Path) -> None:
    halves = Halves(small_checkpoint)
    images = [picture(56, 112), picture(100, 60), picture(90, 90)]
    requests = halves.requests(images, ["Describe."] * 3, DENSE, "all")
    backend = ReferenceBackend(
        halves.language, GenerationSettings(max_new_tokens=12, temperature=1.5)
    )
    together = [completion.token_ids for completion in backend.generate(requests)]
    alone = [backend.generate([request])[0].token_ids for request in requests]
    assert together == alone
    greedy = [c.token_ids for c in halves.generate(requests, max_new_tokens=12)]
    assert together != greedy
