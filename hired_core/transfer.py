"""Between host and device without waiting: pinned memory, asynchronous copies, uploads ahead.

On anything but CUDA these are plain copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on `device`; from pinned memory, as pageable memory would make the host wait."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def download(tensor: Tensor) -> Tensor:
    """On the CPU, in pinned memory; to be read after `wait_for` only."""
    return tensor.to("cpu", non_blocking=tensor.is_cuda)


def wait_for(device: torch.device) -> None:
    """Until what was queued on `device`, downloads among it, is done."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def upload_ahead(
    batches: Iterable[Sequence[npt.NDArray[np.uint8]]], device: torch.device
) -> Iterator[Tensor]:
    """Each batch, concatenated, on `device`; while one is worked on, the next is on its way.

    Copies run on a stream of their own: in the working stream they would queue behind the work.
    """
    if device.type != "cuda":
        yield from (torch.from_numpy(np.concatenate(batch)).to(device) for batch in batches)
        return
    stream = torch.cuda.Stream(device)
    ahead: tuple[Tensor, torch.cuda.Event] | None = None
    for batch in batches:
        following = _start(batch, device, stream)
        if ahead is not None:
            yield _arrived(*ahead)
        ahead = following
    if ahead is not None:
        yield _arrived(*ahead)


def _start(
    batch: Sequence[npt.NDArray[np.uint8]], device: torch.device, stream: torch.cuda.Stream
) -> tuple[Tensor, torch.cuda.Event]:
    shape = (sum(len(array) for array in batch), *batch[0].shape[1:])
    pinned = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    np.concatenate(batch, out=pinned.numpy())
    with torch.cuda.stream(stream):
        return pinned.to(device, non_blocking=True), stream.record_event()


def _arrived(tensor: Tensor, event: torch.cuda.Event) -> Tensor:
    working = torch.cuda.current_stream(tensor.device)
    working.wait_event(event)
    tensor.record_stream(working)  # Else its memory could be reused while it is being read.
    return tensor
