"""The stages: plain classes, constructor arguments that pickle, `stage(table) -> table`.

Each can be run without Ray. A row that fails keeps flowing with its error; see `pipeline.rows.row`.
Names are loaded at their first use: a worker that reads or decodes imports no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.stages.generate import GenerateStage
    from pipeline.stages.guard import GuardedStage
    from pipeline.stages.partition import PartitionStage
    from pipeline.stages.read import ReadStage
    from pipeline.stages.select import SelectStage
    from pipeline.stages.write import WriteStage

__all__ = [
    "GenerateStage",
    "GuardedStage",
    "PartitionStage",
    "ReadStage",
    "SelectStage",
    "WriteStage",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{name.removesuffix('Stage').lower()}"
    return getattr(importlib.import_module(home.replace("guarded", "guard")), name)
