"""What has to be known of a model before, or without, loading its weights."""

from __future__ import annotations

from dataclasses import dataclass

from hired_core.geometry.base import Geometry
from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.sequence import NewlinePolicy


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Geometry and limits of a model, read from its configuration files.

    Attributes:
        name: what the user asked for: "embedded", a path or a Hugging Face id.
        path: folder on this machine.
        family: key of `hired_core.models.registry`, transformers' `model_type`.
        geometry: how an image is cut, and where its visual tokens lie.
        feature_layer: index of the vision layer whose output the language model sees.
        vision_width: of the vision tower. `text_width`: D.
        vision_inner, text_inner: width of the MLP of a layer.
        query_width, kv_width: of all query heads, and of all key-value heads, of the decoder.
        num_text_layers: of the decoder.
        vocab_size: V.
        mean, std: pixel normalisation per channel.
        max_context: positions the language model has.
        vision_params, text_params: weights each token passes through: the tower up to the feature
            layer; projector, decoder and head. For estimates of time and memory.
        kv_values_per_token: numbers the key-value cache stores for one position.
        stored_dtype: of the weights, e.g. "float16".
        has_cls: whether the vision tower has a CLS token.
        num_taps: feature vectors of a row beside that of the last layer, which the decoder's first
            layers add to it (deepstack).
    """

    name: str
    path: str
    family: str
    geometry: Geometry
    feature_layer: int
    vision_width: int
    text_width: int
    vision_inner: int
    text_inner: int
    query_width: int
    kv_width: int
    num_text_layers: int
    vocab_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    max_context: int
    vision_params: int
    text_params: int
    kv_values_per_token: int
    stored_dtype: str
    has_cls: bool = True
    num_taps: int = 0

    @property
    def partition_size(self) -> int:
        """S, pixels along a side of a partition."""
        return self.geometry.partition_size

    @property
    def num_patches(self) -> int:
        """Patches per partition: what the vision tower sees."""
        return self.geometry.num_patches

    @property
    def num_tokens(self) -> int:
        """N, visual tokens per partition."""
        return self.geometry.num_tokens

    @property
    def feature_width(self) -> int:
        """C of a visual token: its patches' features side by side, those of taps behind them."""
        return int(self.vision_width * self.geometry.merge**2 * (1 + self.num_taps))

    @property
    def projected_width(self) -> int:
        """The same behind the projector."""
        return self.text_width * (1 + self.num_taps)

    @property
    def max_partitions(self) -> int:
        """The largest P of any image."""
        return self.geometry.max_partitions

    @property
    def nominal_tokens(self) -> int:
        """The most of any image, row ends and marks not counted."""
        return self.geometry.nominal_tokens

    def max_visual_positions(
        self, num_kept: int, newline: NewlinePolicy, *, transposed_grid: bool = False
    ) -> int:
        """The most positions that the image of a request can take: kept tokens, row ends, marks.

        One newline for each row of the stitched grid at most; of rows with a kept token there are
        no more than kept tokens.
        """
        rows = self.geometry.max_row_ends(transposed_grid=transposed_grid)
        ends = {"none": 0, "kept-rows": min(rows, num_kept), "all": rows}[newline]
        return num_kept + ends + self.geometry.max_marks(num_kept)

    def layout(self, height: int, width: int, *, transposed_grid: bool = False) -> PartitionLayout:
        """Layout of an image of this many pixels; raises `LayoutError` if it is too elongated."""
        return self.geometry.layout(height, width, transposed_grid=transposed_grid)
