"""A job's settings, the checkpoint's files and the cluster, decided once.

The dry run prints it and the run carries it out; stages are given it and decide nothing anew. Made
by `pipeline.job.resolve`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from hired_core.backends.base import BackendPlan
from hired_core.geometry.spec import ModelSpec
from hired_core.language.prompts import PromptTemplate
from hired_core.models.checkpoint import resolve_checkpoint
from pipeline.resources.placement import Cluster, Placement
from pipeline.rows.extras import ExtraColumns
from pipeline.settings.config import JobConfig


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Pickles to the actors, tokenizer and all.

    Attributes:
        cluster: that it was decided for.
        text_positions: of a prompt around the image; the most where prompts come with the data.
        dtype: that the model computes in.
        placement: with the batches that a language actor has under way.
        backend: what that of a language actor takes.
        fields: what the fingerprint is taken over.
        extras: columns that the results have besides the standard ones. Those carried are known
            once the input is listed (`pipeline.job.plan`).
    """

    config: JobConfig
    cluster: Cluster
    spec: ModelSpec
    template: PromptTemplate
    text_positions: int
    dtype: torch.dtype
    placement: Placement
    backend: BackendPlan
    fields: Mapping[str, Any]
    fingerprint: str
    extras: ExtraColumns = field(default_factory=ExtraColumns)

    @property
    def fused(self) -> bool:
        """Whether vision and language share an actor."""
        return self.placement.vision is None

    def spec_here(self) -> ModelSpec:
        """The specification, with the checkpoint where it lies on this machine.

        Raises:
            CheckpointError: if it is not to be had here.
        """
        model = self.config.model
        return replace(self.spec, path=str(resolve_checkpoint(model.model, model.revision)))
