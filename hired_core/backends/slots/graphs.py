"""The decode step as one call: plain on CPUs, replayed CUDA graphs on GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from hired_core.backends.slots.decoder import SlotDecoder
from hired_core.backends.slots.sampling import SlotState

Step = Callable[[int, Sequence[int]], None]
"""step(A, longest): one token for each of the first A slots.

All are at positions below `longest`, of which there is one for each cache of the decoder.
"""


def make_step(decoder: SlotDecoder, state: SlotState) -> Step:
    """The step for the device the decoder is on."""

    def step(num_slots: int, longest: Sequence[int]) -> None:
        tokens, positions = state.tokens[:num_slots], state.positions[:num_slots]
        shifts = state.shifts[:num_slots]
        dropped = [behind[:num_slots] for behind in state.dropped]
        state.advance(decoder.decode(tokens, positions, shifts, dropped, longest))

    if state.tokens.device.type != "cuda":
        return step
    return _GraphedStep(step, decoder, state)


class _GraphedStep:
    """One graph per bucket of slots: hundreds of kernels are launched as one.

    A graph has fixed shapes, so it works on a power of two of slots and on all positions; slots
    that are computed along change nothing that a request looks at (see `SlotState`). All graphs
    share one pool of memory: only one runs at a time.
    """

    def __init__(self, step: Step, decoder: SlotDecoder, state: SlotState) -> None:
        self._step = step
        self._state = state
        self._max_slots = decoder.caches[0].num_slots
        self._max_lengths = [cache.max_length for cache in decoder.caches]
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, num_slots: int, longest: Sequence[int]) -> None:
        bucket = min(1 << (num_slots - 1).bit_length(), self._max_slots)
        if bucket not in self._graphs:
            self._graphs[bucket] = self._capture(bucket)
        self._graphs[bucket].replay()

    def _capture(self, bucket: int) -> torch.cuda.CUDAGraph:
        """Records the step without running it; the run before it warms up, and is undone."""
        saved = self._state.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                self._step(bucket, self._max_lengths)
        finally:
            torch.cuda.current_stream().wait_stream(stream)
            self._state.restore(saved)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            self._step(bucket, self._max_lengths)
        return graph
