"""`jobs/caption.py` with a stand-in model: `python -m tests.chaos.job language|model FLAGS...`."""

from __future__ import annotations

import sys

from pipeline.job import graph
from pipeline.job.session import main
from pipeline.settings.config import CaptionConfig
from tests.chaos.stand_in import StandInGenerate, StandInSelect

STAND_INS: dict[str, dict[str, type]] = {
    "language": {"GenerateStage": StandInGenerate},
    "model": {"GenerateStage": StandInGenerate, "SelectStage": StandInSelect},
}

BLOCK_BYTES = 64 * 1024
"""At least: a batch of these small images, as blocks are a batch of images of usual sizes."""

if __name__ == "__main__":
    graph.MIN_BLOCK_BYTES = BLOCK_BYTES
    # Pickled by reference: workers import them from this package, which must be on their path.
    for name, stand_in in STAND_INS[sys.argv[1]].items():
        assert hasattr(graph, name), f"the graph has no {name} to replace"
        setattr(graph, name, stand_in)
    sys.exit(main(sys.argv[2:], CaptionConfig, ""))
