"""LLaVA-PruMerge+ (arXiv:2403.15388): PruMerge, and tokens at even strides besides.

What has outlying attention is kept first; of the others, tokens at even strides, as many as the
budget has left. With `counts=adaptive` they are those on a comb over the partition, at a third of
the outliers' mean distance as in the published code, and even strides of the comb where the budget
has less left. All are merged with their neighbours as in `prumerge`.
"""

from __future__ import annotations

from typing import Final

from hired_core.methods.pre_llm.merging.prumerge import PruMerge

METHOD: Final = PruMerge(plus=True)
