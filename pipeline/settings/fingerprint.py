"""One digest over everything that changes a caption."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from hired_core.geometry.spec import ModelSpec
from hired_core.language.generation import GenerationSettings
from hired_core.models.checkpoint import weights_digest
from hired_core.models.registry import family_of
from pipeline.isolation.protocol import DEFAULT_OPTIONS
from pipeline.settings.config import CaptionConfig, InputConfig, JobConfig
from pipeline.storage.files import local_path, redact_url

PREPROCESSING_VERSION: Final = 1
"""Raised whenever decoding, partitioning or selection changes what a model sees of ordinary images.

Not for images that were quarantined before, nor for the few that are marked in `image_notes`: an
output goes on, and its marked rows are those that an earlier version saw otherwise.
"""

_ADDED: Final = (
    *("repetition_penalty", "no_repeat_ngram_size", "min_new_tokens", "stop_strings"),
    *("schema", "choices"),
)
"""Settings of generation that came later: results made before them stay results of the default."""

_NO_DIFFERENCE: Final = ("generation_timeout_sec",)
"""Settings of generation that change no caption."""


def fingerprint_fields(config: JobConfig, spec: ModelSpec, dtype: str) -> dict[str, Any]:
    """What the fingerprint is taken over, readable, for a diff when it changes.

    Args:
        dtype: that the model computes in, e.g. "float16".
    """
    selection, generation = config.reduction, config.generation
    question = config.question
    fixed = isinstance(question, CaptionConfig) and question.prompt_column is None
    return {
        "model": config.model.model,
        "weights": model_digest(spec),
        "dtype": dtype,
        "image_column": config.input.image_column,
        "id_column": config.input.id_column,
        **_image_root(config.input.image_root),
        **_rows_of_tars(config),
        "method": selection.effective_method,
        "token_budget": float(selection.token_budget),
        "budget_basis": selection.basis_for(spec),
        "alpha": selection.effective_alpha,
        "newline": selection.newline_policy,
        "transposed_grid": selection.transposed_grid,
        "skip_below": selection.effective_skip_below,
        "prompt": _prompts(question) if fixed and isinstance(question, CaptionConfig) else None,
        "prompt_column": None if fixed else _column(question),
        "generation": _generation(generation),
        # Greedy texts are those of the unmodified model, whatever runs it; draws are not.
        "sampler": config.run.backend if generation.temperature > 0 else None,
        "preprocessing": PREPROCESSING_VERSION,
        **_changed_options(config),
        **_likeness(config),
    }


def _prompts(question: CaptionConfig) -> str | dict[str, str]:
    """The one text, or texts by name."""
    if question.prompts[0].name is None:
        return question.prompts[0].text
    return {str(prompt.name): prompt.text for prompt in question.prompts}


def _generation(settings: GenerationSettings) -> dict[str, Any]:
    default = asdict(GenerationSettings())
    found = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(settings).items()}
    found["schema"] = json.dumps(settings.schema)  # A text: the order of its keys is that of texts.
    return {
        key: value
        for key, value in found.items()
        if key not in _NO_DIFFERENCE
        and (key not in _ADDED or asdict(settings)[key] != default[key])
    }


def _changed_options(config: JobConfig) -> dict[str, Any]:
    """How images are cut, tokens kept and weights stored, where it is not the default way: results
    made before there was a choice stay results of the default."""
    options, default = asdict(config.input.cut_options), asdict(DEFAULT_OPTIONS)
    changed = {key: value for key, value in options.items() if value != default[key]}
    model = config.model
    for key in ("image_options", "quantize", "quantize_vision"):
        if getattr(model, key):
            changed[key] = getattr(model, key)
    return changed | config.reduction.variations


def _image_root(root: str | None) -> dict[str, str]:
    """Which files the paths of a table mean; without what a URL may hold of secrets."""
    return {} if root is None else {"image_root": redact_url(local_path(root) or root)}


def _rows_of_tars(config: JobConfig) -> dict[str, str]:
    """Which rows a tar has and what they are called, where it is not the default way."""
    given, default = config.input, InputConfig.tar_keys
    keys = {"tar_keys": given.tar_keys} if given.tar_keys != default else {}
    return keys | ({} if given.image_member is None else {"image_member": given.image_member})


def _likeness(config: JobConfig) -> dict[str, Any]:
    """Exact duplicates would have had the same caption; near ones not quite."""
    bits = config.duplicates.near_duplicates
    return {} if bits is None else {"near_duplicates": bits}


def _column(question: Any) -> str:
    return str(getattr(question, "question_column", None) or question.prompt_column)


def fingerprint(fields: dict[str, Any]) -> str:
    """16 hex digits."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def model_digest(spec: ModelSpec) -> str:
    """Of all that a model is made of."""
    return weights_digest(*family_of(spec).folders(Path(spec.path)))
