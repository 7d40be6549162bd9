"""What the package shows of itself with nothing else at hand: sample images, and captions of them.

Drawing the samples is `lab.rendering`'s.
"""

from pathlib import Path
from typing import Final

SAMPLES: Final = Path(__file__).parent / "samples"
"""Shards of 64 rendered images and 6 broken ones, half Parquet, half WebDataset."""
