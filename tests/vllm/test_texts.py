"""Greedy texts of vLLM are those of `slots`, which other tests hold against transformers."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from PIL import Image

from hired_core.language.model import Completion, Request
from lab.benchmark.images import make_images
from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from tests.support.near_ties import differences
from tests.vllm.cases import PROMPT, Case

NUM_IMAGES = 64
QUESTIONS = (PROMPT, "What does the sign say?", "Which colours are there?")
MOST_APART = 4
"""Of 64 texts; more than some near-ties would be no accident."""


def pictures(size: tuple[int, int]) -> list[Image.Image]:
    """Scenes and documents as the embedded model knows them, then clouds and shapes."""
    width, height = size
    data = [sample.image for sample in load_samples(SAMPLES).values()][: NUM_IMAGES // 2]
    data += make_images(NUM_IMAGES - len(data), width=width, height=height)
    return [Image.open(io.BytesIO(each)).convert("RGB") for each in data]


def check_same(
    case: Case, requests: Sequence[Request], ours: list[Completion], theirs: list[Completion]
) -> None:
    """Token for token, but for near-ties, of which there are few."""
    found = differences(case.model, requests, ours, theirs)
    assert all(each.near for each in found), found
    assert len(found) <= MOST_APART, found
    apart = {each.request for each in found}
    for index, (left, right) in enumerate(zip(ours, theirs, strict=True)):
        assert index in apart or left == right


@pytest.mark.parametrize("budget", [1.0, 0.2])
def test_the_embedded_model(embedded: Case, budget: float) -> None:
    images = pictures((360, 240))
    prompts = [QUESTIONS[i % 3] for i in range(NUM_IMAGES)]
    requests = embedded.requests(images, prompts, budget)
    theirs = embedded.own.generate(requests)
    check_same(embedded, requests, embedded.slots(requests), theirs)
    assert {done.finish_reason for done in theirs} >= {"stop"}
    assert all(done.prefill_sec > 0 and done.ttft_sec > 0 for done in theirs)


@pytest.mark.timeout(3000)
def test_44m_at_both_budgets(bigger: Callable[[], Case]) -> None:
    """Images of three partitions at the published geometry: some 1,700 tokens dense."""
    with bigger() as case:
        images = pictures((640, 320))
        for budget in (1.0, 0.2):
            requests = case.requests(images, [PROMPT] * NUM_IMAGES, budget)
            ours = case.slots(requests)
            check_same(case, requests, ours, case.own.generate(requests))
            assert {len(done.token_ids) for done in ours} == {case.settings.max_new_tokens}
            assert len({done.text for done in ours}) > NUM_IMAGES // 2


def test_a_text_does_not_depend_on_its_company(embedded: Case) -> None:
    """Alone, in another order, and from several threads while others are under way.

    Questions of one image, and the same question of images that begin alike: had vLLM kept
    prefixes by their tokens, which embeddings do not have, texts would mix.
    """
    images = pictures((300, 300))[:6]
    requests = [
        request for image in images for request in embedded.requests([image] * 3, QUESTIONS, 0.2)
    ]
    together = embedded.own.generate(requests)
    assert len({done.text for done in together[::3]}) > 3
    alone = [embedded.own.generate([request])[0] for request in requests[:6]]
    backward = embedded.own.generate(requests[::-1])[::-1]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(embedded.own.generate, [requests[i::4] for i in range(4)]))
    mixed = [parts[i % 4][i // 4] for i in range(len(requests))]
    for found in (alone, backward, mixed):
        check_same(embedded, requests[: len(found)], together[: len(found)], found)


def test_questions_of_one_image_share_its_tensors(embedded: Case) -> None:
    """As the job asks them."""
    image = pictures((300, 300))[0]
    first, *others = embedded.requests([image] * 3, QUESTIONS, 0.2)
    shared = [replace(each, features=first.features) for each in others]
    check_same(
        embedded,
        [first, *others],
        embedded.slots([first, *others]),
        embedded.own.generate([first, *shared]),
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"min_new_tokens": 14},
        {"stop_strings": (" a",)},
        {"stop_strings": ("e",), "min_new_tokens": 5},
        {"max_new_tokens": 3},
    ],
    ids=["least", "string", "string-and-least", "most"],
)
def test_settings_mean_the_same(embedded: Case, changed: dict[str, object]) -> None:
    images = pictures((300, 200))[:8]
    requests = embedded.requests(images, [PROMPT] * 8, 0.2)
    ours, theirs = embedded.slots(requests, **changed), embedded.vllm(**changed).generate(requests)
    check_same(embedded, requests, ours, theirs)
    assert ours != embedded.slots(requests)


def test_draws_repeat_and_depend_on_the_seed_alone(embedded: Case) -> None:
    drawing = embedded.vllm(temperature=1.5, top_p=0.95)
    (request,) = embedded.requests(pictures((300, 200))[:1], [PROMPT], 0.2)
    seeds = [replace(request, seed=seed) for seed in range(6)]
    first = drawing.generate(seeds)
    assert drawing.generate(seeds[::-1])[::-1] == first
    assert len({done.text for done in first}) > 1
