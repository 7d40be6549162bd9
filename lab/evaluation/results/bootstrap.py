"""How far a figure could be off by the luck of the images: a cluster bootstrap.

Images are drawn, since questions about one image are right or wrong together. A draw is a weight
for each image, and metrics are made of sums over images, so all draws of a figure are one matrix
product. All figures share their draws: differences between runs are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lab.evaluation.scoring.metric import Floats

__all__ = ["LEVEL", "Draws", "interval"]

LEVEL = 0.95
_WEIGHTS_AT_ONCE = 8_000_000


class Draws:
    """Draws of images with replacement, the same for every figure.

    Images are drawn within strata, as many from each as it has: an evaluation decides how many
    images ask for a count, and luck does not.
    """

    def __init__(self, strata: Sequence[int], num_draws: int, seed: int) -> None:
        """`strata`, one for each image."""
        self._num_images = len(strata)
        kinds = np.asarray(strata, dtype=np.int64)
        self._members = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
        self._num_draws = num_draws
        self._seed = seed

    def sums(self, counts: Sequence[Floats]) -> list[Floats]:
        """`[num_draws, k]` for each `[num_images, k]`; equal counts give equal sums, bit by bit."""
        parts: list[list[Floats]] = [[] for _ in counts]
        for weights in self.weights():
            for part, count in zip(parts, counts, strict=True):
                # Not all in one product: where a column stands would change its rounding.
                part.append(weights @ count)
        return [np.concatenate(part) for part in parts]

    def weights(self) -> Iterator[Floats]:
        """How often each image was drawn, `[draws, num_images]`, a part of the draws at a time."""
        rng = np.random.default_rng(self._seed)
        step = max(1, _WEIGHTS_AT_ONCE // max(1, self._num_images))
        for start in range(0, self._num_draws, step):
            draws = min(step, self._num_draws - start)
            weights = np.zeros((draws, self._num_images))
            for members in self._members:
                share = np.full(len(members), 1 / len(members))
                weights[:, members] = rng.multinomial(len(members), share, size=draws)
            yield weights


def interval(values: Floats) -> tuple[float, float]:
    """Between which `LEVEL` of the draws' `values` lie, as much left out below as above."""
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)
