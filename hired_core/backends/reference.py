"""The backend every other is measured against: transformers' own `generate` on embeddings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)

from hired_core.backends.base import Capacity, UnsupportedScheduleError
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, LanguageModel, Request
from hired_core.methods.schedule import KeepSchedule


class FirstToken(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped.
    """Notes when `generate` has its first token; never stops it."""

    def __init__(self, device: torch.device) -> None:
        self.at: float | None = None
        self._device = device

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        if self.at is None:
            self.at = _now(self._device)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class _Deadline(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped.
    """Stops all rows of a batch once the clock has passed `at`; then `passed` is true."""

    def __init__(self, clock: Callable[[], float], at: float) -> None:
        self.passed = False
        self._clock = clock
        self._at = at

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        self.passed = self.passed or self._clock() > self._at
        return torch.full(
            (input_ids.shape[0],), self.passed, dtype=torch.bool, device=input_ids.device
        )


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class ReferenceBackend:
    """`generate(inputs_embeds=...)` over left-padded batches of at most `batch_size` requests.

    Requests are batched with others of similar length. Sampling runs row by row, each with its own
    seed, so that a text does not depend on its batch. A batch shares one clock: when it runs out,
    the requests that have not finished are generated anew, each alone and with a clock of its own.

    Raises:
        UnsupportedScheduleError: if there is a `schedule`.
    """

    def __init__(
        self,
        model: LanguageModel,
        settings: GenerationSettings,
        *,
        batch_size: int = 8,
        schedule: KeepSchedule | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if schedule is not None:
            raise UnsupportedScheduleError(
                "the reference backend runs transformers' own layers, which all see the same rows; "
                "a method that drops rows between layers needs the slots backend"
            )
        self.model = model
        self.settings = settings
        self.batch_size = batch_size if settings.temperature == 0 else 1
        self._stop_strings = model.stop_strings(settings.stop_strings)
        self._clock = clock

    @property
    def capacity(self) -> Capacity:
        """No slots and no bound on memory; requests as long as the model's context."""
        context = self.model.spec.max_context
        return Capacity(num_slots=None, total_bytes=None, max_length=context, rotary_length=context)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in order."""
        called = _now(self.model.device)
        by_length = sorted(range(len(requests)), key=lambda i: requests[i].num_prompt_tokens)
        done: dict[int, Completion] = {}
        for start in range(0, len(by_length), self.batch_size):
            chosen = by_length[start : start + self.batch_size]
            found = self._batch([requests[i] for i in chosen], called)
            done.update(zip(chosen, found, strict=True))
        return [done[i] for i in range(len(requests))]

    def _batch(self, requests: list[Request], called: float) -> list[Completion]:
        found = self._together(requests, called)
        if len(requests) == 1:
            return found
        return [
            self._together([request], called)[0] if done.finish_reason == "timeout" else done
            for request, done in zip(requests, found, strict=True)
        ]

    def _together(self, requests: list[Request], called: float) -> list[Completion]:
        rows = [self.model.embed(request) for request in requests]
        embeds = _pad_left(rows)
        mask = _pad_left([row.new_ones(row.shape[0], dtype=torch.long) for row in rows])
        if self.settings.temperature > 0:
            torch.manual_seed(requests[0].seed)
        started, first = _now(embeds.device), FirstToken(embeds.device)
        limit = self.settings.generation_timeout_sec
        deadline = _Deadline(self._clock, math.inf if limit is None else self._clock() + limit)
        ids = self.model.decoder.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            stopping_criteria=StoppingCriteriaList([first, deadline]),
            **_rotary(requests, embeds.device),
            **self._arguments(),
        )
        begun, count = first.at or started, len(requests)
        decode_sec = _now(embeds.device) - begun
        cut_short = deadline.passed and ids.shape[1] < self.settings.max_new_tokens
        return [
            replace(
                self.model.complete(row, cut_short=cut_short, stop_strings=self._stop_strings),
                prefill_sec=(begun - started) / count,
                decode_sec=decode_sec / count,
                ttft_sec=begun - called,
            )
            for row in ids.tolist()
        ]

    def _arguments(self) -> dict[str, Any]:
        stop = sorted(self.model.stop_ids)
        arguments: dict[str, Any] = {
            "max_new_tokens": self.settings.max_new_tokens,
            "do_sample": self.settings.temperature > 0,
            "eos_token_id": stop,
            "pad_token_id": stop[0],
        }
        arguments |= _constraints(self.settings)
        if self.settings.stop_strings:
            arguments["tokenizer"] = self.model.tokenizer
        if self.settings.temperature > 0:
            arguments |= {
                "temperature": self.settings.temperature,
                "top_p": self.settings.top_p,
                "top_k": 0,  # transformers' own default would cut at 50
            }
        return arguments


def _constraints(settings: GenerationSettings) -> dict[str, Any]:
    """Those that are asked for.

    Two of them as processors, not by name: by its name, transformers 5.23 has the penalty leave out
    as many generated tokens as a prompt has padding, so that it would depend on the batch; and both
    warn each time that they do not see the prompt.
    """
    found: dict[str, Any] = {}
    processors = LogitsProcessorList()
    if settings.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    if processors:
        found["logits_processor"] = processors
    if settings.min_new_tokens:
        found["min_new_tokens"] = settings.min_new_tokens
    if settings.stop_strings:
        found["stop_strings"] = list(settings.stop_strings)
    return found


def _pad_left(rows: list[Tensor]) -> Tensor:
    """[B, L, ...], zeros before the shorter ones."""
    return pad_sequence(rows, batch_first=True, padding_side="left")


def _rotary(requests: Sequence[Request], device: torch.device) -> dict[str, Tensor]:
    """`position_ids` for `generate`, which counts on from the last; its own unless they differ."""
    if all(request.places is None for request in requests):
        return {}
    found = _pad_left([request.positions() for request in requests]).to(device)
    return {"position_ids": found if found.ndim == 2 else found.permute(2, 0, 1)}
