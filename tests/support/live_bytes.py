"""How many bytes of tensors are alive at once while something runs, op by op, on any device."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts storages that ops make while it is entered; what an op holds inside is not seen.

    Attributes:
        peak: the most at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_storage(leaf)[0] for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if _is_tensor(leaf) and _storage(leaf)[0] not in given | self._known:
                self._note(leaf)
        self.peak = max(self.peak, self._now)
        return out

    def _note(self, tensor: torch.Tensor) -> None:
        key, size = _storage(tensor)
        self._known.add(key)
        self._now += size
        weakref.finalize(tensor.untyped_storage(), self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor)


def _storage(tensor: torch.Tensor) -> tuple[int, int]:
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()
