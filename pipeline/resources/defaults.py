"""What a model actor takes where the settings leave it open; the benchmark takes the same."""

from __future__ import annotations

from typing import Final

GPU_SHARE: Final = 0.9
"""Of a card: CUDA itself and fragmentation take the rest."""
CPU_SHARE: Final = 0.5
"""Of a node's memory: the other stages, Ray and the system live there too."""

MAX_SLOTS_GPU: Final = 256
MAX_SLOTS_CPU: Final = 16
"""Beyond, a step's time grows with the slots: nothing is gained but waiting."""
