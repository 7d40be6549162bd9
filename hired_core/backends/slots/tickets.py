"""What the slot engine keeps about a request and about a slot."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hired_core.language.model import Completion, Request


@dataclass(eq=False)
class Ticket:
    """A request on its way through the engine; seconds as in `Completion`."""

    request: Request
    submitted: float
    prefill_sec: float = 0.0
    decode_sec: float = 0.0
    ttft_sec: float = 0.0
    outcome: Completion | Exception | None = None

    @property
    def own_sec(self) -> float:
        """Of the device, so far."""
        return self.prefill_sec + self.decode_sec

    def complete(self, completion: Completion) -> None:
        self.outcome = replace(
            completion,
            prefill_sec=self.prefill_sec,
            decode_sec=self.decode_sec,
            ttft_sec=self.ttft_sec,
        )

    def completion(self) -> Completion:
        """What came of it; raises what went wrong."""
        if isinstance(self.outcome, Exception):
            raise self.outcome
        assert self.outcome is not None, "looked at before its end"
        return self.outcome


@dataclass
class Slot:
    """One region of the cache.

    Attributes:
        ticket: of the request under way.
        resident: the request whose prompt the cells hold, also after it has ended.
        lengths: positions that the prompt under way takes in each cache.
        generated: tokens so far.
    """

    index: int
    ticket: Ticket | None = None
    resident: Request | None = None
    lengths: tuple[int, ...] = ()
    generated: int = 0


def shared_positions(resident: Request | None, request: Request, *, text_only: bool = False) -> int:
    """How many first positions of `request` have the cells of `resident`; never all of them.

    The text before the image counts up to its first difference; the image counts if both requests
    hold the same tensors, not equal ones; then the text after it. At least one position is left to
    read, since logits come from reading.

    Args:
        text_only: the text before the image alone: what is dropped of an image depends on the text
            after it.
    """
    if resident is None:
        return 0
    before = _common(resident.before, request.before)
    same_text = before == len(resident.before) == len(request.before)
    same_image = all(
        getattr(resident, part) is getattr(request, part)
        for part in ("features", "sequence", "places")
    )
    if text_only or not (same_text and same_image):
        return min(before, request.num_prompt_tokens - 1)
    after = _common(resident.after, request.after)
    return min(before + request.sequence.shape[0] + after, request.num_prompt_tokens - 1)


def _common(left: list[int], right: list[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))
