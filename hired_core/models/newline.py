"""What families on AnyRes grids share: a learnt newline ends each row of stitched sub-images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hired_core.geometry.canvas import Size
from hired_core.geometry.spec import ModelSpec
from hired_core.models.base import Family
from hired_core.models.checkpoint import CheckpointError, fill


class NewlineFamily(Family):
    """Separator 0 is the checkpoint's `image_newline`."""

    def num_separators(self, spec: ModelSpec) -> int:
        return 1

    def separators(self, spec: ModelSpec, decoder: Any, tokenizer: Any) -> Tensor:
        """[1, D], the newline."""
        holder = nn.ParameterDict({"image_newline": nn.Parameter(torch.empty(spec.text_width))})
        fill(holder, self.read_tensors(Path(spec.path), _newline_name), tied=set())
        newline: Tensor = holder["image_newline"].detach()
        return newline[None]

    def live_separators(self, model: Any, spec: ModelSpec, decoder: Any, tokenizer: Any) -> Tensor:
        newline: Tensor = model.model.image_newline.detach()
        return newline[None]


def grid_points(pinpoints: Any, size: int) -> tuple[Size, ...]:
    """(height, width) of the canvases on offer; raises `CheckpointError` unless `size` divides."""
    points = tuple((int(height), int(width)) for height, width in pinpoints)
    if not points or any(h % size or w % size for h, w in points):
        raise CheckpointError(f"grid pinpoints {points} are no multiples of {size} pixels")
    return points


def _newline_name(name: str) -> str | None:
    return "image_newline" if name.removeprefix("model.") == "image_newline" else None
