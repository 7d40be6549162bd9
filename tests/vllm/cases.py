"""A model whose requests are answered by `slots` and by vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

from PIL import Image

from hired_core.backends.base import GIB
from hired_core.backends.registry import make_backend
from hired_core.backends.vllm.plan import VllmPlan
from hired_core.backends.vllm.vllm_backend import VllmBackend
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, LanguageModel, Request
from hired_core.vlm.sizing import plan_backend, request_sizes
from tests.support.halves import Halves, slot_backend
from tests.support.models import load_language
from tests.support.settings import reduction

PROMPT = "Describe the image."
NEW_TOKENS = 16
PLACES = 16
"""Requests at once in vLLM: fewer than there are, so that places are taken in turns."""


class Case:
    """Both halves of a model, and one engine, which all backends that are made here share."""

    def __init__(self, model: str, max_new_tokens: int = NEW_TOKENS) -> None:
        self.halves = Halves(model)
        self.settings = GenerationSettings(max_new_tokens=max_new_tokens)
        where = {"device": self.halves.language.device, "dtype": self.halves.language.dtype}
        self.words: LanguageModel = load_language(self.halves.spec, layers=False, **where)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "own" in vars(self):
            self.own.close()

    @property
    def model(self) -> LanguageModel:
        return self.halves.language

    def plan(self, **changed: Any) -> VllmPlan:
        """Room for the unmodified model's longest request."""
        given = {
            "text_positions": 64,
            "max_new_tokens": self.settings.max_new_tokens,
            "dtype": self.words.dtype,
            "limit_bytes": 4 * GIB,
            "max_slots": PLACES,
            "on_gpu": False,
            "images": 0,
        }
        settings = reduction(method="dense", token_budget=1.0)
        sizes = request_sizes(self.halves.spec, settings, **(given | changed))
        plan = plan_backend("vllm", sizes, self.settings)
        assert isinstance(plan, VllmPlan)
        return plan

    @cached_property
    def own(self) -> VllmBackend:
        return self.start()

    def start(self, **changed: Any) -> VllmBackend:
        """A backend with an engine of its own; close it."""
        made = make_backend("vllm", self.words, self.settings, plan=self.plan(**changed))
        assert isinstance(made, VllmBackend)
        return made

    def vllm(self, **changed: Any) -> VllmBackend:
        """With other settings, on the shared engine."""
        settings = replace(self.settings, **changed)
        return VllmBackend(self.words, settings, self.own.plan, engine=self.own.engine)

    def slots(self, requests: Sequence[Request], **changed: Any) -> list[Completion]:
        settings = replace(self.settings, **changed)
        return slot_backend(self.model, requests, settings, num_slots=PLACES).generate(requests)

    def requests(
        self, images: Sequence[Image.Image], prompts: Sequence[str], budget: float
    ) -> list[Request]:
        settings = reduction(method="hired" if budget < 1 else "dense", token_budget=budget)
        policy = "all" if budget == 1 else "none"
        return self.halves.requests(images, prompts, settings, policy)
