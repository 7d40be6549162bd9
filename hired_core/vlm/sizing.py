"""How long requests become under the settings, and what a backend takes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hired_core.backends.base import BackendPlan, Sizes
from hired_core.backends.registry import backend_kind
from hired_core.backends.slots.memory import SlotLayout, layout_for
from hired_core.choices import BackendName, Quantization
from hired_core.geometry.spec import ModelSpec
from hired_core.language.generation import GenerationSettings
from hired_core.models.checkpoint import stored_bytes
from hired_core.models.registry import family_of
from hired_core.models.text_folder import quantization_of
from hired_core.vlm.settings import ReductionSettings


def max_length(
    spec: ModelSpec, settings: ReductionSettings, *, text_positions: int, max_new_tokens: int
) -> int:
    """L: the most positions a request can take; no more than the model has.

    Args:
        text_positions: of the prompt around the image.
    """
    visual = spec.max_visual_positions(
        settings.num_before(spec.nominal_tokens),
        settings.newline_policy,
        transposed_grid=settings.transposed_grid,
    )
    return min(visual + text_positions + max_new_tokens, spec.max_context)


def rotary_length(
    spec: ModelSpec, settings: ReductionSettings, *, text_positions: int, max_new_tokens: int
) -> int | None:
    """Rotary positions up to which a request can come; None: those of a slot."""
    side = spec.geometry.max_side
    if side is not None:
        longest = max_length(
            spec, settings, text_positions=text_positions, max_new_tokens=max_new_tokens
        )
        return min(max(longest, side + text_positions + max_new_tokens), spec.max_context)
    if settings.effective_positions == "compact":
        return None
    visual = spec.max_visual_positions(
        spec.nominal_tokens, "all", transposed_grid=settings.transposed_grid
    )
    return min(visual + text_positions + max_new_tokens, spec.max_context)


def request_sizes(
    spec: ModelSpec,
    settings: ReductionSettings,
    *,
    text_positions: int,
    max_new_tokens: int,
    dtype: torch.dtype,
    limit_bytes: int,
    max_slots: int,
    on_gpu: bool,
    images: int,
    tensor_parallel: int = 1,
    quantization: Quantization | None = None,
) -> Sizes:
    """What requests under the settings ask of a backend; reads configuration files only.

    Args:
        text_positions: of the prompt around the image.
        images: at once in the vision half, if it shares the memory; 0 if it does not.
        quantization: of the weights; by default there is none.

    Raises:
        ValueError: if the decoder has too few layers for the settings' method inside it.
    """
    method, options = settings.resolve()
    needs = method.needs(options)
    lengths = {"text_positions": text_positions, "max_new_tokens": max_new_tokens}
    longest, nominal = max_length(spec, settings, **lengths), spec.nominal_tokens
    return Sizes(
        spec=spec,
        max_length=longest,
        dtype=dtype,
        **_weights(spec, settings, dtype, quantization or Quantization(), images > 0),
        limit_bytes=limit_bytes,
        max_slots=max_slots,
        on_gpu=on_gpu,
        images=images,
        rotary_length=rotary_length(spec, settings, **lengths),
        schedule=settings.schedule(nominal, spec.num_text_layers),
        num_visual=min(settings.num_before(nominal), longest - max_new_tokens - 1),
        row_width=(spec.projected_width if settings.projects_rows(spec) else spec.feature_width),
        all_features=method.merges or needs.features or needs.projected,
        pairs=needs.pairs,
        tensor_parallel=tensor_parallel,
    )


def _weights(
    spec: ModelSpec,
    settings: ReductionSettings,
    dtype: torch.dtype,
    asked: Quantization,
    with_vision: bool,
) -> dict[str, Any]:
    """What `Sizes` has of weights."""
    family, folder = family_of(spec), Path(spec.path)
    vision, language = family.weights(spec)
    projector, stored = family.projector_count(spec), quantization_of(folder)
    around = projector + family.num_separators(spec) * spec.text_width
    decoder_bytes = dtype.itemsize * (language.total - around)
    if stored is not None:
        decoder_bytes = stored_bytes(folder, family.decoder_names(folder))
    held = [(language, asked.decoder)]
    if with_vision:
        own = vision.plus(projector if settings.projects_rows(spec) else 0)
        held.append((own, asked.vision))
    language_bytes, *vision_bytes = [each.stored_bytes(dtype, kind) for each, kind in held]
    return {
        "vision_bytes": sum(vision_bytes),
        "language_bytes": language_bytes,
        "widened_bytes": max(each.widened_bytes(dtype, kind) for each, kind in held),
        "words": around + spec.vocab_size * spec.text_width,
        "decoder": family.config(folder).text_config.model_type,
        "decoder_bytes": decoder_bytes,
        "stored_as": None if stored is None else str(stored.get("quant_method")),
        "quantize": asked.decoder,
    }


def slot_layout(
    spec: ModelSpec, settings: ReductionSettings, *, masked: bool = False, **sizes: Any
) -> SlotLayout:
    """As many slots as the limit has room for, each as long as the settings' longest request.

    Args:
        masked: whether texts are held to a form.
        sizes: as of `request_sizes`.

    Raises:
        MemoryLimitError: if there is no room for a single slot.
        ValueError: as `request_sizes`.
    """
    return layout_for(request_sizes(spec, settings, **sizes), masked=masked)


def plan_backend(name: BackendName, sizes: Sizes, generation: GenerationSettings) -> BackendPlan:
    """What a backend takes for requests of these sizes.

    Raises:
        UnsupportedError: if it cannot do what is asked.
        MemoryLimitError: if there is no room for a single request.
    """
    kind = backend_kind(name)
    kind.check(sizes, generation)
    return kind.plan(sizes, generation)
