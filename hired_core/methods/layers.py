"""Which layers of a vision transformer are looked at, by name."""

from __future__ import annotations

from typing import Literal

Layer = Literal["initial", "middle", "final"]
