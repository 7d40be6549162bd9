"""How long requests become under the settings, and how many slots a limit leaves for them."""

from __future__ import annotations

import torch

from hired_core.backends.slots.memory import SlotLayout, lay_out_slots
from hired_core.choices import Quantization
from hired_core.geometry.spec import ModelSpec
from hired_core.models.registry import family_of
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


def weight_bytes(
    spec: ModelSpec,
    settings: ReductionSettings,
    *,
    dtype: torch.dtype,
    quantization: Quantization,
    with_vision: bool,
) -> tuple[int, int]:
    """Of the language half's weights, and the vision half's where both share a process; and what
    reading them takes for a moment."""
    family = family_of(spec)
    vision, language = family.weights(spec)
    held = [(language, quantization.decoder)]
    if with_vision:
        projector = family.projector_count(spec) if settings.projects_rows(spec) else 0
        held.append((vision.plus(projector), quantization.vision))
    stored = sum(weights.stored_bytes(dtype, kind) for weights, kind in held)
    return stored, max(weights.widened_bytes(dtype, kind) for weights, kind in held)


def slot_layout(
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
    masked: bool = False,
    quantization: Quantization | None = None,
) -> SlotLayout:
    """As many slots as the limit has room for, each as long as the settings' longest request.

    Args:
        images: at once in the vision half, if it shares the process; 0 if it does not.
        masked: whether texts are held to a form.
        quantization: of the weights; by default there is none.

    Raises:
        MemoryLimitError: if there is no room for a single slot.
        ValueError: if the decoder has too few layers for the settings' method inside it.
    """
    method, options = settings.resolve()
    needs = method.needs(options)
    lengths = {"text_positions": text_positions, "max_new_tokens": max_new_tokens}
    longest, nominal = max_length(spec, settings, **lengths), spec.nominal_tokens
    stored, widened = weight_bytes(
        spec,
        settings,
        dtype=dtype,
        quantization=quantization or Quantization(),
        with_vision=images > 0,
    )
    return lay_out_slots(
        spec,
        max_length=longest,
        value_bytes=dtype.itemsize,
        weight_bytes=stored,
        widened_bytes=widened,
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
        masked=masked,
    )
