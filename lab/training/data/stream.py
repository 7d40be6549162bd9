"""Batches without end, made by other processes while this one trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

__all__ = ["Draw", "stream"]

_Batch = TypeVar("_Batch")
Draw = Callable[[np.random.Generator], _Batch]


class _Batches(IterableDataset[Any]):
    """What `open_draw()` draws; each process opens its own and draws with its own seed."""

    def __init__(self, open_draw: Callable[[], Draw[Any]], seed: tuple[int, ...]) -> None:
        self._open_draw = open_draw
        self._seed = seed

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        rng = np.random.default_rng((*self._seed, worker.id if worker else 0))
        draw = self._open_draw()
        while True:
            yield draw(rng)


def stream(
    open_draw: Callable[[], Draw[_Batch]], seed: tuple[int, ...], num_processes: int
) -> Iterator[_Batch]:
    """Batches of tensors; `open_draw` must pickle. The processes end with the iterator."""
    loader = DataLoader(
        _Batches(open_draw, seed),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=num_processes,
        multiprocessing_context="spawn",
    )
    return iter(loader)


def _as_it_is(batch: _Batch) -> _Batch:
    return batch
