"""Which rows were being worked on when a process died.

Ray restarts a process that dies and runs its batch again, without end; a row that brings its
process down would hold up the job for ever. So stages announce to one small actor, before they
begin, the rows they are about to work on, and afterwards that they have ended. Rows that were begun
and never ended are suspects:

* A batch with a suspect is run one row at a time, each announced alone. So a process that is
  killed from outside costs no more than that.
* A row that was begun alone `MAX_CRASHES` times and never ended is not run again: `GuardedStage`
  sends it to quarantine as `row_kills_process`. An innocent row ends there only if its process is
  killed from outside during that very row, twice, after once during its batch.

A stage waits for the answer before it begins, so whatever it announced before has arrived by then:
calls of one process to one actor keep their order. That Ray runs a batch in two processes at once,
as when it takes a node for dead that is not, costs at most a run row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

MAX_CRASHES: Final = 2
ANSWER_TIMEOUT_SEC: Final = 10.0


class CrashTracker:
    """Rows under way, by stage and id, with how often each was begun alone and never ended."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], int] = {}

    def begin_together(self, stage: str, ids: list[str]) -> bool:
        """Whether the rows may be run together: none of them was begun before and never ended.

        If they may not, nothing is noted: each will be announced alone.
        """
        keys = [(stage, row_id) for row_id in ids]
        if any(key in self._begun for key in keys):
            return False
        self._begun.update(dict.fromkeys(keys, 0))
        return True

    def begin_alone(self, stage: str, row_id: str) -> int:
        """How often the row was begun alone and never ended before now."""
        crashes = self._begun.get((stage, row_id), 0)
        self._begun[stage, row_id] = crashes + 1
        return crashes

    def end(self, stage: str, ids: list[str]) -> None:
        """The rows are done with, whatever became of them; their process is alive."""
        for row_id in ids:
            self._begun.pop((stage, row_id), None)


@dataclass(frozen=True, kw_only=True)
class CrashTrackerClient:
    """What a stage holds. Without an actor, or when it does not answer, nobody is a suspect."""

    actor: Any = None

    def begin_together(self, stage: str, ids: list[str]) -> bool:
        return self._ask("begin_together", stage, ids) is not False

    def begin_alone(self, stage: str, row_id: str) -> int:
        return self._ask("begin_alone", stage, row_id) or 0

    def end(self, stage: str, ids: list[str]) -> None:
        """Does not wait."""
        if self.actor is not None:
            self.actor.end.remote(stage, ids)

    def _ask(self, method: str, *args: Any) -> Any:
        if self.actor is None:
            return None
        import ray  # A stage without a cluster does without it.
        from ray.exceptions import GetTimeoutError, RayActorError

        try:
            answer = getattr(self.actor, method).remote(*args)
            return ray.get(answer, timeout=ANSWER_TIMEOUT_SEC)
        except (RayActorError, GetTimeoutError):
            return None  # It is being restarted, and remembers nothing: as good as no crashes.


def start_crash_tracker() -> CrashTrackerClient:
    """A tracker of its own, for tests of it; a job's is part of `pipeline.stages.attendant`."""
    return CrashTrackerClient(actor=on_this_node(CrashTracker))


def on_this_node(kind: type[Any]) -> Any:
    """An actor on the driver's node, which the job cannot survive anyway; restarted if it dies."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    here = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    options = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)
    return options(kind).remote()
