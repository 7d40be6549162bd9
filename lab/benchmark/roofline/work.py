"""The least time that arithmetic and memory allow, from shapes alone.

A phase takes at least `max(flop / flop_per_sec, bytes / bytes_per_sec)`. Counted are linear layers
and attention of an image of P partitions; a multiplication and an addition are two operations.
Norms, activations, softmax and the selection itself are left out: they make the real time longer,
never shorter. Letters as in DESIGN.md: P partitions, N patches, T = N + 1 tokens, C ViT width,
D LLM width, K kept tokens, L prompt length, S slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Work:
    """Of one image in one phase."""

    flop: float
    bytes: float

    def least_sec(self, *, flop_per_sec: float, bytes_per_sec: float) -> float:
        return max(self.flop / flop_per_sec, self.bytes / bytes_per_sec)


@dataclass(frozen=True, kw_only=True)
class VisionShape:
    """`layers` are those up to the feature layer; `mlp` is the width between its two matrices."""

    width: int
    mlp: int
    layers: int
    patch_values: int
    num_patches: int

    @property
    def layer_weights(self) -> int:
        """4 C^2 (query, key, value, output) + 2 C mlp."""
        return 4 * self.width**2 + 2 * self.width * self.mlp

    @property
    def weights(self) -> int:
        return self.layers * self.layer_weights + self.patch_values * self.width


@dataclass(frozen=True, kw_only=True)
class TextShape:
    """`heads` and `kv_heads` of `head_dim`; `vision_width` is what the projector reads."""

    width: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    vision_width: int

    @property
    def layer_weights(self) -> int:
        """D heads d (query) + 2 D kv_heads d (key, value) + heads d D (output) + 3 D mlp."""
        attention = 2 * self.heads + 2 * self.kv_heads
        return self.width * (attention * self.head_dim + 3 * self.mlp)

    @property
    def head_weights(self) -> int:
        return self.width * self.vocabulary

    @property
    def projector_weights(self) -> int:
        """C D + D^2."""
        return self.width * (self.vision_width + self.width)

    @property
    def step_weights(self) -> int:
        """What one decode step reads: all layers and the head."""
        return self.layers * self.layer_weights + self.head_weights

    @property
    def kv_values(self) -> int:
        """Numbers stored per position."""
        return 2 * self.layers * self.kv_heads * self.head_dim


def vision_work(shape: VisionShape, *, partitions: int, images: int, itemsize: int) -> Work:
    """One image's share of encoding `images` together.

    flop = 2 P N patch_values C + layers (2 P T layer_weights + 4 P T^2 C), the last term being
    queries by keys and scores by values, 2 T^2 C each. bytes = weights, read once for all.
    """
    tokens = shape.num_patches + 1
    patches = 2 * partitions * shape.num_patches * shape.patch_values * shape.width
    linear = 2 * partitions * tokens * shape.layer_weights
    attention = 4 * partitions * tokens**2 * shape.width
    flop = patches + shape.layers * (linear + attention)
    return Work(flop=flop, bytes=shape.weights * itemsize / images)


def prefill_work(shape: TextShape, *, length: int, kept: int, slots: int, itemsize: int) -> Work:
    """One prompt of `length` positions, `kept` of them visual tokens, up to its first token.

    flop = 2 K projector_weights + layers (2 L layer_weights + attention) + 2 head_weights, the head
    being needed at the last position only. Causal attention is over 1 + 2 + ... + L = L (L + 1) / 2
    pairs, each 4 heads d. bytes = weights, read once for all slots, and the cache, written once.
    """
    pairs = length * (length + 1) / 2
    attention = 4 * shape.heads * shape.head_dim * pairs
    layers = shape.layers * (2 * length * shape.layer_weights + attention)
    flop = 2 * kept * shape.projector_weights + layers + 2 * shape.head_weights
    weights = shape.step_weights + shape.projector_weights
    return Work(flop=flop, bytes=itemsize * (weights / slots + length * shape.kv_values))


def decode_work(
    shape: TextShape, *, length: int, new_tokens: int, slots: int, itemsize: int
) -> Work:
    """All tokens of one text after its first: `new_tokens` - 1 steps shared by `slots` texts.

    The step that makes token i + 1 attends to L + i positions, its own included. Per step,
    flop = 2 step_weights + 4 layers heads d (L + i); bytes = step_weights / S, read once for all
    slots, and kv_values (L + i), read and its own written by each.
    """
    steps = new_tokens - 1
    positions = steps * length + steps * (steps + 1) / 2
    attention = 4 * shape.layers * shape.heads * shape.head_dim * positions
    moved = steps * shape.step_weights / slots + shape.kv_values * positions
    return Work(flop=2 * steps * shape.step_weights + attention, bytes=itemsize * moved)


def vision_shape(config: Any, feature_layer: int) -> VisionShape:
    """Of a CLIPVisionConfig."""
    return VisionShape(
        width=config.hidden_size,
        mlp=config.intermediate_size,
        layers=feature_layer + 1,
        patch_values=3 * config.patch_size**2,
        num_patches=(config.image_size // config.patch_size) ** 2,
    )


def text_shape(config: Any) -> TextShape:
    """Of a LlavaNextConfig."""
    text = config.text_config
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return TextShape(
        width=text.hidden_size,
        mlp=text.intermediate_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_dim=head_dim,
        vocabulary=text.vocab_size,
        vision_width=config.vision_config.hidden_size,
    )
