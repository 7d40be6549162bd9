"""What the pipeline has to know of a model before, or without, loading its weights."""

from __future__ import annotations

from dataclasses import dataclass

from hired_core.geometry.layout import PartitionLayout, Size
from hired_core.geometry.sequence import NewlinePolicy


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Geometry and limits of a LLaVA-Next style model, read from its configuration files.

    Attributes:
        name: what the user asked for: "embedded", a path or a Hugging Face id.
        path: folder on this machine.
        pinpoints: AnyRes resolutions on offer, (height, width) in pixels.
        partition_size, patch_size: in pixels.
        feature_layer: index of the vision layer whose output the language model sees.
        vision_width: C. `text_width`: D.
        vision_inner, text_inner: width of the MLP of a layer.
        query_width, kv_width: of all query heads, and of all key-value heads, of the decoder.
        vocab_size: V.
        mean, std: pixel normalisation per channel.
        max_context: positions the language model has.
        vision_params, text_params: weights each token passes through: the tower up to the feature
            layer; projector, decoder and head. For estimates of time and memory.
        kv_values_per_token: numbers the key-value cache stores for one position.
        stored_dtype: of the weights, e.g. "float16".
    """

    name: str
    path: str
    pinpoints: tuple[Size, ...]
    partition_size: int
    patch_size: int
    feature_layer: int
    vision_width: int
    text_width: int
    vision_inner: int
    text_inner: int
    query_width: int
    kv_width: int
    vocab_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    max_context: int
    vision_params: int
    text_params: int
    kv_values_per_token: int
    stored_dtype: str

    @property
    def num_patches(self) -> int:
        """N, patches per partition."""
        return (self.partition_size // self.patch_size) ** 2

    @property
    def max_partitions(self) -> int:
        """The largest P of any grid, the full-image included."""
        cells = self.partition_size**2
        return 1 + max(height * width // cells for height, width in self.pinpoints)

    def max_visual_positions(
        self, num_kept: int, newline: NewlinePolicy, *, transposed_grid: bool = False
    ) -> int:
        """The most positions that the image of a request can take: kept tokens and newlines.

        One newline for each row of the stitched grid at most; of rows with a kept token there are
        no more than kept tokens.
        """
        heights = [width if transposed_grid else height for height, width in self.pinpoints]
        rows = max(heights) // self.patch_size
        return num_kept + {"none": 0, "kept-rows": min(rows, num_kept), "all": rows}[newline]

    @property
    def nominal_tokens(self) -> int:
        """The largest P*N: 2880 for LLaVA-Next; what a fractional token budget is taken of."""
        return self.max_partitions * self.num_patches

    def layout(self, height: int, width: int, *, transposed_grid: bool = False) -> PartitionLayout:
        """Layout of an image of this many pixels; raises `LayoutError` if it is too elongated."""
        return PartitionLayout.from_image_size(
            height,
            width,
            pinpoints=self.pinpoints,
            partition_size=self.partition_size,
            patch_size=self.patch_size,
            transposed_grid=transposed_grid,
        )
