"""A Hugging Face checkpoint on disk, of which any part can be read alone.

Weights come from safetensors only: nothing in a checkpoint is ever unpickled or executed.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

EMBEDDED: Final = "embedded"
EMBEDDED_PATH: Final = Path(__file__).parents[1] / "embedded"

_FILES: Final = ["*.json", "*.safetensors", "*.jinja", "*.model"]
WEIGHT_INDEX: Final = "model.safetensors.index.json"
"""Which shard has which tensor."""

_SAMPLES: Final = 64
_SAMPLE_BYTES: Final = 2**16


class CheckpointError(ValueError):
    """The checkpoint is missing, incomplete or not of the expected form."""


def resolve_checkpoint(model: str, revision: str | None = None) -> Path:
    """Folder of `model`: "embedded", a path, or a Hugging Face id (downloaded to its cache).

    Raises:
        CheckpointError: if it is none of them.
    """
    if model == EMBEDDED:
        return EMBEDDED_PATH
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise CheckpointError(f"no checkpoint folder at {model!r}")
    return _download(model, revision)


def _download(model: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=_FILES))
    except Exception as exc:  # offline, not found, gated: the hub's own message says which.
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise CheckpointError(f"cannot fetch {model!r} from the hub: {reason}") from exc


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of the checkpoint, {} if there is none."""
    path = folder / name
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise CheckpointError(f"{name} of {folder.name} is no valid JSON: {exc}") from exc
    if not isinstance(content, dict):
        raise CheckpointError(f"{name} of {folder.name} holds no JSON object")
    return content


def image_processor(folder: Path) -> dict[str, Any]:
    """What a checkpoint's files say of its image processor; {} if they say nothing."""
    nested = read_json(folder, "processor_config.json").get("image_processor", {})
    return nested or read_json(folder, "preprocessor_config.json")


def check_image_processor(image: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuses settings under which transformers would cut images otherwise than the geometry.

    What a file does not say is transformers' default, which is what this project does.

    Args:
        wanted: by key. Sizes are compared by their values: {"height": 336, "width": 336} is {336}.
    """
    for key, value in wanted.items():
        found = image.get(key, value)
        if isinstance(found, dict):
            found = {number for number in found.values() if number}
        elif isinstance(value, set) and not isinstance(found, set):
            found = {found}
        elif isinstance(found, list):
            found = tuple(tuple(each) for each in found)
        if found != value:
            raise CheckpointError(f"the image processor's {key} is {found}, expected {value}")


def iter_tensors(folder: Path, wanted: Callable[[str], str | None]) -> Iterator[tuple[str, Tensor]]:
    """(new name, tensor) for every stored tensor that `wanted` renames; the rest is not read."""
    for file, names in stored_names(folder).items():
        renamed = {name: new for name in names if (new := wanted(name)) is not None}
        if not renamed:
            continue
        with opened(folder / file) as stored:
            for name, new in renamed.items():
                yield new, stored.get_tensor(name)


def has_tensors(folder: Path, prefix: str) -> bool:
    """Whether any stored tensor's name begins so; False where no weights are there yet."""
    indexed = read_json(folder, WEIGHT_INDEX).get("weight_map", {})
    files = () if indexed else sorted(folder.glob("*.safetensors"))
    names = chain(indexed, *map(_names_in, files))
    return any(name.startswith(prefix) for name in names)


def part(*prefixes: str) -> Callable[[str], str | None]:
    """Renames `[model.]<prefixes[0]>.[<prefixes[1]>.]rest` to `rest`, drops other names."""

    def rename(name: str) -> str | None:
        rest = name.removeprefix("model.")
        if not rest.startswith(prefixes[0] + "."):
            return None
        for prefix in prefixes:
            rest = rest.removeprefix(prefix + ".")
        return rest

    return rename


def decoder_name(decoder: str, name: str) -> str | None:
    """What transformers' causal language model calls a stored weight; None: it is none of its.

    Args:
        decoder: what the decoder is called in the checkpoint.
    """
    head = name.removeprefix("model.").removeprefix(f"{decoder}.")
    if head.startswith("lm_head."):
        return head
    inner = part(decoder, "model")(name)
    return None if inner is None else f"model.{inner}"


def stored_names(folder: Path) -> dict[str, list[str]]:
    """Of each file of weights, what its tensors are called.

    Raises:
        CheckpointError: if one is missing, or does not read as safetensors.
    """
    weight_map: dict[str, str] = read_json(folder, WEIGHT_INDEX).get("weight_map", {})
    files: dict[str, list[str]] = {}
    for name, file in weight_map.items():
        files.setdefault(Path(file).name, []).append(name)
    if not weight_map:
        files = {path.name: _names_in(path) for path in sorted(folder.glob("*.safetensors"))}
    missing = [file for file in files if not (folder / file).is_file()]
    if missing or not files:
        what = f"lacks {', '.join(missing)}" if missing else "has no safetensors weights"
        raise CheckpointError(f"the checkpoint {folder.name} {what}")
    return files


def _names_in(path: Path) -> list[str]:
    with opened(path) as stored:
        return list(stored.keys())


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """safetensors' own reader of one file; raises `CheckpointError` if it is none."""
    try:
        with safe_open(path, framework="pt") as stored:
            yield stored
    except SafetensorError as exc:
        raise CheckpointError(f"{path.name} does not read as safetensors: {exc}") from exc


def stored_bytes(folder: Path, wanted: Callable[[str], str | None]) -> int:
    """What the tensors that `wanted` renames take, as they are stored; reads headers only."""
    total = 0
    for file, names in stored_names(folder).items():
        with (folder / file).open("rb") as stored:
            header = json.loads(stored.read(struct.unpack("<Q", stored.read(8))[0]))
        ends = (header[name]["data_offsets"] for name in names if wanted(name) is not None)
        total += sum(end - begin for begin, end in ends)
    return total


@torch.no_grad()
def fill(
    module: nn.Module,
    tensors: Iterator[tuple[str, Tensor]],
    *,
    tied: set[str],
    then: Callable[[str], None] = lambda name: None,
) -> None:
    """Copy `tensors` into the parameters of `module`, one at a time, and see that none is missing.

    Args:
        tied: names that need not be stored, since another parameter lends them its values.
        then: is told each name once its values are there.

    Raises:
        CheckpointError: on a shape that differs or a parameter without stored values.
    """
    targets = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers()),
    }
    missing = set(dict(module.named_parameters(remove_duplicate=False))) - tied
    for name, tensor in tensors:
        target = targets.pop(name, None)  # What `then` replaces is to be gone.
        if target is None:
            continue
        if target.shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, the configuration wants {tuple(target.shape)}"
            raise CheckpointError(f"{name} is stored as {shapes}")
        target.copy_(tensor)
        missing.discard(name)
        then(name)
    if missing:
        shown = ", ".join(sorted(missing)[:3])
        raise CheckpointError(f"{len(missing)} weights are not in the checkpoint, e.g. {shown}")


def weights_digest(*folders: Path) -> str:
    """Of a checkpoint, and of others that it takes weights from.

    Of configuration, tokenizer and chat template, and of each weight file the size and samples from
    one end to the other. Hashing 14 GB of weights at every start would cost more than it tells.
    """
    digest = hashlib.sha256()
    for folder in folders:
        _add_settings(digest, folder)
        _add_weights(digest, folder)
    return digest.hexdigest()[:16]


def _add_settings(digest: Any, folder: Path) -> None:
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".json", ".jinja", ".model")):
        digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())


def _add_weights(digest: Any, folder: Path) -> None:
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for index in range(_SAMPLES):
                file.seek(index * max(0, size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
