"""Kept visual tokens and prompts -> text."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from hired_core.engine.reference import ReferenceBackend
from hired_core.language import Backend, Completion, GenerationSettings, Request
from hired_core.prompts import PromptError
from hired_core.sequence import visual_sequence
from pipeline.config import CaptionConfig, GenerationConfig, JobConfig
from pipeline.records import ANSWERED_SCHEMA
from pipeline.rows import Row, fail, is_active, to_table
from pipeline.stages.context import StageContext, compute_dtype, model_errors
from pipeline.stages.select import content_seed

STAGE = "generate"
_Job = tuple[Row, Request]


class GenerateStage:
    """Holds projector and language model; answers every question of every image in a batch."""

    name: ClassVar[str] = STAGE

    def __init__(self, context: StageContext, config: JobConfig) -> None:
        from hired_core.models import llava_next  # transformers is loaded in the actor only

        device = context.device()
        self._spec = llava_next.load_spec(config.model.model, config.model.revision)
        self._template = llava_next.load_prompt_template(self._spec)
        dtype = compute_dtype(config.model, self._spec.stored_dtype, device)
        with model_errors():
            language = llava_next.load_language(self._spec, device=device, dtype=dtype)
        question = config.question
        fixed = isinstance(question, CaptionConfig) and question.prompt_column is None
        self._from_data = not fixed
        self._selection = config.selection
        self._generation = config.generation
        self._backend: Backend = ReferenceBackend(
            language, _settings(config.generation), batch_size=config.generation.batch_size
        )
        self._meter = context.meter(STAGE, str(device))
        self._reporter = context.reporter

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = [answer for row in table.to_pylist() for answer in _per_question(row)]
        with self._meter.batch(rows) as record:
            jobs = [job for row in rows if is_active(row) and (job := self._job(row))]
            self._answer(jobs)
            record["output_tokens"] = sum(row.get("output_tokens") or 0 for row in rows)
            record |= vars(self._backend.timing) if jobs else {}
        self._report(rows)
        return to_table(rows, ANSWERED_SCHEMA)

    def _report(self, rows: list[Row]) -> None:
        """Every row comes by here, good or bad: the place to count progress."""
        bad = sum(row["error_code"] is not None for row in rows)
        markers = sum(row["shard_rows"] is not None for row in rows)
        self._reporter.add(captioned=len(rows) - bad - markers, quarantined=bad)

    def _job(self, row: Row) -> _Job | None:
        """The row with its request; None if its prompt cannot be used, the row then failed."""
        prompt = row["prompt"]
        if prompt is None or not prompt.strip():
            fail(row, STAGE, "prompt_missing", "the prompt is null or blank")
            return None
        try:
            request = self._request(row, prompt)
        except PromptError as exc:
            fail(row, STAGE, "prompt_invalid", exc)
            return None
        row["prompt_tokens"] = request.num_prompt_tokens
        needed = request.num_prompt_tokens + self._generation.max_new_tokens
        if needed > self._spec.max_context:
            detail = f"{needed} positions needed, the model has {self._spec.max_context}"
            fail(row, STAGE, "prompt_too_long", detail)
            return None
        return row, request

    def _request(self, row: Row, prompt: str) -> Request:
        before, after = self._template.token_ids(prompt, from_data=self._from_data)
        layout = self._spec.layout(
            row["height"], row["width"], transposed_grid=self._selection.transposed_grid
        )
        order = torch.from_numpy(np.frombuffer(row["order"], dtype=np.int32).astype(np.int64))
        return Request(
            features=_features(row["features"], order.shape[0], self._spec.vision_width),
            sequence=visual_sequence(order, layout, self._selection.newline_policy),
            before=before,
            after=after,
            seed=(content_seed(row["sha256"]) ^ self._generation.seed) & (2**63 - 1),
        )

    def _answer(self, jobs: list[_Job]) -> None:
        for (row, _), completion in zip(jobs, self._generate(jobs), strict=True):
            if completion is not None and completion.finish_reason == "timeout":
                limit = self._generation.generation_timeout_sec
                detail = f"{len(completion.token_ids)} tokens in {limit} s"
                fail(row, STAGE, "generation_timeout", detail)
            elif completion is not None:
                row.update(_columns(completion))

    def _generate(self, jobs: list[_Job]) -> list[Completion | None]:
        """Together; should that fail, one by one, so that only the row at fault is lost."""
        if not jobs:
            return []
        try:
            return list(self._backend.generate([request for _, request in jobs]))
        except torch.AcceleratorError:
            raise  # The device is lost to this process: every later row would fail as well.
        except (RuntimeError, ValueError, IndexError):
            return [self._generate_alone(row, request) for row, request in jobs]

    def _generate_alone(self, row: Row, request: Request) -> Completion | None:
        try:
            return self._backend.generate([request])[0]
        except torch.AcceleratorError:
            raise
        except (RuntimeError, ValueError, IndexError) as exc:
            fail(row, STAGE, "generation_failed", f"{type(exc).__name__}: {exc}")
            return None


def _settings(generation: GenerationConfig) -> GenerationSettings:
    return GenerationSettings(
        max_new_tokens=generation.max_new_tokens,
        temperature=generation.temperature,
        top_p=generation.top_p,
        timeout_sec=generation.generation_timeout_sec,
    )


def _per_question(row: Row) -> list[Row]:
    """One row per question; statistics stay with the first. Markers pass as they are."""
    if row["shard_rows"] is not None:
        return [row]
    ids, prompts = row["row_ids"], row["prompts"] or [None]
    answers = [row | {"image_id": ids[i], "prompt": prompts[i]} for i in range(len(ids))]
    for later in answers[1:]:
        later["stats"] = []
    return answers


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
