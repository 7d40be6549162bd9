"""Requests for the slot engine, and what each of them is worth alone, by transformers itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hired_core.backends.slots.backend import SlotBackend
from hired_core.geometry.sequence import NEWLINE
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import LanguageModel, Request
from tests.support.halves import Halves, picture, slot_backend
from tests.support.settings import reduction

QUESTIONS = (
    "What?",
    "Describe the image.",
    "How many red circles are there in the second row?",
    "Describe the image and its colours.",
    "Describe the picture.",
    "Look: <image> and read the text in the lower half, please, from left to right.",
)
SHARES = ((1.0, 2.0), (1.3, 1.9), (2.9, 0.7))


@dataclass(frozen=True, kw_only=True)
class Case:
    """Requests and what greedy decoding makes of each alone."""

    halves: Halves
    requests: list[Request]
    max_new_tokens: int
    expected: list[list[int]]

    @property
    def model(self) -> LanguageModel:
        return self.halves.language

    def backend(self, *, num_slots: int, chunk: int = 4096, **settings: Any) -> SlotBackend:
        """Its slots fit all of them; `settings` add to those of greedy decoding."""
        given = GenerationSettings(**({"max_new_tokens": self.max_new_tokens} | settings))
        return slot_backend(self.model, self.requests, given, num_slots=num_slots, chunk=chunk)

    def finish_reasons(self) -> list[str]:
        full = self.max_new_tokens
        return ["length" if len(ids) == full else "stop" for ids in self.expected]


def make_case(halves: Halves, count: int, max_new_tokens: int) -> Case:
    requests = uneven(halves, count)
    expected = [alone(halves.language, request, max_new_tokens) for request in requests]
    return Case(halves=halves, requests=requests, max_new_tokens=max_new_tokens, expected=expected)


def ask(
    halves: Halves, seed: int, num_kept: int, questions: Sequence[str], *, newline: bool = False
) -> list[Request]:
    """Questions about one image, given the same tensors, as `GenerateStage` does.

    An image is `num_kept` of the visual tokens of a picture, or all; `seed` chooses which.
    """
    dense = _pictures(halves)[seed % len(SHARES)]
    drawn = torch.randperm(dense.shape[0], generator=torch.Generator().manual_seed(seed))
    features = dense[drawn[:num_kept].sort().values]
    sequence = torch.arange(len(features))
    if newline:
        sequence = torch.cat([sequence[: len(features) // 2], torch.tensor([NEWLINE]), sequence])
    texts = [halves.template.token_ids(question) for question in questions]
    return [
        Request(features=features, sequence=sequence, before=before, after=after)
        for before, after in texts
    ]


@cache
def _pictures(halves: Halves) -> list[Tensor]:
    size = halves.spec.partition_size
    images = [picture(int(height * size), int(width * size)) for height, width in SHARES]
    settings = reduction(method="dense", token_budget=1.0)
    return [kept.features for kept in halves.encode(images, settings)]


def apart(request: Request) -> Request:
    """The same question of an equal image, which the engine cannot know to be one."""
    return replace(request, features=request.features.clone(), sequence=request.sequence.clone())


def uneven(halves: Halves, count: int) -> list[Request]:
    """One to five questions for each of many images, of 3 to 32 visual tokens."""
    requests: list[Request] = []
    for index in range(count):
        chosen = [QUESTIONS[(index + i) % len(QUESTIONS)] for i in range(1 + index * 3 % 5)]
        requests += ask(halves, index, 3 + index * 11 % 30, chosen, newline=index % 3 == 0)
    return requests[:count]


@torch.inference_mode()
def alone(model: LanguageModel, request: Request, max_new_tokens: int) -> list[int]:
    """What transformers' own `generate` makes of it: batch 1, no padding; before the stop token."""
    stop = sorted(model.stop_ids)
    embeds = model.embed(request)[None]
    ids = model.decoder.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=stop,
        pad_token_id=stop[0],
    )[0].tolist()
    end = next((at for at, token in enumerate(ids) if token in stop), len(ids))
    found: list[int] = ids[:end]
    return found


def tokens(backend: SlotBackend, requests: Sequence[Request]) -> list[list[int]]:
    return [completion.token_ids for completion in backend.generate(requests)]
