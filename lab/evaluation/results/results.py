"""From stored answers to samples, figures and what they depend on."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow.parquet as pq
import torch

from hired_core.vlm.settings import ReductionSettings
from lab.environment import environment
from lab.evaluation.options import Settings
from lab.evaluation.results.answers import (
    SAMPLES_SCHEMA,
    Answer,
    mean,
    read_answers,
    sample_table,
    speed_of,
)
from lab.evaluation.results.bootstrap import LEVEL
from lab.evaluation.results.measure import Counts, count, measure
from lab.evaluation.results.ruler import Ruler
from lab.evaluation.store import AskedImage, QuestionStore
from lab.evaluation.study.runs import Variant
from lab.evaluation.study.study import GRID, Study
from lab.evaluation.where import sink_of
from pipeline.job.report import versions
from pipeline.job.resolve import load_spec
from pipeline.parts.sink import REPORT
from pipeline.rows.errors import ConfigError
from pipeline.settings.fingerprint import model_digest
from pipeline.storage.store import Store

__all__ = ["build_results", "kept_images"]


def build_results(
    settings: Settings,
    study: Study,
    tasks: Sequence[str],
    questions: QuestionStore,
    store: Store,
    timing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of the results file; stores a row for each answer on the way.

    One variant's answers are in memory at a time.

    Args:
        timing: of `lab.evaluation.direct.timed`, where speed was measured.
    """
    ruler = Ruler(settings)
    timed = {} if timing is None else timing["runs"]
    asked = questions.asked()
    kept = kept_images(study, asked)
    counts: dict[str, Counts] = {}
    facts = []
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, SAMPLES_SCHEMA, compression="zstd") as samples:
        for variant in study.variants:
            answers = read_answers(sink_of(settings, variant.run), asked)
            keep = kept[variant.images]
            seen = [image for image, keeps in zip(asked, keep, strict=True) if keeps]
            samples.write_table(sample_table(seen, answers, _names(variant)))
            counts[variant.label] = count(asked, answers, tasks, keep)
            facts.append(
                _facts(settings, variant, seen, answers)
                | ruler.work(variant.run.reduction, seen, answers)
                | {"timed": timed.get(variant.run.label)}
            )
    store.put(f"{samples_name(study)}.parquet", buffer.getvalue())
    evaluation = settings.evaluation
    return {
        "title": study.title,
        "benchmark": questions.manifest(),
        "model": _model(settings),
        "bootstrap": {"draws": evaluation.draws, "level": LEVEL, "seed": evaluation.seed},
        "against": dict(study.against),
        "variants": facts,
        "figures": measure(
            study.variants, counts, asked, tasks, num_draws=evaluation.draws, seed=evaluation.seed
        ),
        "timing": None if timing is None else {k: v for k, v in timing.items() if k != "runs"},
        "settings": asdict(settings),
        "environment": _environment(),
    }


def samples_name(study: Study) -> str:
    """ "samples", or "ablation-alpha-samples"."""
    return "samples" if study.name == GRID else f"{study.name}-samples"


def kept_images(study: Study, asked: Sequence[AskedImage]) -> dict[str | None, list[bool]]:
    """Which images count, for each restriction in the study.

    Raises:
        ConfigError: if the questions do not tell of which images that is true, or of none.
    """
    return {name: _kept(name, asked) for name in {variant.images for variant in study.variants}}


def _kept(name: str | None, asked: Sequence[AskedImage]) -> list[bool]:
    if name is None:
        return [True] * len(asked)
    told = [[question.details.get(name) for question in image.questions] for image in asked]
    if any(None in values for values in told):
        raise ConfigError(f"ablation: the benchmark does not tell which images are {name}")
    kept = [set(values) == {"yes"} for values in told]
    if not any(kept):
        raise ConfigError(f"ablation: no image is {name}; ask for more with --num-samples")
    return kept


def _names(variant: Variant) -> dict[str, Any]:
    selection = variant.run.reduction
    return {
        "method": selection.effective_method,
        "budget": selection.token_budget,
        "label": variant.label,
    }


def _selection(reduction: ReductionSettings) -> dict[str, Any]:
    """Its settings, options of the method among them."""
    settings = asdict(reduction) | {"alpha": reduction.effective_alpha}
    return settings | asdict(reduction.options)


def _facts(
    settings: Settings, variant: Variant, asked: Sequence[AskedImage], answers: Mapping[str, Answer]
) -> dict[str, Any]:
    """What is told of a variant beside its figures; speed is of the whole run."""
    sink = sink_of(settings, variant.run)
    given = [answers[row_id] for image in asked for row_id in image.row_ids]
    speed = speed_of(sink)
    report = sink.get_json(REPORT) or {}
    return _names(variant) | {
        "run": variant.run.label,
        "selection": _selection(variant.run.reduction),
        "fingerprint": report.get("fingerprint"),
        "images": len(asked),
        "questions": len(given),
        "quarantined": sum(answer.text is None for answer in given),
        "visual_tokens_kept": mean([answer.visual_tokens_kept for answer in given]),
        "visual_tokens_dense": mean([answer.visual_tokens_dense for answer in given]),
        "images_per_sec": speed.running,
        "images_per_sec_with_start": speed.with_start,
        "placement": report.get("placement"),
    }


def _model(settings: Settings) -> dict[str, Any]:
    spec = load_spec(settings.model)
    asked = asdict(settings.model.quantization).items()
    return {
        "name": settings.model.model,
        "weights": model_digest(spec),
        **{f"{half}_weights": kind for half, kind in asked if kind},
    }


def _environment() -> dict[str, Any]:
    found = environment(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return found | {"versions": found["versions"] | versions()}
