"""How many visual tokens the language model really saw, and what they took of the cache.

A method inside the language model is given all of them and drops some on the way: what is left at
the end tells little of the work.
"""

from __future__ import annotations

from dataclasses import dataclass

from hired_core.geometry.spec import ModelSpec
from hired_core.vlm.settings import ReductionSettings

__all__ = ["Work", "work_of"]


@dataclass(frozen=True, kw_only=True)
class Work:
    """Of one image.

    Attributes:
        tokens: visual tokens that a decoder layer saw, a mean over layers.
        kv_bytes: of the keys and values of the image's positions, row ends among them, in all
            layers. Text and new tokens are apart: they are the same whatever is kept.
    """

    tokens: float
    kv_bytes: int


def work_of(
    settings: ReductionSettings,
    spec: ModelSpec,
    *,
    positions: int,
    kept: int,
    dense: int,
    value_bytes: int,
) -> Work:
    """Exact arithmetic from what was recorded of an answer.

    Args:
        positions: that the image took of the prompt, row ends among them.
        kept: visual tokens behind the last layer. `dense`: those of the unmodified model.
        value_bytes: of one number of the cache.
    """
    num_layers = spec.num_text_layers
    schedule = settings.schedule(spec.nominal_tokens, num_layers)
    before = _before(settings, spec, positions=positions, kept=kept, dense=dense)
    if schedule is None:
        dropped = [(num_layers, 0)]
    else:
        segments = schedule.segments(num_layers)
        dropped = [
            (len(layers), count)
            for layers, count in zip(segments, schedule.dropped(before), strict=True)
        ]
    seen = sum(layers * (before - count) for layers, count in dropped)
    cells = sum(layers * (positions - count) for layers, count in dropped)
    return Work(tokens=seen / num_layers, kv_bytes=2 * spec.kv_width * value_bytes * cells)


def _before(
    settings: ReductionSettings, spec: ModelSpec, *, positions: int, kept: int, dense: int
) -> int:
    """Visual tokens that entered the language model.

    Of two methods one after the other that is what the budget asked of the first.
    """
    if settings.resolve()[0].keeps_all:
        return dense
    if settings.schedule(spec.nominal_tokens, spec.num_text_layers) is None:
        return kept
    if settings.newline_policy == "none":
        return positions
    return min(settings.num_before(spec.nominal_tokens), dense, positions)
