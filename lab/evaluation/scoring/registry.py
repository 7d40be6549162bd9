"""Which metrics each task is measured by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lab.evaluation.scoring.anls import ANLS
from lab.evaluation.scoring.caption_metrics import CaptionF1, Invented
from lab.evaluation.scoring.exact_match import EXACT_MATCH
from lab.evaluation.scoring.metric import Metric
from lab.evaluation.scoring.mme import MME_METRICS
from lab.evaluation.scoring.multiple_choice import MULTIPLE_CHOICE
from lab.evaluation.scoring.ocrbench import OCRBENCH_SCORE
from lab.evaluation.scoring.relaxed import RELAXED_ACCURACY
from lab.evaluation.scoring.soft_vqa import VQA_ACCURACY
from lab.evaluation.scoring.yes_no import YES_NO_ACCURACY, YesNoF1, YesRate

__all__ = ["LESS_IS_BETTER", "metrics_of"]

_METRICS: Final[Mapping[str, tuple[Metric, ...]]] = {
    # Tasks of our own benchmark.
    "attribute": (EXACT_MATCH,),
    "existence": (YesNoF1(), YesRate(), YES_NO_ACCURACY),
    "count": (EXACT_MATCH,),
    "spatial": (EXACT_MATCH,),
    "scene_text": (EXACT_MATCH, ANLS),
    "document": (ANLS, EXACT_MATCH),
    "chart": (RELAXED_ACCURACY,),
    "caption": (CaptionF1(), Invented()),
    # Public benchmarks.
    "textvqa": (VQA_ACCURACY,),
    "vqav2": (VQA_ACCURACY,),
    "docvqa": (ANLS, EXACT_MATCH),
    "chartqa": (RELAXED_ACCURACY,),
    "scienceqa": (MULTIPLE_CHOICE,),
    "pope": (YesNoF1(), YesRate(), YES_NO_ACCURACY),
    "mme": MME_METRICS,
    "ocrbench": (OCRBENCH_SCORE,),
}


LESS_IS_BETTER: Final = frozenset({Invented().name})
"""Names of the metrics whose best value is 0, not `maximum`."""


def metrics_of(task: str) -> tuple[Metric, ...]:
    """The metrics of a task, the one that stands for it first.

    Raises:
        ValueError: there is no such task; the message names those there are.
    """
    if task not in _METRICS:
        raise ValueError(f"no task is called {task!r}; there are: {', '.join(_METRICS)}")
    return _METRICS[task]
