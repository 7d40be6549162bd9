"""Idefics3: tiles with names between them, SigLIP without CLS, pixel shuffle.

A visual token is r x r patches, its score the sum of theirs. The squeezed full-image, which comes
last, is HiRED's: the attention that its tokens receive at the initial layer makes the visual
content score (Eq. 1), what each partition's receive at the feature layer the feature importance
score (Eq. 2). Names of tiles (`<fake_token_around_image><row_1_col_2>`) and the line end behind
each row of tiles are marks among the visual tokens: they are counted as prompt tokens, not as
visual ones, and those of a tile (of a row of tiles) of which a budget kept nothing are left out
with it, whatever `newline` says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.models.idefics3.modeling_idefics3 import Idefics3SimpleMLP

from hired_core.geometry.named_tiles import AROUND, FIRST_TILE, WHOLE, NamedTiles
from hired_core.geometry.spec import ModelSpec
from hired_core.models import text
from hired_core.models.base import Family
from hired_core.models.checkpoint import CheckpointError, check_image_processor, image_processor
from hired_core.models.towers.kind import LANCZOS, one_of
from hired_core.models.towers.siglip import NATIVE_SIGLIP


class Idefics3(Family):
    """`Idefics3ForConditionalGeneration`."""

    name = "idefics3"
    tower = NATIVE_SIGLIP
    feature_strategy = None
    vision_part = "vision_model"
    projector_part = "connector.modality_projection"
    decoder_part = "text_model"

    def feature_layer(self, config: Any) -> int:
        """The last; a norm comes after it."""
        return int(config.vision_config.num_hidden_layers) - 1

    def geometry(self, folder: Path, config: Any) -> NamedTiles:
        vision, image = config.vision_config, image_processor(folder)
        size, merge = one_of(vision.image_size), config.scale_factor
        if size // one_of(vision.patch_size) % merge:
            raise CheckpointError(f"{size} pixels hold no whole tokens of {merge} patches a side")
        wanted = {"resample": LANCZOS, "max_image_size": {size}, "do_resize": True}
        check_image_processor(image, wanted | {"do_image_splitting": True})
        lines = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).tokenize("\n\n")
        return NamedTiles(
            partition_size=size,
            patch_size=one_of(vision.patch_size),
            merge=merge,
            longest=image.get("size", {}).get("longest_edge", 4 * 364),
            lines_join=len(lines) == 1,
        )

    def make_projector(self, config: Any) -> nn.Module:
        """The linear layer; patches are joined before."""
        return Idefics3SimpleMLP(config)  # type: ignore[no-any-return]  # transformers is untyped.

    def num_separators(self, spec: ModelSpec) -> int:
        return len(_names(spec))

    def separators(self, spec: ModelSpec, decoder: Any, tokenizer: Any) -> Tensor:
        """[S, D], in the order of `geometry.named_tiles`."""
        ids = [tokenizer.encode(name, add_special_tokens=False)[0] for name in _names(spec)]
        words = tokenizer.convert_ids_to_tokens(ids)
        special = [AROUND, WHOLE, *range(FIRST_TILE, len(ids))]
        missing = [name for at in special if words[at] != (name := _names(spec)[at])]
        if missing:
            raise CheckpointError(f"the tokenizer has no token {missing[0]!r}")
        return text.embeddings_of(words, decoder, tokenizer)


def _names(spec: ModelSpec) -> list[str]:
    """Of all separators; where two line ends are no token, one stands there unused."""
    geometry = spec.geometry
    assert isinstance(geometry, NamedTiles), "of this family"
    along = range(1, geometry.max_along + 1)
    empty = "\n\n" if geometry.lines_join else "\n"
    tiles = [f"<row_{row}_col_{col}>" for row in along for col in along]
    return ["<fake_token_around_image>", "<global-img>", "\n", empty, *tiles]


FAMILY = Idefics3()
