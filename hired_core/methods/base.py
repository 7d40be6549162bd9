"""What a method is: what it needs, what it is handed, what it returns.

A method says which evidence it looks at (`Needs`), is handed that and nothing more (`Evidence`),
and returns rows (`Reduction`): a selection keeps visual tokens as they are, a merging sums several
into one. How many each partition gets (allocation) and which (selection) are plain functions
(`PairedSelection`; `GroupedSelection`, where any allocation goes with any selection). Where a
visual token is several patches, their scores are summed before a method is shown them. Shape
letters: B images, P partitions (padded to the batch's most), H heads, N visual tokens, K rows, C
width of a feature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from hired_core.choices import LayerAt, NewlinePolicy, Pairs, Positions
from hired_core.geometry.layout_batch import LayoutBatch
from hired_core.methods.schedule import MakeSchedule
from hired_core.methods.selection import gather_places


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method looks at; what nobody looks at is not computed.

    Attributes:
        full_image_layer: attention of the full-image alone. Of the initial layer it is known before
            anything is encoded.
        cls_layers: attention from the CLS token, of all partitions; of a tower without one, the
            attention that patches receive.
        received_layers: mean attention that tokens receive, whatever the tower.
        keys_layer: keys, heads side by side.
        features: all of the feature layer's, not only those that are kept.
        projected: features as the language model sees them. Rows are then taken behind the
            projector and travel so.
        pairs: visual tokens of what are compared with each other, all with all: for the memory
            plan.
    """

    full_image_layer: LayerAt | None = None
    cls_layers: tuple[LayerAt, ...] = ()
    received_layers: tuple[LayerAt, ...] = ()
    keys_layer: LayerAt | None = None
    features: bool = False
    projected: bool = False
    pairs: Pairs | None = None

    def also(self, other: Needs) -> Needs:
        """What both look at.

        Raises:
            ValueError: if they want different layers where there is room for one.
        """
        for key in ("full_image_layer", "keys_layer"):
            wanted = {getattr(each, key) for each in (self, other)} - {None}
            if len(wanted) > 1:
                raise ValueError(f"{key}: {sorted(map(str, wanted))}, but there can be only one")
        return Needs(
            full_image_layer=_either(self.full_image_layer, other.full_image_layer),
            cls_layers=tuple(dict.fromkeys((*self.cls_layers, *other.cls_layers))),
            received_layers=tuple(dict.fromkeys((*self.received_layers, *other.received_layers))),
            keys_layer=_either(self.keys_layer, other.keys_layer),
            features=self.features or other.features,
            projected=self.projected or other.projected,
            pairs=max((self.pairs, other.pairs), key=_PAIRS.index),
        )


_PAIRS: Final = (None, "partition", "image")


def _either(one: LayerAt | None, other: LayerAt | None) -> LayerAt | None:
    return other if one is None else one


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What `Needs` asked for, of B images; all else is None or empty.

    Values at partitions that are absent or were not encoded are arbitrary.

    Attributes:
        layout: geometry.
        seeds: int64 [B], derived from each image's content.
        max_rows: the most rows that any of the images may get.
        full_image_attention: float [B, H, N].
        attention, received: float [B, P, H, N], by layer.
        keys: [B, P, N, C].
        features: [B, P, N, C]; projected where that was asked for.
    """

    layout: LayoutBatch
    seeds: Tensor
    max_rows: int = 0
    full_image_attention: Tensor | None = None
    attention: Mapping[LayerAt, Tensor] = field(default_factory=dict)
    received: Mapping[LayerAt, Tensor] = field(default_factory=dict)
    keys: Tensor | None = None
    features: Tensor | None = None

    @property
    def capacities(self) -> Tensor:
        """int64 [B, P]: valid patches."""
        return self.layout.valid.sum(-1)


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """Rows of B images, in sequence order, padded to K = `Evidence.max_rows`.

    Attributes:
        count: int64 [B], rows that are real.
        place: int64 [B, K], ascending: where each row stands (`PartitionLayout.place`).
        source: int64 [B, K] into the flattened P*N: the patch at that place.
        budgets: int64 [B, P], rows given to each partition.
        weights: float [B, K, P*N]: a row is `sum_j weights[k, j] * feature[j]`. None: each row is
            its source as it is.
    """

    count: Tensor
    place: Tensor
    source: Tensor
    budgets: Tensor
    weights: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Of a method that has none."""


