"""Weights: how many, in how many bytes, and how they come into a module; 8-bit ones by torchao.

Eight bits are of weights alone, with one scale for each output of a linear layer, and only of those
linear layers that are stacked: in the decoder's layers, or in the tower's. Embeddings, norms, the
projector and the head stay as they are (a head is often the embedding itself), as transformers
leaves its head. torchao's layers multiply in the model's own dtype, on any device: they make the
weights that they read wide again, call by call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, get_args

import torch
from torch import Tensor, nn

from hired_core import onednn
from hired_core.choices import Quantization, WeightFormat
from hired_core.errors import SettingError, require
from hired_core.models.checkpoint import fill

_ROW_BYTES: Final[dict[WeightFormat, int]] = {"int8": 4 + 1, "fp8": 4}
"""Beside the numbers of a row: its scale and, of integers, its zero point."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Counts of numbers.

    Attributes:
        total: all of them.
        stacked: those of linear layers that eight bits are for. `rows`: outputs of these;
            `largest`: numbers of the largest.
    """

    total: int
    stacked: int = 0
    rows: int = 0
    largest: int = 0

    @classmethod
    def of(cls, module: nn.Module) -> Weights:
        """What it holds; tied weights count once."""
        weights = [linear.weight for linear in stacked_linears(module).values()]
        return cls(
            total=count(module),
            stacked=sum(weight.numel() for weight in weights),
            rows=sum(weight.shape[0] for weight in weights),
            largest=max((weight.numel() for weight in weights), default=0),
        )

    def plus(self, others: int) -> Weights:
        """With as many more that stay as they are."""
        return Weights(
            total=self.total + others, stacked=self.stacked, rows=self.rows, largest=self.largest
        )

    def stored_bytes(self, dtype: torch.dtype, quantized: WeightFormat | None) -> int:
        """All of them at rest."""
        if quantized is None:
            return dtype.itemsize * self.total
        plain = dtype.itemsize * (self.total - self.stacked)
        return plain + self.stacked + _ROW_BYTES[quantized] * self.rows

    def widened_bytes(self, dtype: torch.dtype, quantized: WeightFormat | None) -> int:
        """The most that a call takes to read a layer: of fp8 in float32 first, twice."""
        if quantized is None:
            return 0
        wide = (
            dtype.itemsize if quantized == "int8" else 8 + dtype.itemsize * (dtype != torch.float32)
        )
        return wide * self.largest


def count(module: nn.Module) -> int:
    """Numbers it holds; tied weights count once."""
    return sum(weight.numel() for weight in module.parameters())


def stacked_linears(module: nn.Module) -> dict[str, nn.Linear]:
    """By name, linear layers inside a list of layers."""
    stacks = tuple(
        f"{name}." if name else ""
        for name, each in module.named_modules()
        if isinstance(each, nn.ModuleList)
    )
    return {
        name: each
        for name, each in module.named_modules()
        if isinstance(each, nn.Linear) and name.startswith(stacks)
    }


def check_quantization(quantization: Quantization) -> None:
    """Raises `SettingError`, with what is allowed or to be installed, for what cannot be had."""
    asked = {"quantize": quantization.decoder, "quantize_vision": quantization.vision}
    for key, kind in asked.items():
        if kind is None:
            continue
        known = get_args(WeightFormat)
        require(kind in known, key, kind, ", ".join(known))
        if find_spec("torchao") is None:
            missing = "torchao is not installed: pip install 'hired-batch[quantize]'"
            raise SettingError(f"{key}: {missing}")


def home_of(device: torch.device, quantized: WeightFormat | None) -> torch.device:
    """Where a module is made that `filled` will bring to `device`.

    On the host if it is to have eight bits: there, room that is not written yet takes no memory.
    """
    return device if quantized is None else torch.device("cpu")


def filled(
    module: nn.Module,
    tensors: Iterator[tuple[str, Tensor]],
    *,
    tied: set[str],
    device: torch.device,
    quantized: WeightFormat | None = None,
) -> nn.Module:
    """The module, in evaluation mode on `device`, with these weights.

    In eight bits each is made so as soon as it is there: they never lie side by side in full.

    Raises:
        CheckpointError: as `fill`.
    """
    linears = {f"{name}.weight": each for name, each in stacked_linears(module).items()}
    reordered = device.type == "cpu" and quantized is None and onednn.is_there()

    def then(name: str) -> None:
        linear = linears.get(name)
        if linear is None:
            return
        if quantized is not None:
            quantize(linear, quantized, device)
        elif reordered and linear.weight.dtype == torch.float32:
            module.set_submodule(name.removesuffix(".weight"), onednn.OneDnnLinear(linear))
            del linears[name]  # Its own weight is to be gone.

    fill(module, tensors, tied=tied, then=then)
    return module.to(device).eval() if quantized is not None else module.eval()


def quantize(module: nn.Module, kind: WeightFormat, device: torch.device | None = None) -> None:
    """Turns the weights of a linear layer, or of all in a module, to eight bits; on `device`."""
    quantize_, config = _torchao(kind)
    quantize_(module, config, device=device)


@cache
def _torchao(kind: WeightFormat) -> tuple[Any, Any]:
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    # Its settings of the compiler are the process's own.
    config = {"int8": Int8WeightOnlyConfig, "fp8": Float8WeightOnlyConfig}[kind]
    return quantize_, config(set_inductor_config=False)
