"""Requests as prompt embeddings, generated for by vLLM."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from hired_core.backends.base import LOST, NOT_A_NUMBER, Capacity, EngineLostError
from hired_core.backends.device_queue import DeviceQueue
from hired_core.backends.vllm.engine import Engine
from hired_core.backends.vllm.plan import VllmPlan
from hired_core.backends.vllm.shares import ShareClock
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, LanguageModel, Request

_SHORTEST_WAIT_SEC: Final = 0.05


@dataclass(eq=False)
class _Text:
    """What has come of one request; readings are of the shared clock.

    Attributes:
        first: when its first token came; None: not yet.
    """

    began: float
    first: float | None = None
    first_sec: float = 0.0
    token_ids: list[int] = field(default_factory=list)
    late: bool = False


class VllmBackend:
    """Generates in vLLM's engine; safe to call from several threads at once.

    Requests of all calls share the engine, `plan.num_slots` at a time: a place that one leaves is
    taken by the next of any call. Rows are embedded in `queue`, when the place is there, so that no
    more of them lie in memory than are being read.

    Stop strings and time-outs are looked after here, as `slots` does, and end a request in the
    engine when they end its text.

    Args:
        model: its decoder is a `DecoderFolder`.
        engine: one that was started for such a plan; by default its own.
        clock: in seconds.
    """

    def __init__(
        self,
        model: LanguageModel,
        settings: GenerationSettings,
        plan: VllmPlan,
        *,
        queue: DeviceQueue | None = None,
        engine: Engine | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self.settings = settings
        self.plan = plan
        self._queue = queue or DeviceQueue()
        self._clock = clock
        self._shares = ShareClock(clock)
        self._stop_strings = model.stop_strings(settings.stop_strings)
        self._places = asyncio.Semaphore(plan.num_slots)
        self.engine = engine or Engine(model.decoder.path, plan, model.dtype)

    @property
    def capacity(self) -> Capacity:
        return self.plan.capacity

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in order; returns when the last of them has ended.

        Raises:
            ValueError: if a request does not fit.
            EngineLostError: if the engine has ended.
            RuntimeError: what went wrong with one of the requests.
        """
        for request in requests:
            self._check(request)
        return self.engine.run(self._all(requests, self._clock()))

    def close(self) -> None:
        """Ends the engine; what it is asked afterwards fails."""
        self.engine.close()

    def _check(self, request: Request) -> None:
        needed, most = (
            request.num_prompt_tokens + self.settings.max_new_tokens,
            self.plan.max_length,
        )
        if needed > most:
            raise ValueError(f"{needed} positions needed, a request of vllm has {most}")
        if request.places is not None:
            raise ValueError("vllm counts positions one by one, this request has its own")

    async def _all(self, requests: Sequence[Request], called: float) -> list[Completion]:
        ends = await asyncio.gather(
            *(self._one(request, called) for request in requests), return_exceptions=True
        )
        errors = [end for end in ends if isinstance(end, BaseException)]
        for error in sorted(errors, key=lambda error: not isinstance(error, LOST)):
            raise error
        return [end for end in ends if isinstance(end, Completion)]

    async def _one(self, request: Request, called: float) -> Completion:
        async with self._places:
            embeds = await asyncio.to_thread(self._queue.run, lambda: self._embed(request))
            return await self._generate(embeds, request.seed, called)

    @torch.inference_mode()
    def _embed(self, request: Request) -> Tensor:
        """[L, D] on the CPU, from where it goes to the engine."""
        embeds = self.model.embed(request)
        if not embeds.isfinite().all():
            raise RuntimeError(f"{NOT_A_NUMBER}, for this prompt")
        return embeds.cpu()

    async def _generate(self, embeds: Tensor, seed: int, called: float) -> Completion:
        text = _Text(began=self._shares.begin())
        try:
            following = asyncio.ensure_future(self._follow(embeds, seed, text, called))
            await self._watch(following, text)
            ended = self._shares.read()
        finally:
            self._shares.end()
        first = ended if text.first is None else text.first
        completion = self.model.complete(
            text.token_ids, cut_short=text.late, stop_strings=self._stop_strings
        )
        return replace(
            completion,
            prefill_sec=first - text.began,
            decode_sec=ended - first,
            ttft_sec=text.first_sec,
        )

    async def _follow(self, embeds: Tensor, seed: int, text: _Text, called: float) -> None:
        """Notes what comes, until the text ends or has to."""
        async with aclosing(self.engine.generate(embeds, self._parameters(seed))) as stream:
            async for delta in stream:
                if text.first is None:
                    text.first, text.first_sec = self._shares.read(), self._clock() - called
                text.token_ids += delta.token_ids
                if not all(map(math.isfinite, delta.logprobs)):
                    raise RuntimeError(NOT_A_NUMBER)
                if delta.ended or self._stopped(text.token_ids):
                    return
                if self._left_sec(text) <= 0:
                    text.late = True
                    return

    async def _watch(self, following: asyncio.Future[None], text: _Text) -> None:
        """Until it is done; ends it if nothing comes while its time runs out, or nothing can come.

        Raises:
            EngineLostError: if the engine has ended.
        """
        while not text.late:
            # In so long it cannot have more than what is left, and others may share the time.
            left = self._left_sec(text)
            await asyncio.wait(
                {following, self.engine.lost},
                timeout=None if left == math.inf else max(_SHORTEST_WAIT_SEC, left),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if following.done():
                return following.result()
            if self.engine.lost.done():
                await _cancel(following)
                raise EngineLostError("vllm's engine has ended")
            text.late = self._left_sec(text) <= 0
        await _cancel(following)

    def _left_sec(self, text: _Text) -> float:
        limit = self.settings.generation_timeout_sec
        return math.inf if limit is None else limit - (self._shares.read() - text.began)

    def _stopped(self, token_ids: list[int]) -> bool:
        return self._stop_strings is not None and self._stop_strings.end(token_ids) is not None

    def _parameters(self, seed: int) -> Any:
        """What the settings mean to vLLM; those of which it has none are refused by `vllm_kind`."""
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        settings = self.settings
        return SamplingParams(
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=seed if settings.temperature > 0 else None,
            max_tokens=settings.max_new_tokens,
            min_tokens=settings.min_new_tokens,
            stop_token_ids=sorted(self.model.stop_ids),
            ignore_eos=True,  # Those ids, and what vLLM may think of itself is none of them.
            logprobs=0,  # Of the chosen token: what is no number shows there.
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )


async def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
