"""Who takes part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.benchmark.contestants.answers import Contestant
from lab.benchmark.contestants.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A contestant's description: small, and pickles to a process of its own.

    Attributes:
        transformers: whether it is the unmodified model; its budget is 1.
        batch_size: images at once; None leaves the choice to the engine.
    """

    transformers: bool = False
    budget: float = 1.0
    method: str = "hired"
    batch_size: int | None = None

    @property
    def name(self) -> str:
        """As in tables: "ours 0.2", "ours 0.2, distinct", "transformers dense, batch 8"."""
        budget = "dense" if self.budget == 1 else f"{self.budget:g}"
        batch = "" if self.batch_size is None else f", batch {self.batch_size}"
        method = "" if self.budget == 1 or self.method == "hired" else f", {self.method}"
        return f"{'transformers' if self.transformers else 'ours'} {budget}{method}{batch}"

    def build(self, subject: Subject) -> Contestant:
        # Each is imported where it is built: a child process holds only what its own side needs.
        if self.transformers:
            from lab.benchmark.contestants.baseline import TransformersDense

            return TransformersDense(subject, batch_size=self.batch_size or 1)
        from lab.benchmark.contestants.captioner import Captioner

        return Captioner(
            subject, budget=self.budget, method=self.method, batch_size=self.batch_size
        )


def end_to_end(budgets: Sequence[float], methods: Sequence[str] = ("hired",)) -> list[Entry]:
    """transformers in batches of 8, which ratios are taken to, and one by one; ours.

    Args:
        methods: each at every budget below 1; dense is the same for all.
    """
    theirs = [Entry(transformers=True, batch_size=size) for size in (8, 1)]
    ours = [Entry(budget=budget, method=method) for budget in budgets for method in methods]
    return theirs + list({entry.name: entry for entry in ours}.values())


def batch_sizes(sizes: Sequence[int], budgets: Sequence[float]) -> list[Entry]:
    """The rows and columns of the paper's Table 4, and the engine's own choice."""
    theirs = [Entry(transformers=True, batch_size=size) for size in sizes]
    ours = [Entry(budget=b, batch_size=size) for b in budgets for size in (*sizes, None)]
    return theirs + ours


def chosen(entries: Sequence[Entry], names: Sequence[str]) -> list[Entry]:
    """Those whose name holds one of `names`; all if there are none.

    Raises:
        ValueError: if one of `names` is in no entry's name.
    """
    for name in names:
        if not any(name in entry.name for entry in entries):
            known = "; ".join(entry.name for entry in entries)
            raise ValueError(f"no contestant {name!r}; there are: {known}")
    return [e for e in entries if not names or any(name in e.name for name in names)]
