"""Work on many items at once: in runs of neighbours, and alone where that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import torch

__all__ = ["chunks", "each_or_code"]

T = TypeVar("T")
R = TypeVar("R")


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Runs of neighbours, `size` of them but for the last."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def each_or_code(
    work: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T], code: str
) -> list[R | str]:
    """What `work` makes of all items together; should it fail, of each alone, or `code`."""
    if not items:
        return []
    try:
        return list(work(items))
    except (torch.AcceleratorError, torch.OutOfMemoryError):
        raise  # Of the machine, not of the image: no answer would be true.
    except (RuntimeError, ValueError, IndexError):
        if len(items) == 1:
            return [code]
    return [found for item in items for found in each_or_code(work, [item], code)]
