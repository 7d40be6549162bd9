"""Whether a checkpoint's folder holds all that a job will ask of it, told before anything starts.

Opens no weights: a safetensors file says in its first bytes how long it must be, so a download that
was cut short, or a Git LFS pointer in place of a file, is told from a whole one in microseconds.
"""

from __future__ import annotations

import json
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from hired_core.models.checkpoint import WEIGHT_INDEX, read_json

_SENTENCEPIECE: Final = ("tokenizer.model",)
_TOKENIZERS: Final = (
    ("tokenizer.json",),
    _SENTENCEPIECE,
    ("vocab.json", "merges.txt"),
)
"""Any of these sets of files makes a tokenizer."""

_PROCESSORS: Final = ("preprocessor_config.json", "processor_config.json")
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_PICKLE_INDEX: Final = "pytorch_model.bin.index.json"
_LFS: Final = b"version https://git-lfs"
_SHOWN: Final = 3
_MAX_HEADER: Final = 100 * 1024**2
"""Bytes; safetensors' own limit."""


def problems(folder: Path) -> list[str]:
    """What is missing or damaged of weights, each shard that the index names, tokenizer and image
    processor; each in a few words."""
    return [*of_weights(folder), *of_tokenizer(folder), *of_processor(folder)]


def of_weights(folder: Path) -> list[str]:
    """What is missing or damaged of them."""
    weight_map: dict[str, str] = read_json(folder, WEIGHT_INDEX).get("weight_map", {})
    names = sorted({Path(file).name for file in weight_map.values()})
    names = names or sorted(path.name for path in folder.glob("*.safetensors"))
    if not names:
        return [_no_weights(folder)]
    lost = [name for name in names if not (folder / name).is_file()]
    problems = [f"lacks {_some(lost)} of the {len(names)} files of weights"] if lost else []
    found = [name for name in names if name not in lost]
    damaged = [problem for name in found if (problem := _damage(folder / name))]
    return problems + damaged[:_SHOWN]


def _no_weights(folder: Path) -> str:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    # Of a checkpoint on the hub pickles are not even downloaded, but their index is.
    named: dict[str, str] = read_json(folder, _PICKLE_INDEX).get("weight_map", {})
    pickles = pickles or sorted(set(named.values()))
    if not pickles:
        return "no safetensors weights"
    return (
        f"no safetensors weights, only {_some(pickles)}, which are pickles and never read "
        "(save_pretrained of transformers 5 writes safetensors; docs/models.md tells how to turn "
        "them into some)"
    )


def _damage(path: Path) -> str | None:
    """What is wrong with a file of weights, if its size and header tell."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(max(8, len(_LFS)))
        if start.startswith(_LFS):
            return f"{path.name} is a Git LFS pointer: run git lfs pull"
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
        if not 2 <= length <= min(size - 8, _MAX_HEADER):
            return f"{path.name} does not read as safetensors ({size:,} bytes)"
        file.seek(8)
        needed = 8 + length + _data_bytes(file.read(length))
    if needed <= 8 + length or needed == size:
        return None
    return f"{path.name} has {size:,} bytes, its header tells of {needed:,}"


def _data_bytes(header: bytes) -> int:
    """Bytes of tensors behind the header; 0 where it cannot be read, which loading will tell."""
    try:
        content = json.loads(header)
        ends = [v["data_offsets"][1] for k, v in content.items() if k != "__metadata__"]
        return max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return 0


def of_tokenizer(folder: Path) -> list[str]:
    """That there is none, or none that can be read here."""
    found = [names for names in _TOKENIZERS if all((folder / name).is_file() for name in names)]
    if not found:
        return ["no tokenizer (tokenizer.json or tokenizer.model)"]
    if found == [_SENTENCEPIECE] and find_spec("sentencepiece") is None:
        hint = "pip install 'hired-batch[sentencepiece]'"
        return [f"its {_SENTENCEPIECE[0]} needs the package sentencepiece ({hint})"]
    return []


def of_processor(folder: Path) -> list[str]:
    """That there is none."""
    if any((folder / name).is_file() for name in _PROCESSORS):
        return []
    return [f"no image processor ({_PROCESSORS[0]})"]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
