"""Answers under many settings at once are those of each model by itself."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

import hired_core
from hired_core.choices import Quantization
from hired_core.language.generation import GenerationSettings
from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.direct.answering import Answerer, answer_directly
from lab.evaluation.direct.loaded import LoadedModel, Room
from lab.evaluation.direct.together import each_or_code
from lab.questions import BenchmarkImage, Question
from tests.support.halves import picture
from tests.support.settings import reduction

SETTINGS = {
    "hired": reduction(token_budget=0.2),
    "skips": reduction(token_budget=0.2, skip_below=4),
    "few": reduction(token_budget=5, alpha=0.2),
    "upstream": reduction(method="hired-upstream", token_budget=0.4),
    "random": reduction(method="random", token_budget=0.3),
    "places": reduction(token_budget=0.3, positions="original", newline="kept-rows"),
    "pooled": reduction(method="average-pool", token_budget=0.2),
    "projected": reduction(method="average-pool", token_budget=0.2, projected=True),
    "fastv": reduction(method="fastv", token_budget=0.2),
    "both": ReductionSettings(budget=0.4, llm_method="fastv"),
    "dense": reduction(token_budget=1.0),
}
GENERATION = GenerationSettings(max_new_tokens=6)
SIZES = [(56, 112), (112, 112), (168, 56)]
PROMPTS = ("What is this?", "How many?")


def image(size: tuple[int, int], *prompts: str) -> BenchmarkImage:
    buffer = io.BytesIO()
    picture(*size).save(buffer, "png")
    questions = tuple(
        Question(question_id=f"{size} {text}", task="count", text=text, answers=("1",))
        for text in prompts
    )
    return BenchmarkImage(image_id=str(size), data=buffer.getvalue(), questions=questions)


@pytest.fixture(scope="module")
def model(small_checkpoint: Path) -> LoadedModel:
    return LoadedModel.load(str(small_checkpoint))


def test_texts_are_those_of_each_model_by_itself(
    small_checkpoint: Path, model: LoadedModel
) -> None:
    images = [image(size, *PROMPTS) for size in SIZES]
    done: list[int] = []
    found = answer_directly(SETTINGS, images, model, generation=GENERATION, report=done.append)
    assert list(found) == list(SETTINGS) and done == [len(SIZES)]
    assert len({str(answers) for answers in found.values()}) > len(SETTINGS) // 2
    for label, settings in SETTINGS.items():
        alone = hired_core.load(small_checkpoint, settings=settings, max_new_tokens=6)
        for one, answers in zip(images, found[label], strict=True):
            kept = alone.reduce(one.data)
            most = settings.num_after(alone.spec.nominal_tokens)
            for said, answer in zip(alone.ask(one.data, list(PROMPTS)), answers, strict=True):
                assert answer.text == said.text, label
                assert answer.visual_tokens_kept == min(len(kept.place), most)
                assert answer.visual_tokens_dense == kept.num_dense


def test_both_halves_in_eight_bits(small_checkpoint: Path) -> None:
    """What is shared between methods is the quantised tower's, too."""
    chosen = {label: SETTINGS[label] for label in ("hired", "pooled", "fastv")}
    eight = Quantization(decoder="int8", vision="fp8")
    model = LoadedModel.load(str(small_checkpoint), quantization=eight)
    images = [image(size, *PROMPTS) for size in SIZES]
    found = answer_directly(chosen, images, model, generation=GENERATION)
    for label, settings in chosen.items():
        alone = hired_core.load(
            small_checkpoint, settings=settings, max_new_tokens=6,
            quantize="int8", quantize_vision="fp8",
        )  # fmt: skip
        for one, answers in zip(images, found[label], strict=True):
            said = [each.text for each in alone.ask(one.data, list(PROMPTS))]
            assert [answer.text for answer in answers] == said, label


def test_chunks_and_chosen_labels_change_nothing(model: LoadedModel) -> None:
    images = [image(size, *PROMPTS) for size in SIZES]
    answerer = Answerer(model, SETTINGS, GENERATION, Room())
    whole, two = answerer(images), answerer(images, ["fastv", "hired"])
    parts = [answerer(images[:1]), answerer(images[1:])]
    assert set(two) == {"fastv", "hired"}
    for label, answers in whole.items():
        assert parts[0][label] + parts[1][label] == answers
        assert two.get(label, answers) == answers


def test_what_is_lost_says_why_and_costs_nothing_else(model: LoadedModel) -> None:
    whole = image(SIZES[0], *PROMPTS)
    broken = replace(whole, data=whole.data[: len(whole.data) // 2])
    strange = image(SIZES[1], "<image> Say no more.", " ", "word " * 600, PROMPTS[0])
    thin = image((1, 400), PROMPTS[0])
    chosen = {label: SETTINGS[label] for label in ("hired", "fastv")}
    found = answer_directly(chosen, [broken, whole, strange, thin], model, generation=GENERATION)
    alone = answer_directly(chosen, [whole], model, generation=GENERATION)
    for label, answers in found.items():
        codes = [[one.error_code for one in rows] for rows in answers]
        assert codes == [
            ["image_truncated"] * 2,
            [None, None],
            [None, "prompt_missing", "prompt_too_long", None],
            ["image_too_elongated"],
        ]
        assert answers[1] == alone[label][0]
        lost = [one.text is None for rows in answers for one in rows]
        assert lost == [code is not None for rows in codes for code in rows]


def test_samples_are_seeded_by_image_and_seed(model: LoadedModel) -> None:
    asked = [image(SIZES[0], PROMPTS[0]), image(SIZES[1], PROMPTS[0])]
    hot = GenerationSettings(max_new_tokens=6, temperature=2.0)
    chosen = {"hired": SETTINGS["hired"]}
    first = answer_directly(chosen, asked, model, generation=hot)
    assert (
        answer_directly(chosen, asked[::-1], model, generation=hot)["hired"]
        == (first["hired"][::-1])
    )
    other = answer_directly(chosen, asked, model, generation=replace(hot, seed=1))
    assert other != first


def test_one_item_at_fault_is_lost_alone() -> None:
    def work(items: object) -> list[int]:
        numbers = [int(item) for item in items]  # type: ignore[attr-defined]  # A list.
        if 3 in numbers:
            raise RuntimeError("three")
        return [10 * number for number in numbers]

    assert each_or_code(work, [1, 2], "bad") == [10, 20]
    assert each_or_code(work, [1, 3, 2], "bad") == [10, "bad", 20]
    assert each_or_code(work, [], "bad") == []
