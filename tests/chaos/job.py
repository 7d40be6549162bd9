"""`jobs/caption.py` with a stand-in model: `python -m tests.chaos.job language|model FLAGS...`."""

from __future__ import annotations

import sys

from pipeline import graph
from pipeline.config import CaptionConfig
from pipeline.session import main
from tests.chaos.stand_in import StandInLanguage, StandInModel

STAND_INS = {"language": StandInLanguage, "model": StandInModel}

if __name__ == "__main__":
    # Pickled by reference: workers import it from this package, which must be on their path.
    setattr(graph, "SelectAndGenerateStage", STAND_INS[sys.argv[1]])  # noqa: B010
    sys.exit(main(sys.argv[2:], CaptionConfig, ""))
