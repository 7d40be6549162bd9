"""The backend every other is measured against: transformers' own `generate` on embeddings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)

from hired_core.backends.base import NOT_A_NUMBER, Capacity, UnsupportedScheduleError
from hired_core.language.generation import GenerationSettings
from hired_core.language.grammar import Grammar, forbid, has_choice
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


class _NumberCheck(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped.
    """Notes rows whose logits are not numbers, on their device, and makes these zeros.

    A draw among what is no number would end a CUDA context. Rows that have ended are looked at no
    more: what is computed along for them is nobody's.
    """

    def __init__(self, stop_ids: Collection[int], device: torch.device) -> None:
        self._stop = torch.tensor(sorted(stop_ids), device=device)
        self._broken: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        broken = ~scores.amax(-1).isfinite()
        counts = broken & ~torch.isin(input_ids, self._stop).any(-1)
        self._broken = counts if self._broken is None else self._broken | counts
        return scores.masked_fill(broken[:, None], 0)

    @property
    def found(self) -> bool:
        return self._broken is not None and bool(self._broken.any())


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


class Masked(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped.
    """Allows what a grammar does; of `bans`, those that leave a row anything that it does.

    For one call of `generate`: it follows the rows' texts from their first token.
    """

    def __init__(self, grammar: Grammar, bans: LogitsProcessorList, num_rows: int) -> None:
        self._grammar = grammar
        self._bans = bans
        self._cursors = [grammar.cursor() for _ in range(num_rows)]
        self._masks = torch.empty(num_rows, grammar.num_words, dtype=torch.int32)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1]:
            for cursor, token in zip(self._cursors, input_ids[:, -1].tolist(), strict=True):
                cursor.take(token)
        self._grammar.fill(self._cursors, self._masks, range(len(self._cursors)))
        allowed = scores.clone()
        forbid(allowed, self._masks.to(scores.device))
        banned = self._bans(input_ids, allowed.clone())
        return torch.where(has_choice(banned), banned, allowed)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class ReferenceBackend:
    """`generate(inputs_embeds=...)` over left-padded batches of at most `batch_size` requests.

    A batch fails if what the model says of one of its rows is not a number.

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
        self._grammar = model.grammar(settings.form)
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
        check = _NumberCheck(self.model.stop_ids, embeds.device)
        ids = self.model.decoder.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            stopping_criteria=StoppingCriteriaList([first, deadline]),
            **_rotary(requests, embeds.device),
            **self._arguments(len(requests), check),
        )
        if check.found:
            raise RuntimeError(NOT_A_NUMBER)
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

    def _arguments(self, num_rows: int, check: LogitsProcessor) -> dict[str, Any]:
        stop = sorted(self.model.stop_ids)
        arguments: dict[str, Any] = {
            "max_new_tokens": self.settings.max_new_tokens,
            "do_sample": self.settings.temperature > 0,
            "eos_token_id": stop,
            "pad_token_id": stop[0],
        }
        arguments["logits_processor"] = self._processors(num_rows, check)
        if self.settings.stop_strings:
            arguments["stop_strings"] = list(self.settings.stop_strings)
            arguments["tokenizer"] = self.model.tokenizer
        if self.settings.temperature > 0:
            arguments |= {
                "temperature": self.settings.temperature,
                "top_p": self.settings.top_p,
                "top_k": 0,  # transformers' own default would cut at 50
            }
        return arguments

    def _processors(self, num_rows: int, check: LogitsProcessor) -> LogitsProcessorList:
        """Those that are asked for, behind the check, which needs logits as they are.

        None of them by its name: by that, transformers 5.23 has the penalty leave out as many
        generated tokens as a prompt has padding, so that it would depend on the batch; and some
        warn each time that they do not see the prompt.
        """
        settings, bans = self.settings, LogitsProcessorList()
        found = LogitsProcessorList([check])
        if settings.repetition_penalty != 1:
            found.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
        if settings.no_repeat_ngram_size:
            bans.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
        if settings.min_new_tokens:
            stop = torch.tensor(sorted(self.model.stop_ids), device=self.model.device)
            bans.append(MinNewTokensLengthLogitsProcessor(0, settings.min_new_tokens, stop))
        if self._grammar is not None:
            return LogitsProcessorList([*found, Masked(self._grammar, bans, num_rows)])
        return LogitsProcessorList([*found, *bans])


def _pad_left(rows: list[Tensor]) -> Tensor:
    """[B, L, ...], zeros before the shorter ones."""
    return pad_sequence(rows, batch_first=True, padding_side="left")


def _rotary(requests: Sequence[Request], device: torch.device) -> dict[str, Tensor]:
    """`position_ids` for `generate`, which counts on from the last; its own unless they differ."""
    if all(request.places is None for request in requests):
        return {}
    found = _pad_left([request.positions() for request in requests]).to(device)
    return {"position_ids": found if found.ndim == 2 else found.permute(2, 0, 1)}
