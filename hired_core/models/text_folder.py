"""A checkpoint's decoder as a text model of its own, for engines that read no others.

It is written once per checkpoint and machine, beside what the Hugging Face hub caches: shard by
shard, under the names of a text model. (No file could be linked instead: every checkpoint that is
read here stores its decoder under other names.) Quantised weights stay as they are stored.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from huggingface_hub.constants import HF_HOME
from safetensors.torch import save_file

from hired_core.language.decoder_folder import TEXT_MODELS
from hired_core.models.checkpoint import (
    WEIGHT_INDEX,
    CheckpointError,
    opened,
    read_json,
    stored_names,
    weights_digest,
)

__all__ = ["CACHE", "export_decoder", "quantization_of"]

CACHE: Final = Path(HF_HOME) / "hired-decoders"
"""Where exported decoders lie, each under its checkpoint's digest."""

_VERSION: Final = 1
"""Raised when what is exported changes."""

_NAMED: Final = ("ignore", "ignored_layers", "modules_to_not_convert", "targets")
"""Lists of module names in quantisation settings."""


def quantization_of(folder: Path) -> dict[str, Any] | None:
    """A checkpoint's own quantisation settings; None: its weights are plain."""
    config = read_json(folder, "config.json")
    inner = config.get("text_config") or {}
    found = config.get("quantization_config") or inner.get("quantization_config")
    return found if isinstance(found, dict) else None


def export_decoder(
    folder: Path,
    config: Any,
    names: Callable[[str], str | None],
    *,
    cache: Path | None = None,
) -> Path:
    """Folder of the decoder, written if it is not there yet; several processes may ask at once.

    Args:
        config: transformers' configuration of the checkpoint at `folder`.
        names: from names in the checkpoint's files to those of the decoder alone.
        cache: by default `CACHE`.

    Raises:
        CheckpointError: if it is none that a text model stands for, or cannot be read.
    """
    cache = cache or CACHE
    target = cache / f"{weights_digest(folder)}-{_VERSION}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(target) as alone:
        if target.is_dir():
            return target
        if alone:  # What a killed process left behind.
            for left in cache.glob(f"{target.name}.*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
        written = cache / f"{target.name}.{uuid.uuid4().hex}.tmp"
        try:
            _write(folder, config, names, written)
            _move(written, target)
        finally:
            shutil.rmtree(written, ignore_errors=True)
    return target


@contextmanager
def _one_at_a_time(target: Path) -> Iterator[bool]:
    """Others wait, so that they need not write the same. Whether that can be had here: some file
    systems lock nothing, and several may then write, of which one is kept."""
    with Path(f"{target}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True


def _move(written: Path, target: Path) -> None:
    """All of it at once; what another process has put there first is as good."""
    try:
        written.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _write(folder: Path, config: Any, rename: Callable[[str], str | None], out: Path) -> None:
    content = _config(folder, config, rename)
    out.mkdir()
    weight_map: dict[str, str] = {}
    for file, names in stored_names(folder).items():
        found = {name: new for name in names if (new := rename(name)) is not None}
        if not found:
            continue
        with opened(folder / file) as stored:
            tensors = {new: stored.get_tensor(name) for name, new in found.items()}
        save_file(tensors, out / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(found.values(), file)
    _save(out / WEIGHT_INDEX, {"metadata": {}, "weight_map": weight_map})
    _save(out / "config.json", content)


def _save(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _config(folder: Path, config: Any, rename: Callable[[str], str | None]) -> dict[str, Any]:
    """That of the text model."""
    text = config.text_config
    if text.model_type not in TEXT_MODELS:
        raise CheckpointError(f"no text model stands for a decoder of type {text.model_type!r}")
    content: dict[str, Any] = json.loads(text.to_json_string(use_diff=False))
    content["architectures"] = [TEXT_MODELS[text.model_type]]
    content["dtype"] = str(config.dtype or text.dtype or "float16").removeprefix("torch.")
    content.pop("quantization_config", None)
    quantised = quantization_of(folder)
    if quantised is not None:
        content["quantization_config"] = _renamed(quantised, rename)
    return content


def _renamed(settings: Any, rename: Callable[[str], str | None]) -> Any:
    """Quantisation settings, the modules in them called as the text model calls them."""
    if isinstance(settings, list):
        return [_renamed(each, rename) for each in settings]
    if not isinstance(settings, dict):
        return settings
    return {
        key: [_module(each, rename) for each in value]
        if key in _NAMED and isinstance(value, list)
        else _renamed(value, rename)
        for key, value in settings.items()
    }


def _module(name: Any, rename: Callable[[str], str | None]) -> Any:
    """Patterns, kinds of layers and modules of other parts stay as they are."""
    if not isinstance(name, str) or name.startswith("re:"):
        return name
    weights = rename(f"{name}.")
    return name if weights is None else weights.removesuffix(".")
