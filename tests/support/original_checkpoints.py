"""Random-weight checkpoints in LLaVA's own format, each beside a twin in transformers' format.

The twin is written first, by `save_pretrained`; the other has its tensors under the names that
transformers' own conversion scripts of LLaVA and LLaVA-NeXT take them from, and a config.json as
the published ones are. It is the twin that says what the unmodified model would answer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from lab.benchmark.contestants.models import GRIDS
from tests.support.checkpoints import EMBEDDED, MANY_STOPS, build_checkpoint, build_llava
from tests.support.halves import Original

DECODERS = {"llava_mistral": MistralConfig, "llava_qwen": Qwen2Config}
TowerAt = Literal["inside", "beside", "in folder", "both sides"]
TOWER = "clip-vit-tiny-patch14-56"
ROTARY_BASE = 5000.0
"""Not the default, so that one that is lost shows."""

_TEXT = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "rms_norm_eps"),
    *("num_attention_heads", "num_key_value_heads", "max_position_embeddings", "bos_token_id"),
    *("eos_token_id", "pad_token_id", "tie_word_embeddings", "hidden_act"),
)


def build_original(
    folder: Path,
    *,
    seed: int,
    aspect: str = "pad",
    tower: TowerAt = "inside",
    kind: str = "llava",
    **changes: Any,
) -> Path:
    """The folder; its twin is `twin_of` it.

    Args:
        aspect: `image_aspect_ratio`.
        tower: where the vision tower's weights are.
        kind: `model_type`, by which the decoder of one of `anyres` is chosen.
        changes: of config.json.
    """
    twin = twin_of(folder)
    if aspect == "anyres":
        decoder = DECODERS.get(kind, LlamaConfig)
        more = {"stop_ids": MANY_STOPS, "decoder": decoder, "rope_theta": ROTARY_BASE}
        build_checkpoint(twin, seed=seed, **more)
    else:
        build_llava(twin, seed=seed, rope_theta=ROTARY_BASE)
        _set_padding(twin, aspect == "pad")
    model = AutoModelForImageTextToText.from_pretrained(twin, dtype=torch.float32)
    folder.mkdir(parents=True, exist_ok=True)
    own, lent = _own_names(model.state_dict(), inside=tower == "inside")
    save_file(own, folder / "model.safetensors")
    config = _config(model.config, aspect) | {"model_type": kind} | changes
    (folder / "config.json").write_text(json.dumps(config))
    model.generation_config.save_pretrained(folder)
    _write_tokenizer(folder)
    place = folder / TOWER if tower == "in folder" else folder.parent / TOWER
    _write_tower(place, model, lent, both_sides=tower == "both sides")
    return folder


def twin_of(folder: Path) -> Path:
    """The same model in transformers' format."""
    return folder.with_name(folder.name + "-twin")


class Twin(Original):
    """The twin, asked as LLaVA's own code does: texts around `<image>` are tokenised apart."""

    def __init__(self, folder: Path) -> None:
        super().__init__(twin_of(folder))
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        self.image_id = self.processor.tokenizer.convert_tokens_to_ids("<image>")

    @torch.inference_mode()
    def generate(
        self, images: Sequence[Image.Image], texts: Sequence[str], max_new_tokens: int
    ) -> tuple[list[list[int]], list[int]]:
        inputs = self.processor(
            images=list(images), text=["<image>"] * len(images), padding=True, return_tensors="pt"
        )
        counts = (inputs.pop("input_ids") == self.image_id).sum(1).tolist()
        rows = [self._ids(text, count) for text, count in zip(texts, counts, strict=True)]
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
        inputs["attention_mask"] = torch.tensor(
            [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        )
        output = self.model.generate(
            input_ids=ids, **inputs, max_new_tokens=max_new_tokens, do_sample=False
        )
        return [self._cut(row) for row in output[:, longest:].tolist()], [*map(len, rows)]

    def _ids(self, text: str, count: int) -> list[int]:
        before, after = (self.tokenizer(part)["input_ids"] for part in text.split("<image>"))
        if after and after[0] == self.tokenizer.bos_token_id:
            after = after[1:]
        return [*before, *[self.image_id] * count, *after]


def _own_names(tensors: dict[str, Tensor], *, inside: bool) -> tuple[dict[str, Tensor], Any]:
    """(tensors of the checkpoint, of the tower), by LLaVA's names and by CLIP's own."""
    own, lent = {}, {}
    for name, tensor in tensors.items():
        rest = name.removeprefix("model.vision_tower.").removeprefix("vision_model.")
        if name.startswith("model.vision_tower."):
            lent[f"vision_model.{rest}"] = tensor.clone()
            if inside:
                own[f"model.vision_tower.vision_tower.vision_model.{rest}"] = tensor
            continue
        name = name.replace("multi_modal_projector.linear_1", "mm_projector.0")
        name = name.replace("multi_modal_projector.linear_2", "mm_projector.2")
        own[name.replace("model.language_model.", "model.")] = tensor
    return {name: tensor.contiguous() for name, tensor in own.items()}, lent


def _config(config: Any, aspect: str) -> dict[str, Any]:
    text = {key: getattr(config.text_config, key) for key in _TEXT}
    size = config.vision_config.image_size
    sizes = [[cols * size, rows * size] for rows, cols in GRIDS]
    anyres = {"mm_patch_merge_type": "spatial_unpad", "image_grid_pinpoints": sizes}
    return {
        **text,
        "architectures": ["LlavaLlamaForCausalLM"],
        "image_aspect_ratio": aspect,
        "mm_hidden_size": config.vision_config.hidden_size,
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": f"someone/{TOWER}",
        "rope_scaling": None,
        "rope_theta": ROTARY_BASE,
        "torch_dtype": "float32",
        "use_mm_proj": True,
        **(anyres if aspect == "anyres" else {}),
    }


def _write_tokenizer(folder: Path) -> None:
    """The embedded one, in which id 3 is another word than `<image>`; no chat template."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        said = (EMBEDDED / name).read_text(encoding="utf-8")
        (folder / name).write_text(said.replace("<image>", "<spare>"), encoding="utf-8")


def _write_tower(place: Path, model: Any, weights: Any, *, both_sides: bool) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    vision = model.config.vision_config
    config = vision.to_dict() | {"model_type": "clip_vision_model"}
    if both_sides:
        config = {"model_type": "clip", "vision_config": config, "text_config": {}}
        weights = {**weights, "text_model.embeddings.x": torch.zeros(3)}
    (place / "config.json").write_text(json.dumps(config))
    save_file({n: t.contiguous() for n, t in weights.items()}, place / "model.safetensors")
    size = vision.image_size
    image = {
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": size,
        "do_center_crop": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": size,
    }
    (place / "preprocessor_config.json").write_text(json.dumps(image))


def _set_padding(folder: Path, pads: bool) -> None:
    path = folder / "processor_config.json"
    content = json.loads(path.read_text())
    content["image_processor"]["do_pad"] = pads
    path.write_text(json.dumps(content))


def spoil(path: Path) -> None:
    """Other weights of the same shapes."""
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)
