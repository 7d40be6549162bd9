"""LLaVA-PruMerge+ (arXiv:2403.15388): PruMerge, and tokens at even strides besides.

What has outlying attention is kept first; of the others, tokens at even strides: as many as the
budget has left, or with `counts=adaptive` as many as stand at a third of the outliers' mean
distance (the published code's step). All of them are merged with their neighbours as in
`prumerge`. Deviation: strides are even over what is not kept yet (`select_stride`), where the code
drops from a fixed comb what is kept already.
"""

from __future__ import annotations

from typing import Final

from hired_core.methods.pre_llm.merging.prumerge import PruMerge

METHOD: Final = PruMerge(plus=True)
