"""What a kind of vision tower says of itself, and what all kinds have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from hired_core.choices import WeightFormat
from hired_core.geometry.spec import ModelSpec
from hired_core.models.text import no_init
from hired_core.models.weights import Weights, filled, home_of
from hired_core.vision.patch_groups import PatchGroups
from hired_core.vision.tower import VisionTower

Triple = tuple[float, float, float]

BICUBIC: Final = 3
LANCZOS: Final = 1


class TowerKind(ABC):
    """One kind of tower; stateless.

    Attributes:
        kinds: the `model_type`s of `vision_config` that it reads.
        has_cls: whether token 0 is a CLS token. Where there is none, methods that ask for CLS
            attention are shown the attention that patches receive.
        mean, std: of pixels in [0, 1], where a checkpoint does not say.
    """

    kinds: tuple[str, ...]
    has_cls: bool
    mean: Triple
    std: Triple

    @abstractmethod
    def make(self, vision: Any, **how: Any) -> Any:
        """transformers' module of this configuration, with what is not used left out."""

    @abstractmethod
    def embed(self, tower: Any, pixels: Tensor, *, resized: bool = False) -> Tensor:
        """[M, T, C] entering layer 0; `resized`: the squares are not of the tower's own size."""

    def layers(self, tower: Any) -> list[Any]:
        """As `vision.encoder_layer` takes them."""
        return list(tower.encoder.layers)

    def last_norm(self, tower: Any) -> Callable[[Tensor], Tensor] | None:
        """What features pass after the feature layer."""
        return None

    def inner(self, tower: Any) -> Any:
        """Of a module as transformers' models hold it, the one that `make` gives."""
        return tower

    def normalisation(self, image: dict[str, Any]) -> tuple[Triple, Triple]:
        """Mean and standard deviation per channel of a checkpoint's image processor."""
        mean = tuple(float(value) for value in image.get("image_mean", self.mean))
        std = tuple(float(value) for value in image.get("image_std", self.std))
        return mean, std  # type: ignore[return-value]  # Three of each, or the tower would not run.

    def params(self, vision: Any, num_layers: int) -> int:
        """Weights that each token passes through."""
        width, size = vision.hidden_size, one_of(vision.patch_size)
        layer = 4 * width**2 + 2 * width * vision.intermediate_size
        return int(3 * size**2 * width + num_layers * layer)

    def weights(self, vision: Any, num_layers: int) -> Weights:
        """Numbers that `load` holds."""
        vision.num_hidden_layers = num_layers
        with torch.device("meta"):
            tower = self.make(vision)
        return Weights.of(tower)

    def load(
        self,
        spec: ModelSpec,
        vision: Any,
        tensors: Iterator[tuple[str, Tensor]],
        *,
        device: torch.device,
        dtype: torch.dtype,
        quantized: WeightFormat | None = None,
    ) -> VisionTower:
        """From a checkpoint, up to the feature layer; later layers are neither read nor kept.

        Args:
            tensors: the checkpoint's, by the module's names.
            quantized: see `hired_core.models.weights`.
        """
        vision.num_hidden_layers = spec.feature_layer + 1
        with no_init(home_of(device, quantized)):
            tower = self.make(vision, dtype=dtype, attn_implementation="sdpa")
        tower = filled(tower, tensors, tied=set(), device=device, quantized=quantized)
        return self._wrapped(tower, spec)

    def live(self, tower: Any, spec: ModelSpec) -> VisionTower:
        """Of a model in memory; no weight is copied."""
        return self._wrapped(self.inner(tower), spec)

    def _wrapped(self, tower: Any, spec: ModelSpec) -> VisionTower:
        weight = next(tower.parameters())
        return VisionTower(
            embed=partial(self.embed, tower),
            layers=self.layers(tower)[: spec.feature_layer + 1],
            has_cls=self.has_cls,
            mean=spec.mean,
            std=spec.std,
            device=weight.device,
            dtype=weight.dtype,
            embed_resized=partial(self.embed, tower, resized=True),
            groups=PatchGroups(merge=spec.geometry.merge),
            last_norm=self.last_norm(tower),
        )


def one_of(size: Any) -> int:
    """The side of what some configurations give as (height, width)."""
    return int(size if isinstance(size, int) else size[0])


def without(module: nn.Module, *names: str) -> nn.Module:
    """The module, these parts of it replaced by nothing."""
    for name in names:
        if hasattr(module, name):
            setattr(module, name, nn.Identity())
    return module
