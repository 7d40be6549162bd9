"""The decode step as one call: plain on CPUs, replayed CUDA graphs on GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from hired_core.backends.slots.decoder import SlotDecoder
from hired_core.backends.slots.masks import SlotMasks
from hired_core.backends.slots.sampling import SlotState

Step = Callable[[int, Sequence[int]], None]
"""step(A, longest): one token for each of the first A slots.

All are at positions below `longest`, of which there is one for each cache of the decoder.
"""


def make_step(
    decoder: SlotDecoder,
    state: SlotState,
    masks: SlotMasks | None = None,
    *,
    graphed: Callable[[Step], Step] | None = None,
) -> Step:
    """The step for the device the decoder is on.

    Args:
        graphed: makes graphs of work on the device; by default what suits the device.
    """

    def read(num_slots: int, longest: Sequence[int]) -> Tensor:
        tokens, positions = state.tokens[:num_slots], state.positions[:num_slots]
        shifts = state.shifts[:num_slots]
        dropped = [behind[:num_slots] for behind in state.dropped]
        return decoder.decode(tokens, positions, shifts, dropped, longest)

    def by_device(step: Step) -> Step:
        on_gpu = state.tokens.device.type == "cuda"
        return _GraphedStep(step, decoder, state) if on_gpu else step

    make = graphed or by_device
    if masks is not None:
        return _masked_step(read, decoder.num_logits, state, masks, make)
    return make(lambda num_slots, longest: state.advance(read(num_slots, longest)))


def _masked_step(
    read: Callable[[int, Sequence[int]], Tensor],
    num_logits: int,
    state: SlotState,
    masks: SlotMasks,
    graphed: Callable[[Step], Step],
) -> Step:
    """The same in two: masks are filled while the device is at the first."""
    shape = (state.tokens.shape[0], num_logits)
    logits = torch.zeros(shape, dtype=torch.float32, device=state.tokens.device)

    def keep(num_slots: int, longest: Sequence[int]) -> None:
        logits[:num_slots].copy_(read(num_slots, longest))

    def choose(num_slots: int, longest: Sequence[int]) -> None:
        state.advance(logits[:num_slots].clone())  # Capturing it runs it twice.

    first, second = graphed(keep), graphed(choose)

    def step(num_slots: int, longest: Sequence[int]) -> None:
        masks.ask(num_slots)
        first(num_slots, longest)
        masks.answer(num_slots)
        second(num_slots, longest)

    return step


def buckets(num_slots: int) -> list[int]:
    """Powers of two up to `num_slots`, and it: a step over fewer works on the next of them."""
    powers = (1 << n for n in range(num_slots.bit_length()))
    return sorted({*powers, num_slots})


class _GraphedStep:
    """One graph per bucket of slots: hundreds of kernels are launched as one.

    A graph has fixed shapes, so it works on a bucket of slots and on all positions; slots that are
    computed along change nothing that a request looks at (see `SlotState`). All are captured when
    this is made, the largest first, on one stream and in one pool of memory: only one runs at a
    time, and a stream more would have a workspace of its own in the libraries. A bucket for which
    memory is short then has no graph, and its step is launched kernel by kernel.
    """

    def __init__(self, step: Step, decoder: SlotDecoder, state: SlotState) -> None:
        self._step = step
        self._state = state
        self._max_lengths = [cache.max_length for cache in decoder.caches]
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()
        self._buckets = buckets(decoder.caches[0].num_slots)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        for bucket in reversed(self._buckets):
            self._try_capture(bucket)

    def __call__(self, num_slots: int, longest: Sequence[int]) -> None:
        bucket = next(each for each in self._buckets if each >= num_slots)
        graph = self._graphs.get(bucket)
        if graph is None:
            self._step(bucket, self._max_lengths)
        else:
            graph.replay()

    def _try_capture(self, bucket: int) -> None:
        with suppress(torch.OutOfMemoryError):
            self._graphs[bucket] = self._capture(bucket)
            return
        torch.cuda.empty_cache()

    @torch.inference_mode()
    def _capture(self, bucket: int) -> torch.cuda.CUDAGraph:
        """Records the step without running it; the run before it warms up, and is undone."""
        saved = self._state.clone()
        self._stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self._stream):
                self._step(bucket, self._max_lengths)
        finally:
            torch.cuda.current_stream().wait_stream(self._stream)
            self._state.restore(saved)
        graph = torch.cuda.CUDAGraph()
        # Other threads may upload meanwhile; only what this one does must be fit for a graph.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            self._step(bucket, self._max_lengths)
        return graph
