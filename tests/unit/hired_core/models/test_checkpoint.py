"""Reading checkpoints: both generations of names, each half alone, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hired_core.geometry.anyres import AnyRes
from hired_core.models import checkpoint
from hired_core.models.checkpoint import CheckpointError, resolve_checkpoint
from tests.support.checkpoints import EMBEDDED, build_checkpoint
from tests.support.models import (
    in_rows,
    load_language,
    load_prompt_template,
    load_spec,
    load_vision,
)

CPU = torch.device("cpu")
WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "copy"))


def vision_state(folder: Path) -> dict[str, torch.Tensor]:
    tower = load_vision(load_spec(str(folder)), device=CPU, dtype=torch.float32)
    return {
        f"{index}.{name}": weight
        for index, layer in enumerate(tower.layers)
        for name, weight in layer.named_parameters()
    } | {"embedded": tower.embed(torch.ones(1, 3, 56, 56)).detach()}


def language_state(folder: Path) -> dict[str, torch.Tensor]:
    model = load_language(load_spec(str(folder)), device=CPU, dtype=torch.float32)
    return {
        **dict(model.decoder.named_parameters()),
        **{f"projector.{name}": weight for name, weight in model.projector.named_parameters()},
        "newline": model.separators[0],
    }


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(in_rows(weight), in_rows(second[name])), name


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_weights(folder: Path, rename: Callable[[str], str | None]) -> None:
    """Writes the weights back under new names; None drops one."""
    stored = load_file(folder / WEIGHTS)
    renamed = {new: tensor for name, tensor in stored.items() if (new := rename(name)) is not None}
    save_file(renamed, folder / WEIGHTS, metadata={"format": "pt"})


OLD_NAMES = [
    (r"^model\.language_model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.vision_tower\.(vision_model\.)?", "vision_tower.vision_model."),
    (r"^model\.(multi_modal_projector\.|image_newline)", r"\1"),
]
NEW_NAMES = [
    (r"^language_model\.model\.", "model.language_model."),
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^vision_tower\.vision_model\.", "model.vision_tower."),
    (r"^(multi_modal_projector\.|image_newline)", r"model.\1"),
]


def renamed(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        if re.search(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


@pytest.mark.parametrize(
    ("rules", "example"),
    [
        (OLD_NAMES, "language_model.model.embed_tokens.weight"),
        (NEW_NAMES, "model.language_model.embed_tokens.weight"),
    ],
)
def test_both_generations_of_names(
    small_checkpoint: Path, folder: Path, rules: list[tuple[str, str]], example: str
) -> None:
    edit_weights(folder, lambda name: renamed(name, rules))
    assert example in load_file(folder / WEIGHTS)
    assert_same(vision_state(folder), vision_state(small_checkpoint))
    assert_same(language_state(folder), language_state(small_checkpoint))


def test_leftovers_of_old_checkpoints_are_ignored(small_checkpoint: Path, folder: Path) -> None:
    edit_weights(folder, lambda name: renamed(name, OLD_NAMES))
    stored = load_file(folder / WEIGHTS)
    stored["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    stored["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)
    save_file(stored, folder / WEIGHTS)
    assert_same(vision_state(folder), vision_state(small_checkpoint))
    assert_same(language_state(folder), language_state(small_checkpoint))


def test_sharded_weights(small_checkpoint: Path, tmp_path: Path) -> None:
    sharded = build_checkpoint(tmp_path, seed=1, shard_size="200KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert_same(vision_state(sharded), vision_state(small_checkpoint))
    assert_same(language_state(sharded), language_state(small_checkpoint))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    sharded = build_checkpoint(tmp_path, seed=1, shard_size="200KB")
    lost = sorted(sharded.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(CheckpointError, match=lost.name):
        language_state(sharded)


def test_shards_are_looked_for_in_the_folder_only(folder: Path, tmp_path: Path) -> None:
    """An index cannot lead the reader elsewhere."""
    outside = tmp_path / "outside.safetensors"
    shutil.move(folder / WEIGHTS, outside)
    names = dict.fromkeys(load_file(outside), "../outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(CheckpointError, match=r"lacks outside\.safetensors"):
        language_state(folder)


def test_tied_embeddings(tmp_path: Path) -> None:
    tied = build_checkpoint(tmp_path, seed=3, tied=True)
    assert not any("lm_head" in name for name in load_file(tied / WEIGHTS))
    decoder = load_language(load_spec(str(tied)), device=CPU, dtype=torch.float32).decoder
    assert decoder.lm_head.weight is decoder.model.embed_tokens.weight
    assert float(decoder.lm_head.weight.detach().std()) > 0.1


# Each half alone ------------------------------------------------------------------------------


def is_vision(name: str) -> bool:
    return "vision_tower" in name


def test_the_language_half_does_without_the_vision_tower(
    small_checkpoint: Path, folder: Path
) -> None:
    edit_weights(folder, lambda name: None if is_vision(name) else name)
    assert_same(language_state(folder), language_state(small_checkpoint))
    with pytest.raises(CheckpointError, match="not in the checkpoint"):
        vision_state(folder)


def test_the_vision_half_does_without_the_language_model_and_later_layers(
    small_checkpoint: Path, folder: Path
) -> None:
    # Three layers, feature layer -2: layer 2 and the final norm are not needed.
    edit_weights(
        folder,
        lambda name: name if is_vision(name) and "layers.2" not in name else None,
    )
    assert not any("language" in name for name in load_file(folder / WEIGHTS))
    assert_same(vision_state(folder), vision_state(small_checkpoint))
    with pytest.raises(CheckpointError, match="not in the checkpoint"):
        language_state(folder)


def test_each_half_reads_only_its_own_tensors(
    small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    class Recording:
        """safe_open that notes which tensors are fetched."""

        def __init__(self, *args: object, **kwargs: object) -> None:
            self.inner = safe_open(*args, **kwargs)

        def __enter__(self) -> Recording:
            self.opened = self.inner.__enter__()
            return self

        def __exit__(self, *exc: object) -> None:
            self.inner.__exit__(*exc)

        def keys(self) -> list[str]:
            return list(self.opened.keys())

        def get_tensor(self, name: str) -> torch.Tensor:
            read.append(name)
            return self.opened.get_tensor(name)

    safe_open = checkpoint.safe_open
    monkeypatch.setattr(checkpoint, "safe_open", Recording)
    vision_state(small_checkpoint)
    assert read and all(is_vision(name) for name in read)
    read.clear()
    language_state(small_checkpoint)
    assert read and not any(is_vision(name) for name in read)


# What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lost",
    ["image_newline", "lm_head.weight", "multi_modal_projector.linear_2.bias", "model.norm.weight"],
)
def test_a_missing_language_weight(folder: Path, lost: str) -> None:
    lost = {"model.norm.weight": "language_model.model.norm.weight"}.get(lost, lost)
    names = list(load_file(folder / WEIGHTS))
    gone = [name for name in names if name.endswith(lost) or renamed(name, OLD_NAMES) == lost]
    assert len(gone) == 1
    edit_weights(folder, lambda name: None if name == gone[0] else name)
    with pytest.raises(CheckpointError, match="1 weights are not in the checkpoint"):
        language_state(folder)
    vision_state(folder)


def test_a_missing_vision_weight(folder: Path) -> None:
    edit_weights(folder, lambda name: None if "pre_layrnorm.bias" in name else name)
    with pytest.raises(CheckpointError, match=r"1 weights .* pre_layrnorm\.bias"):
        vision_state(folder)


def test_a_weight_of_another_shape(folder: Path) -> None:
    size = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    edit_json(folder / "config.json", lambda c: c["text_config"].update(vocab_size=size + 9))
    told = rf"\({size}, 128\), the configuration wants \({size + 9}, 128\)"
    with pytest.raises(CheckpointError, match=told):
        language_state(folder)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({}, folder / "pytorch_model.bin")
    for load in (vision_state, language_state):
        with pytest.raises(CheckpointError, match="no safetensors weights"):
            load(folder)


@pytest.mark.parametrize("damage", [b"", b"not safetensors at all", None])
def test_damaged_weights(folder: Path, damage: bytes | None) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:5000] if damage is None else damage)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        vision_state(folder)


def test_damaged_shard(tmp_path: Path) -> None:
    sharded = build_checkpoint(tmp_path, seed=1, shard_size="200KB")
    for path in sharded.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="safetensors"):
        vision_state(sharded)


def test_an_index_that_names_a_tensor_its_shard_lacks(folder: Path) -> None:
    names = dict.fromkeys(load_file(folder / WEIGHTS), WEIGHTS)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    edit_weights(folder, lambda name: None if "image_newline" in name else name)
    with pytest.raises(CheckpointError, match="image_newline"):
        language_state(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update(model_type="blip"),
            "model_type 'blip'; families that are read: .*llava, ",
        ),
        (lambda c: c.pop("model_type"), "model_type None"),
        (lambda c: c["vision_config"].update(model_type="siglip_vision_model"), "siglip"),
        (lambda c: c.update(vision_feature_select_strategy="full"), "select_strategy"),
        (lambda c: c.update(vision_feature_layer=[-2, -1]), "several"),
        (lambda c: c.update(vision_feature_layer=-9), "outside the 3 layers"),
        (lambda c: c.update(vision_feature_layer=0), "outside the 3 layers"),
        (lambda c: c.update(image_grid_pinpoints=[[56, 100]]), "multiples of 56"),
        (lambda c: c.update(image_grid_pinpoints=[]), "pinpoints"),
    ],
)
def test_configurations_that_are_not_supported(
    folder: Path, change: Callable[[dict], None], message: str
) -> None:
    edit_json(folder / "config.json", change)
    with pytest.raises(CheckpointError, match=message):
        load_spec(str(folder))


@pytest.mark.parametrize("content", ["", '{"model_type": "llava_n', "[1, 2]"])
def test_a_damaged_configuration(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_spec(str(folder))


def test_folders_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_spec(str(tmp_path))
    for name in (str(tmp_path / "absent"), "./absent", "~/absent-checkpoint", "no-such-model"):
        with pytest.raises(CheckpointError, match="no checkpoint folder"):
            load_spec(name)


def test_a_hub_failure_is_a_checkpoint_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(*args: object, **kwargs: object) -> str:
        raise OSError("cannot connect\nwith a long trace")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(CheckpointError, match="cannot fetch 'some/model' from the hub: cannot con"):
        resolve_checkpoint("some/model")


def test_only_data_files_are_asked_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    asked: dict[str, object] = {}

    def download(name: str, **kwargs: object) -> str:
        asked.update(kwargs, name=name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_checkpoint("some/model", "v2") == tmp_path
    assert asked["name"] == "some/model" and asked["revision"] == "v2"
    patterns = asked["allow_patterns"]
    assert isinstance(patterns, list)
    assert not any(p.endswith((".bin", ".pt", ".pth", ".py", "*")) for p in patterns)


# Specification --------------------------------------------------------------------------------


def test_spec_of_the_embedded_model() -> None:
    spec = load_spec("embedded")
    assert spec.path == str(EMBEDDED)
    assert (spec.partition_size, spec.geometry.patch_size, spec.num_patches) == (168, 14, 144)
    assert isinstance(spec.geometry, AnyRes)
    assert spec.geometry.pinpoints == ((168, 336), (336, 168), (336, 336), (504, 168), (168, 504))
    assert spec.max_partitions == 5 and spec.nominal_tokens == 720
    assert spec.feature_layer == 5  # hidden_states[-2] of seven layers


def test_spec_of_the_published_geometry(checkpoint_336: Path) -> None:
    spec = load_spec(str(checkpoint_336))
    assert (spec.num_patches, spec.max_partitions, spec.nominal_tokens) == (576, 5, 2880)
    assert spec.mean == (0.48145466, 0.4578275, 0.40821073)
    assert (spec.vision_width, spec.text_width, spec.max_context) == (64, 128, 4096)
    assert spec.layout(480, 640).num_valid == 576 + 36 * 48


def test_older_preprocessor_file(folder: Path) -> None:
    processor = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").unlink()
    values = processor["image_processor"] | {"image_mean": [0.5, 0.25, 0.125]}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    assert load_spec(str(folder)).mean == (0.5, 0.25, 0.125)


@pytest.mark.parametrize("place", ["chat_template.json", "tokenizer_config.json"])
def test_chat_templates_of_older_checkpoints(folder: Path, place: str) -> None:
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    path = folder / place
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | {"chat_template": template}))
    loaded = load_prompt_template(load_spec(str(folder)))
    assert loaded.render("Hi?") == "<s>USER: <image>\nHi? ASSISTANT:"


def test_stop_ids_come_from_the_generation_configuration(folder: Path) -> None:
    def stop_ids() -> frozenset[int]:
        return load_language(load_spec(str(folder)), device=CPU, dtype=torch.float32).stop_ids

    edit_json(folder / "generation_config.json", lambda c: c.update(eos_token_id=[2, 7]))
    assert stop_ids() == {2, 7}
    edit_json(folder / "generation_config.json", lambda c: c.update(eos_token_id=5))
    assert stop_ids() == {5}
    (folder / "generation_config.json").unlink()
    assert stop_ids() == {2}


def test_half_precision_halves(small_checkpoint: Path) -> None:
    spec = load_spec(str(small_checkpoint))
    tower = load_vision(spec, device=CPU, dtype=torch.bfloat16)
    assert {p.dtype for layer in tower.layers for p in layer.parameters()} == {torch.bfloat16}
    language = load_language(spec, device=CPU, dtype=torch.bfloat16)
    assert language.separators.dtype == torch.bfloat16
    assert {p.dtype for p in language.decoder.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in language.projector.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resample", 2),
        ("crop_size", {"height": 48, "width": 48}),
        ("size", {"shortest_edge": 28}),
        ("image_grid_pinpoints", [[56, 112]]),
    ],
)
def test_an_image_processor_that_cuts_otherwise_is_refused(
    small_checkpoint: Path, tmp_path: Path, key: str, value: object
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small_checkpoint, folder)
    path = folder / "processor_config.json"
    content = json.loads(path.read_text())
    content["image_processor"][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=f"image processor's {key}"):
        load_spec(str(folder))