class Method(ABC):
    """One file of this folder each; see CONTRIBUTING.

    Attributes:
        options: frozen dataclass of the method's own options; its checks raise `SettingError`.
        own_basis: a fractional budget is always of the image's own P*N (the published code).
        keeps_all: the budget has no say in it (the dense model).
        merges: rows may be weighted sums, so that all features are computed.
        positions: where the language model sees the rows, unless the user says.
        newline: row ends that go in with them, unless the user says or nothing is dropped.
        shrinks: partitions are resized before they are encoded, see `shrink`.
        needs_full_image: it says something only of an image squeezed beside its own sub-images.
        needs_squares: it resizes the tokens of whole square partitions, which cells are not.
        needs_cls: refused on a tower without a CLS token; other methods are shown the attention
            that tokens receive there.
        schedule: of a method inside the language model, which drops rows between its layers: from
            (visual tokens to keep, the most that an image brings, number of layers, options) to
            what each layer sees. None: the method has done its work before the language model.
    """

    options: type[Any] = NoOptions
    own_basis: bool = False
    keeps_all: bool = False
    merges: bool = False
    positions: Positions = "compact"
    newline: NewlinePolicy = "none"
    shrinks: bool = False
    needs_full_image: bool = False
    needs_squares: bool = False
    needs_cls: bool = False
    schedule: MakeSchedule | None = None

    @abstractmethod
    def needs(self, options: Any) -> Needs:
        """What `reduce` will be shown."""

    @abstractmethod
    def reduce(self, evidence: Evidence, budget: Tensor, options: Any) -> Reduction:
        """Rows for budgets of int64 [B] visual tokens."""

    def skips(self, options: Any) -> bool:
        """Whether partitions may be left out before they are encoded."""
        return False

    def skip(self, evidence: Evidence, budget: Tensor, options: Any) -> tuple[Evidence, Tensor]:
        """What need not be encoded, told from the full-image's attention at the initial layer.

        Called only where `skips`. Returns the evidence, patches of what is left out no longer valid
        in it, and bool [B, P]: the partitions to encode.
        """
        raise AssertionError("asked to skip by a method that never does")

    def shrink(self, evidence: Evidence, budget: Tensor, options: Any) -> Tensor:
        """int64 [B, P]: to how many patches along a side a partition is resized; 0: left out.

        Called only where `shrinks`, on the host and with the geometry alone. The rows are then a
        selection of the patches that `centres` tells.
        """
        raise AssertionError("asked to shrink by a method that never does")


def selection(evidence: Evidence, keep: Tensor, budgets: Tensor) -> Reduction:
    """The rows of a selection, `keep` being bool [B, P, N]."""
    place = evidence.layout.place
    source, count = gather_places(keep, place, evidence.max_rows)
    return Reduction(
        count=count, place=place.flatten(1).gather(1, source), source=source, budgets=budgets
    )


def without(evidence: Evidence, partitions: Tensor) -> Evidence:
    """The evidence with the patches of some partitions, bool [B, P], no longer valid."""
    valid = evidence.layout.valid & ~partitions[..., None]
    return replace(evidence, layout=replace(evidence.layout, valid=valid))


def given(evidence: Tensor | None) -> Tensor:
    """What was asked for; a method that looks at more than it said is a bug."""
    assert evidence is not None, "the method looks at what it does not say it needs"
    return evidence


def weighted_rows(weights: Tensor, features: Tensor) -> Tensor:
    """[B, K, C] sums of features [B, P, N, C], in their dtype, added up in float32 at least.

    A GPU's matrix products add up so by themselves; a copy of all features would cost it dear.
    """
    flat = features.flatten(1, 2)
    dtype = flat.dtype if flat.is_cuda else torch.promote_types(flat.dtype, torch.float32)
    return (weights.to(dtype) @ flat.to(dtype)).to(flat.dtype)
