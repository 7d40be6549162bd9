"""The next token: greedy, drawn, and a function of the request alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hired_core.backends.slots.sampling import SlotState, choose
from hired_core.language.generation import GenerationSettings
from hired_core.methods.selection import uniform
from tests.support.engine_cases import Case, tokens

DRAWS = 20_000
FOUR = torch.tensor([0.125, 0.5, 0.125, 0.25]).log()


def draw(
    row: Tensor, count: int = DRAWS, *, seed: int = 5, temperature: float = 1.0, top_p: float = 1.0
) -> Tensor:
    """`count` tokens of the same logits, a step for each."""
    seeds, steps = torch.full((count,), seed), torch.arange(count)
    return choose(row.expand(count, -1), seeds, steps, temperature=temperature, top_p=top_p)


def test_temperature_zero_takes_the_most_likely_token() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.9], [5.0, -1.0, 5.5], [1.0, 1.0, 0.0]])
    found = choose(logits, torch.arange(3), torch.arange(3), temperature=0.0, top_p=0.1)
    assert found.tolist() == [1, 2, 0]  # Of equals the first.


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    """Within four standard deviations for each of thirty tokens."""
    row = torch.randn(30, generator=torch.Generator().manual_seed(1)) * 2
    exact = (row.double() / temperature).softmax(-1)
    counts = torch.bincount(draw(row, temperature=temperature), minlength=30)
    deviation = (DRAWS * exact * (1 - exact)).sqrt()
    assert ((counts - DRAWS * exact).abs() <= 4 * deviation + 1).all()


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (0.25, [1]),
        (0.5, [1]),  # Enough by itself.
        (0.51, [1, 3]),
        (0.75, [1, 3]),
        (0.8, [0, 1, 3]),  # Of the two equals at the edge the first.
        (0.875, [0, 1, 3]),
        (0.88, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
        (1e-9, [1]),
    ],
)
def test_top_p_keeps_the_smallest_set(top_p: float, kept: list[int]) -> None:
    """Probabilities 1/2, 1/4, 1/8, 1/8; what is kept keeps its proportions."""
    found = draw(FOUR, top_p=top_p)
    assert found.unique().tolist() == kept
    share = FOUR.exp().double()[kept] / FOUR.exp().double()[kept].sum()
    counts = torch.bincount(found, minlength=4)[kept]
    assert ((counts - DRAWS * share).abs() <= 4 * (DRAWS * share * (1 - share)).sqrt()).all()


def test_a_draw_that_rounds_to_one_stays_in_the_set() -> None:
    step = torch.tensor([1_869_153])
    assert uniform(torch.tensor([0]), step).float() == 1.0, "an ordinary draw"
    for top_p, last in ((0.5, 1), (0.75, 3), (1.0, 2)):
        found = choose(FOUR[None], torch.tensor([0]), step, temperature=1.0, top_p=top_p)
        assert found.tolist() == [last]
    impossible = torch.tensor([[0.0, -1e9, 1.0]])
    found = choose(impossible, torch.tensor([0]), step, temperature=1.0, top_p=1.0)
    assert found.tolist() == [0]


@given(st.data(), st.integers(1, 6), st.sampled_from([0.3, 0.9, 1.0]))
def test_a_token_depends_on_its_row_seed_and_step_alone(
    data: st.DataObject, rows: int, top_p: float
) -> None:
    """Also among equal logits."""
    logits = torch.tensor(
        data.draw(
            st.lists(
                st.lists(st.integers(-2, 2), min_size=9, max_size=9), min_size=rows, max_size=rows
            )
        )
    ).float()
    seeds = torch.tensor(
        data.draw(st.lists(st.integers(0, 2**63 - 1), min_size=rows, max_size=rows))
    )
    steps = torch.tensor(data.draw(st.lists(st.integers(0, 500), min_size=rows, max_size=rows)))
    order = torch.tensor(data.draw(st.permutations(range(rows))))

    def chosen(index: Tensor) -> list[int]:
        found = choose(logits[index], seeds[index], steps[index], temperature=1.3, top_p=top_p)
        result: list[int] = found.tolist()
        return result

    together = chosen(torch.arange(rows))
    assert [chosen(torch.tensor([i]))[0] for i in range(rows)] == together
    assert chosen(order) == [together[i] for i in order.tolist()]


def test_seeds_and_steps_give_different_draws() -> None:
    flat = torch.zeros(1000)
    assert draw(flat, 50).tolist() != draw(flat, 50, seed=6).tolist()
    assert len(set(draw(flat, 50).tolist())) > 40


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_sampled_texts_depend_neither_on_slots_nor_on_neighbours(
    grouped: Case, top_p: float
) -> None:
    def sampled(num_slots: int, indices: list[int], seed: int = 2**62) -> dict[int, list[int]]:
        backend = grouped.backend(num_slots=num_slots, temperature=1.2, top_p=top_p)
        requests = [replace(grouped.requests[i], seed=seed + i * 7919) for i in indices]
        return dict(zip(indices, tokens(backend, requests), strict=True))

    forwards = list(range(30))
    expected = sampled(5, forwards)
    assert sampled(3, forwards[::-1]) == expected
    assert sampled(1, forwards[7:12]) == {i: expected[i] for i in range(7, 12)}
    changed = sampled(5, forwards, seed=3)
    assert sum(changed[i] != expected[i] for i in forwards) > 20
    assert sum(expected[i] != grouped.expected[i] for i in forwards) > 20


def state(max_new_tokens: int = 3) -> SlotState:
    settings = GenerationSettings(max_new_tokens=max_new_tokens)
    return SlotState(num_slots=3, settings=settings, stop_ids={2, 4}, device=torch.device("cpu"))


def rows(*choices: int) -> Tensor:
    """Logits of which each token is the most likely one."""
    return torch.nn.functional.one_hot(torch.tensor(choices), 5).float()


def test_a_slot_from_its_prompt_to_its_end() -> None:
    """The first slot idles; the third begins a step later than the second."""
    slots = state()
    slots.begin(1, rows(3)[0], length=10, seed=7)
    assert (slots.positions[1], slots.counts[1], slots.tokens[1]) == (10, 1, 3)
    slots.advance(rows(0, 1))
    slots.begin(2, rows(0)[0], length=4, seed=8)
    slots.advance(rows(0, 4, 2))
    assert slots.generated[1].tolist() == [3, 1, 4]
    assert slots.generated[2, :2].tolist() == [0, 2]
    assert slots.positions.tolist() == [0, 12, 5]
    assert slots.finished.tolist() == [False, True, True]
    slots.end(1)
    for _ in range(5):  # Idle slots are computed along, and stay where they are.
        slots.advance(rows(1, 1, 1))
    assert slots.positions.tolist() == [0, 12, 10]
    slots.begin(1, rows(0)[0], length=6, seed=9)
    assert not slots.finished[1] and slots.positions[1] == 6
    assert slots.generated[1, 0] == 0


def test_a_first_token_that_stops() -> None:
    slots = state(max_new_tokens=1)
    slots.begin(0, rows(2)[0], length=3, seed=0)
    assert slots.finished.tolist() == [True, False, False]
    assert slots.generated[0].tolist() == [2]


def test_what_was_saved_is_restored_in_place() -> None:
    slots = state()
    slots.begin(1, rows(3)[0], length=10, seed=7)
    held, saved = slots.tokens, slots.clone()
    before = [tensor.clone() for tensor in saved]
    slots.advance(rows(1, 4, 1))
    slots.restore(saved)
    assert held is slots.tokens
    for tensor, was in zip(slots.clone(), before, strict=True):
        assert torch.equal(tensor, was)
