"""The stages: plain classes, constructor arguments that pickle, `stage(table) -> table`.

Each can be run without Ray. A row that fails keeps flowing with its error; see `pipeline.rows.row`.
"""

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
