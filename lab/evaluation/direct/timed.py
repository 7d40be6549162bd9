"""Speed of an evaluation's runs, measured once and stored."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, TextIO

from lab.environment import environment
from lab.evaluation.direct.run import identity_of, load_model, room_of
from lab.evaluation.direct.timing import ROUND, time_directly
from lab.evaluation.options import Settings
from lab.evaluation.store import QuestionStore
from lab.evaluation.study.runs import Run
from pipeline.storage.store import Store

__all__ = ["time_all"]

_FILE: Final = "timing.json"


def time_all(
    settings: Settings, runs: Sequence[Run], questions: QuestionStore, store: Store, log: TextIO
) -> dict[str, Any] | None:
    """What is stored of these runs on as many images, else measured now and stored.

    All runs together, since only those of one sitting compare. Without `timed_images`, what was
    stored before of all of them; None if there is nothing.

    Raises:
        ModelError: if the checkpoint cannot be used.
    """
    wanted, there = settings.evaluation.timed_images, store.get_json(_FILE)
    if not wanted and there is None:
        return None
    prints = {run.label: identity_of(settings, run, questions.glob).fingerprint for run in runs}
    same = there is not None and prints.items() <= there["fingerprints"].items()
    if there is not None and same and wanted in (0, there["images"]):
        return there
    if not wanted:
        return None
    model = load_model(settings)
    found = time_directly(
        {run.label: run.reduction for run in runs},
        islice(questions.images(), wanted),
        model,
        generation=settings.generation,
        room=room_of(settings),
        log=log,
    )
    timing = {
        "images": wanted,
        "round": ROUND,
        "environment": environment(model.device),
        "fingerprints": prints,
        "runs": {label: timed.to_json() for label, timed in found.items()},
    }
    store.put_json(_FILE, timing)
    return timing
