"""Kept visual tokens and prompts -> text."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from hired_core.backends.base import (
    LOST,
    Backend,
    BackendPlan,
    EngineLostError,
    MemoryLimitError,
    UnsupportedDecoderError,
)
from hired_core.backends.device_queue import DeviceQueue
from hired_core.backends.registry import backend_kind, make_backend
from hired_core.geometry.spec import ModelSpec
from hired_core.images.source import content_seed
from hired_core.language.grammar import GrammarError
from hired_core.language.model import Completion, Request
from hired_core.language.prompts import PromptError
from hired_core.models.registry import family_of
from hired_core.vlm.language_half import RequestBuilder, VisualInput
from hired_core.vlm.vision_half import KeptTokens
from pipeline.quality.checker import TextChecker
from pipeline.resources.memory import plan_here
from pipeline.resources.resolved import Resolved
from pipeline.rows.errors import ConfigError, ModelError
from pipeline.rows.row import CARRIED, PARSED, Row, fail, is_active, is_copy, to_rows, to_table
from pipeline.rows.schemas import ANSWERED_SCHEMA
from pipeline.settings.config import CaptionConfig
from pipeline.stages.context import StageContext, model_errors
from pipeline.stages.forms import FormChecker

STAGE = "generate"
_Job = tuple[Row, Request]


class GenerateStage:
    """Holds projector and language model; answers every question of every image in a batch.

    May be called from several threads at once: their requests share the engine's slots.
    """

    name: ClassVar[str] = STAGE

    def __init__(
        self, context: StageContext, resolved: Resolved, queue: DeviceQueue | None = None
    ) -> None:
        device, config = context.device(), resolved.config
        self._spec = resolved.spec
        self._builder = RequestBuilder(
            spec=resolved.spec, template=resolved.template, settings=config.reduction
        )
        question = config.question
        fixed = isinstance(question, CaptionConfig) and question.prompt_column is None
        self._from_data = not fixed
        self._generation = config.generation
        self._plan = plan_here(resolved, device, gpus=context.gpus)
        self._backend = _backend(resolved, self._plan, device, queue or DeviceQueue())
        self._forms = FormChecker(config.generation)
        self._checker = TextChecker(config.quality)
        self._meter = context.meter(STAGE, str(device))
        self._schema = context.extras.on_the_way(ANSWERED_SCHEMA, CARRIED, PARSED)
        self._reporter = context.reporter

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = [answer for row in to_rows(table) for answer in _per_question(row)]
        with self._meter.batch(rows) as record:
            images: dict[int, VisualInput] = {}
            jobs = [job for row in rows if is_active(row) and (job := self._job(row, images))]
            record |= self._answer(jobs)
            record["flags"] = self._flag([row for row, _ in jobs if is_active(row)])
            record["output_tokens"] = sum(row.get("output_tokens") or 0 for row in rows)
            if (slots := self._plan.capacity.num_slots) is not None:
                record |= {"slots": slots, "kv_bytes": self._plan.kv_bytes}
        self._report(rows)
        return to_table(rows, self._schema)

    def _report(self, rows: list[Row]) -> None:
        """Every row comes by here, good or bad: the place to count progress."""
        bad = sum(row["error_code"] is not None for row in rows)
        markers = sum(row["shard_rows"] is not None for row in rows)
        copies = sum(map(is_copy, rows))
        captioned = len(rows) - bad - markers - copies
        self._reporter.add(captioned=captioned, quarantined=bad, duplicates=copies)

    def _job(self, row: Row, images: dict[int, VisualInput]) -> _Job | None:
        """The row with its request; None if its prompt cannot be used, the row then failed."""
        prompt = row["prompt"]
        if prompt is None or not prompt.strip():
            fail(row, STAGE, "prompt_missing", "the prompt is null or blank")
            return None
        try:
            request = self._request(row, prompt, images)
        except PromptError as exc:
            fail(row, STAGE, "prompt_invalid", exc)
            return None
        row["prompt_tokens"] = request.num_prompt_tokens
        too_long = self._too_long(request)
        if too_long is not None:
            fail(row, STAGE, "prompt_too_long", too_long)
            return None
        return row, request

    def _too_long(self, request: Request) -> str | None:
        """What does not fit, if anything: its tokens, or their rotary positions."""
        capacity, model = self._backend.capacity, self._spec.max_context
        rooms = (capacity.max_length, capacity.rotary_length)
        length = request.num_prompt_tokens + self._generation.max_new_tokens
        for needed, room in zip((length, length + request.shift), rooms, strict=True):
            if needed > room:
                what = "the model" if room == model else "a slot (--max-prompt-tokens)"
                return f"{needed} positions needed, {what} has {room}"
        return None

    def _request(self, row: Row, prompt: str, images: dict[int, VisualInput]) -> Request:
        # Questions of one image hold the same bytes, and are given the same tensors: by that the
        # engine knows that their images are one.
        key = id(row["features"])
        if key not in images:
            images[key] = self._builder.visual(kept_tokens(row, self._spec))
        seed = (content_seed(row["sha256"]) ^ self._generation.seed) & (2**63 - 1)
        return self._builder.request(images[key], prompt, from_data=self._from_data, seed=seed)

    def _answer(self, jobs: list[_Job]) -> dict[str, float]:
        """Fills in the rows; what it took, for the record."""
        found = self._generate(jobs)
        for (row, _), completion in zip(jobs, found, strict=True):
            if completion is not None and completion.finish_reason == "timeout":
                limit = self._generation.generation_timeout_sec
                detail = f"{len(completion.token_ids)} tokens in {limit} s"
                fail(row, STAGE, "generation_timeout", detail)
            elif completion is not None:
                row.update(_columns(completion))
                self._forms.enter(row, STAGE)
        return _seconds([completion for completion in found if completion is not None])

    def _flag(self, rows: list[Row]) -> str | None:
        """Enters what is wrong with the texts, and fails rows of which it is not to pass.

        Returns how many have each flag, as JSON; None if none has any.
        """
        times: Counter[str] = Counter()
        for row in rows:
            flags = self._checker.flags(row["text"], row["prompt"], row["finish_reason"])
            row["flags"] = list(flags)
            times.update(row["flags"])
            if (reason := self._checker.rejected(flags)) is not None:
                fail(row, STAGE, "caption_rejected", f"{reason}: {row['text']}")
        return json.dumps(times) if times else None

    def _generate(self, jobs: list[_Job]) -> list[Completion | None]:
        """Together; should that fail, one by one, so that only the row at fault is lost."""
        found = self._generate_together([request for _, request in jobs]) if jobs else []
        if found is None:
            return [self._generate_alone(row, request) for row, request in jobs]
        return list(found)

    def _generate_together(self, requests: list[Request]) -> list[Completion] | None:
        """None if it fails; its tensors are gone by then, as no traceback holds them any more."""
        try:
            return self._backend.generate(requests)
        except LOST:
            raise  # The device is lost to this process: every later row would fail as well.
        except (RuntimeError, ValueError, IndexError):
            return None

    def _generate_alone(self, row: Row, request: Request) -> Completion | None:
        try:
            return self._backend.generate([request])[0]
        except LOST:
            raise
        except (RuntimeError, ValueError, IndexError) as exc:
            fail(row, STAGE, "generation_failed", f"{type(exc).__name__}: {exc}")
            return None


def _backend(
    resolved: Resolved, plan: BackendPlan, device: torch.device, queue: DeviceQueue
) -> Backend:
    """What the configuration names, with the weights.

    Raises:
        ModelError: if the checkpoint cannot be used, or the engine cannot run its decoder, or does
            not start.
        ConfigError: if that finds too little memory.
    """
    config = resolved.config
    with model_errors():
        spec = resolved.spec_here()
        language = family_of(spec).load_language(
            spec,
            device=device,
            dtype=resolved.dtype,
            tokenizer=resolved.template.tokenizer,
            quantized=config.model.quantize,
            layers=backend_kind(config.run.backend).runs_layers,
        )
    try:
        return make_backend(
            config.run.backend,
            language,
            config.generation,
            plan=plan,
            queue=queue,
            batch_size=config.run.batch_size,
        )
    except UnsupportedDecoderError as exc:
        raise ModelError(f"model: {exc}; --backend reference can run it") from exc
    except GrammarError as exc:
        raise ModelError(f"model: {exc}") from exc
    except MemoryLimitError as exc:
        raise ConfigError(f"memory_limit_gib: {exc}") from exc
    except EngineLostError as exc:
        raise ModelError(f"backend: {exc}") from exc


def _seconds(completions: list[Completion]) -> dict[str, float]:
    """Of a batch: device seconds, in all, and the mean time to the first token."""
    if not completions:
        return {}
    prefill = sum(completion.prefill_sec for completion in completions)
    decode = sum(completion.decode_sec for completion in completions)
    ttft = sum(completion.ttft_sec for completion in completions) / len(completions)
    seconds = {"prefill_sec": prefill, "decode_sec": decode, "ttft_sec": ttft}
    return seconds | ({"busy_sec": prefill + decode} if prefill else {})


def _per_question(row: Row) -> list[Row]:
    """One row per question; statistics stay with the first. Markers pass as they are."""
    if row["shard_rows"] is not None:
        return [row]
    ids, prompts = row["row_ids"], row["prompts"] or [None]
    names = row["prompt_names"] or [None] * len(ids)
    firsts = row.pop("firsts") or [None] * len(ids)
    own = zip(ids, prompts, names, firsts, strict=True)
    answers = [
        row | {"image_id": row_id, "prompt": prompt, "prompt_name": name, "first": first}
        for row_id, prompt, name, first in own
    ]
    for later in answers[1:]:
        later["stats"] = []
    for answer, failure in zip(answers, row["prompt_failures"] or [], strict=False):
        # An image that failed for reasons of its own failed for these.
        if failure is not None and (row["error_code"] or "prompt_").startswith("prompt_"):
            code, _, detail = failure.partition(": ")
            fail(answer, "read", code, detail)
    return answers


def kept_tokens(row: Row, spec: ModelSpec) -> KeptTokens:
    """What the select stage stored in `row`."""
    place = torch.from_numpy(np.frombuffer(row["place"], dtype=np.int32).astype(np.int64))
    width = spec.projected_width if row["projected"] else spec.feature_width
    return KeptTokens(
        features=_features(row["features"], place.shape[0], width),
        place=place,
        budgets=torch.tensor(row["partition_budgets"]),
        num_dense=row["visual_tokens_dense"],
        size=(row["height"], row["width"]),
        projected=row["projected"],
    )


def _features(data: bytes, count: int, width: int) -> Tensor:
    itemsize = len(data) // max(1, count * width)
    dtype = np.float32 if itemsize == 4 else np.float16
    return torch.from_numpy(np.frombuffer(data, dtype=dtype).reshape(count, width).copy())


def _columns(completion: Completion) -> dict[str, Any]:
    return {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "output_tokens": len(completion.token_ids),
    }
