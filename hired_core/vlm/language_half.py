"""Kept tokens and prompts to text: the language half.

The one place where kept tokens and a prompt become a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from hired_core.backends.base import Backend
from hired_core.choices import NewlinePolicy
from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.sequence import dense_positions, grid_positions, visual_sequence
from hired_core.geometry.spec import ModelSpec
from hired_core.language.model import Completion, Request
from hired_core.language.prompts import PromptTemplate
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.vision_half import KeptTokens


@dataclass(frozen=True, kw_only=True, eq=False)
class VisualInput:
    """An image as requests about it share it; the engine knows one image by these very tensors.

    Attributes: as of `Request`.
    """

    features: Tensor
    sequence: Tensor
    positions: Tensor | None
    projected: bool


@dataclass(frozen=True, kw_only=True)
class RequestBuilder:
    """Lays out requests for a model under its reduction settings; holds no weights."""

    spec: ModelSpec
    template: PromptTemplate
    settings: ReductionSettings

    def visual(self, kept: KeptTokens) -> VisualInput:
        """Of one image; give the same object to all questions about it."""
        layout = self.spec.layout(*kept.size, transposed_grid=self.settings.transposed_grid).dense()
        if layout.shrunk is not None and self.settings.resolve()[0].keeps_all:
            layout = layout.resized()
        geometry, policy = self.spec.geometry, self.settings.newline_policy
        if not geometry.max_row_ends(transposed_grid=self.settings.transposed_grid):
            policy = "none"
        return VisualInput(
            features=kept.features,
            sequence=visual_sequence(kept.place, layout, policy),
            positions=self._positions(kept, layout, policy),
            projected=kept.projected,
        )

    def _positions(
        self, kept: KeptTokens, layout: PartitionLayout, policy: NewlinePolicy
    ) -> Tensor | None:
        if self.spec.geometry.max_side is not None:
            return grid_positions(kept.place, layout)
        if self.settings.effective_positions == "compact":
            return None
        return dense_positions(kept.place, layout, policy)

    def request(
        self, visual: VisualInput, prompt: str, *, from_data: bool = False, seed: int = 0
    ) -> Request:
        """One question about one image.

        Args:
            from_data: see `PromptTemplate.render`.
            seed: of the sampler.

        Raises:
            PromptError: if the prompt cannot be used.
        """
        before, after = self.template.token_ids(prompt, from_data=from_data)
        return Request(
            features=visual.features,
            sequence=visual.sequence,
            before=before,
            after=after,
            places=visual.positions,
            seed=seed,
            projected=visual.projected,
        )


class LanguageHalf:
    """Answers questions about images that the vision half has encoded."""

    def __init__(self, builder: RequestBuilder, backend: Backend) -> None:
        self.builder = builder
        self.backend = backend

    def ask(self, kept: KeptTokens, prompts: Sequence[str]) -> list[Completion]:
        """One completion per prompt; the image is read once."""
        visual = self.builder.visual(kept)
        return list(self.backend.generate([self.builder.request(visual, p) for p in prompts]))

    def ask_each(self, kept: Sequence[KeptTokens], prompts: Sequence[str]) -> list[Completion]:
        """One completion per image, to the prompt beside it."""
        pairs = zip(kept, prompts, strict=True)
        requests = [self.builder.request(self.builder.visual(k), p) for k, p in pairs]
        return list(self.backend.generate(requests))
