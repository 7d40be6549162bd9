"""The exported decoder is the checkpoint's: transformers loads it and computes the same."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hired_core.language.decoder_folder import DecoderFolder
from hired_core.models import text_folder
from hired_core.models.checkpoint import CheckpointError, decoder_name, read_json, stored_bytes
from hired_core.models.registry import family_of
from hired_core.models.text_folder import export_decoder, quantization_of
from tests.support.families import BUILDERS
from tests.support.models import load_language, load_spec

PLAIN = [name for name in BUILDERS if not name.startswith("qwen")]
CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


def export(folder: Path, cache: Path) -> Path:
    family = family_of(load_spec(str(folder)))
    return export_decoder(folder, family.config(folder), family.decoder_names(folder), cache=cache)


@pytest.mark.parametrize("name", PLAIN)
def test_logits_are_those_of_the_whole_checkpoint(name: str, tmp_path: Path) -> None:
    folder = BUILDERS[name](tmp_path / name, seed=3)
    out = export(folder, tmp_path / "cache")
    expected = copy.deepcopy(load_language(load_spec(str(folder)), **CPU).decoder)  # Plain layers.
    found = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        torch.testing.assert_close(found(ids).logits, expected(ids).logits, rtol=0, atol=0)
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".json") == [
        "config.json",
        "model.safetensors.index.json",
    ]


def test_the_language_half_embeds_the_same_without_layers(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_folder, "CACHE", tmp_path)
    spec = load_spec(str(small_checkpoint))
    whole, words = load_language(spec, **CPU), load_language(spec, layers=False, **CPU)
    assert isinstance(words.decoder, DecoderFolder) and words.decoder.path.parent == tmp_path
    table = whole.decoder.get_input_embeddings().weight
    assert torch.equal(words.decoder.get_input_embeddings().weight, table)
    assert torch.equal(words.separators, whole.separators)
    assert sum(w.numel() for w in words.decoder.parameters()) == table.numel()


def test_a_decoder_without_a_text_model_is_refused(tmp_path: Path) -> None:
    folder = BUILDERS["qwen2_vl"](tmp_path / "qwen", seed=1)
    with pytest.raises(CheckpointError, match="no text model stands for a decoder of type 'qwen2"):
        export(folder, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.tmp"))


@contextmanager
def unlocked(target: Path) -> Iterator[bool]:
    """As on a file system that locks nothing."""
    yield False


@pytest.mark.parametrize("locks", [True, False])
def test_several_at_once_leave_one(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    """A lock is held by an open file, not by a process: threads stand for actors here.

    Where it can be had, they write once, and what a killed one left behind is gone.
    """
    written: list[Path] = []
    write, together = text_folder._write, threading.Barrier(3)

    def counted(*given: Any) -> None:
        write(*given)
        written.append(given[-1])
        if not locks:
            together.wait(60)  # All are about to move theirs.

    monkeypatch.setattr(text_folder, "_write", counted)
    if not locks:
        monkeypatch.setattr(text_folder, "_one_at_a_time", unlocked)
    left = tmp_path / f"{text_folder.weights_digest(small_checkpoint)}-1.dead.tmp"
    left.mkdir()
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(lambda _: export(small_checkpoint, tmp_path), range(3)))
    assert len(found) == 1 and len(written) == (1 if locks else 3)
    assert list(tmp_path.glob("*.tmp")) == ([] if locks else [left])
    assert AutoModelForCausalLM.from_pretrained(found.pop()).config.model_type == "llama"


def quantise(folder: Path, small: Path, settings: dict[str, Any]) -> Path:
    """As a quantised checkpoint says of itself; its numbers play no part."""
    folder.mkdir()
    for path in small.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = read_json(folder, "config.json") | {"quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_quantisation_is_passed_on_under_the_new_names(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    settings = {
        "quant_method": "compressed-tensors",
        "ignore": ["language_model.lm_head", "re:.*vision.*", "multi_modal_projector.linear_1"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8}}},
        "modules_to_not_convert": ["language_model.model.layers.0.self_attn", "vision_tower"],
    }
    folder = quantise(tmp_path / "quantised", small_checkpoint, settings)
    assert quantization_of(folder) == settings and quantization_of(small_checkpoint) is None
    out = export(folder, tmp_path / "cache")
    assert read_json(out, "config.json")["quantization_config"] == settings | {
        "ignore": ["lm_head", "re:.*vision.*", "multi_modal_projector.linear_1"],
        "modules_to_not_convert": ["model.layers.0.self_attn", "vision_tower"],
    }
    assert out != export(small_checkpoint, tmp_path / "cache")


def test_stored_bytes_are_those_of_the_decoder(small_checkpoint: Path, tmp_path: Path) -> None:
    rename = partial(decoder_name, "language_model")
    out = export(small_checkpoint, tmp_path)
    written = sum(t.nbytes for path in out.glob("*.safetensors") for t in load_file(path).values())
    assert stored_bytes(small_checkpoint, rename) == written
