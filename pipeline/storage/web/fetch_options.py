"""What may be fetched of the URLs in tables, and how politely."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hired_core.errors import require

__all__ = ["FetchOptions"]


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Fetching"""

    fetch_per_host: int = 8
    """Requests to one host that are under way at once, from one node of the cluster."""
    fetch_timeout_sec: float = 30.0
    """A page that takes longer, redirects included, is given up, and tried again."""
    fetch_retries: int = 2
    """Further tries where a failure may pass: no connection, time-outs, 429 and 5xx answers. A
    host's Retry-After is kept to."""
    fetch_redirects: int = 5
    """Redirects that are followed, each checked as the first address was."""
    fetch_private: bool = False
    """Fetch from private, local and link-local addresses too. Without it a table of someone else
    cannot make the cluster ask its own services."""
    fetch_opted_out: bool = False
    """Caption images whose host says no: X-Robots-Tag with noai, noimageai, noindex or
    noimageindex. Without it they are quarantined."""
    fetch_user_agent: str = "hired-batch/0.1 (image captioning)"
    """What the job calls itself. Hosts like to find an address there."""

    def __post_init__(self) -> None:
        require(self.fetch_per_host > 0, "fetch_per_host", self.fetch_per_host, "1 or more")
        ok = 0 < self.fetch_timeout_sec < math.inf
        require(ok, "fetch_timeout_sec", self.fetch_timeout_sec, "above 0")
        for key in ("fetch_retries", "fetch_redirects"):
            value = getattr(self, key)
            require(0 <= value <= 20, key, value, "0 to 20")
        agent = self.fetch_user_agent
        ok = bool(agent.strip()) and agent.isascii() and agent.isprintable()
        require(ok, "fetch_user_agent", agent, "a line of printable ASCII")
