"""What every stage is told about its run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.accounting.cost import Prices
from pipeline.accounting.progress import ProgressReporter
from pipeline.accounting.stats import Meter
from pipeline.rows.errors import ModelError
from pipeline.rows.extras import ExtraColumns
from pipeline.stages.crash_tracker import CrashTrackerClient

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """Identity, prices, progress and crash tracker of the run; small and picklable.

    Attributes:
        extras: columns that travel with the rows, beside those of the stages' schemas.
        gpus, cpus: what one instance of the stage occupies.
        threads: CPU threads of torch; None leaves torch's own choice.
    """

    run_id: str
    prices: Prices
    reporter: ProgressReporter = field(default_factory=ProgressReporter)
    crash_tracker: CrashTrackerClient = field(default_factory=CrashTrackerClient)
    extras: ExtraColumns = field(default_factory=ExtraColumns)
    gpus: float = 0.0
    cpus: float = 1.0
    threads: int | None = None

    def meter(self, stage: str, device: str = "cpu") -> Meter:
        return Meter(
            run_id=self.run_id,
            stage=stage,
            prices=self.prices,
            device=device,
            gpus=self.gpus,
            cpus=self.cpus,
        )

    def device(self) -> torch.device:
        """The device of a model stage, with torch's thread count set."""
        import torch  # Stages without a model do without it.

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return torch.device("cuda" if self.gpus and torch.cuda.is_available() else "cpu")


@contextmanager
def model_errors() -> Iterator[None]:
    """Makes of a checkpoint that cannot be used a `ModelError`: one line for the user."""
    from hired_core.models.checkpoint import CheckpointError

    try:
        yield
    except CheckpointError as exc:
        raise ModelError(f"model: {exc}") from exc
