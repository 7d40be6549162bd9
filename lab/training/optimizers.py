"""Muon for the matrices between layers, AdamW for the rest.

Muon is torch.optim's, after K. Jordan et al., 2024; embeddings, heads and vectors are not what it
is for. It multiplies in bfloat16: on a CPU without such products its step takes longer than all
else together, and AdamW does all the work.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["Optimizers"]

# Parts of parameter names: inputs and outputs of the network.
_NOT_BETWEEN = ("embed", "head", "newline")


class Optimizers:
    """Both optimisers of one module as if they were one; `lr` is AdamW's, Muon's is matched."""

    def __init__(self, module: nn.Module, lr: float, *, has_muon: bool = True) -> None:
        self._lr = lr
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        between = [p for name, p in trained if _is_between(name, p)]
        others = [p for name, p in trained if not _is_between(name, p)]
        decayed = [p for p in others if p.ndim > 1]
        plain = [p for p in others if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
        self._parameters = [p for _, p in trained]
        if not has_muon:
            groups[0]["params"] = decayed + between
        self._all: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)
        ]
        if has_muon:
            self._all.append(
                torch.optim.Muon(between, lr=lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
            )

    def step(self, loss: torch.Tensor, lr_share: float) -> None:
        """One step at a share of the peak learning rate; gradients are clipped to norm 1."""
        for optimizer in self._all:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = self._lr * lr_share
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """State of both."""
        return [optimizer.state_dict() for optimizer in self._all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restores what `state_dict` gave.

        Raises:
            ValueError: The states are of a machine with Muon and this one has none, or vice versa.
        """
        if len(states) != len(self._all):
            raise ValueError(
                "the checkpoint is of a machine that differs in bfloat16: go on there or start anew"
            )
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)


def _is_between(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and not any(part in name for part in _NOT_BETWEEN)
