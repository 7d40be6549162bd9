"""Published geometry run on two thin layers: texts are those of transformers, token for token."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.family_checks import check_dense_parity
from tests.support.halves import Halves
from tests.support.native_original import NativeOriginal
from tests.support.published_qwen import PUBLISHED
from tests.support.qwen_checkpoints import build_thin

SIZES = [(336, 336), (504, 680), (224, 1200), (40, 40), (60, 2000), (350, 250)]
PROMPTS = ["Describe the image.", "What?", "Read the text, please."]


@pytest.mark.parametrize("name", PUBLISHED)
def test_dense_parity(name: str, tmp_path: Path) -> None:
    """Images within the published least and most pixels: the fourth is enlarged."""
    folder = build_thin(tmp_path, name, seed=5)
    halves, original = Halves(folder), NativeOriginal(folder)
    assert halves.spec.nominal_tokens == 16384
    found = check_dense_parity(halves, original, SIZES, PROMPTS, 6)
    assert len({tuple(tokens) for tokens in found}) >= len(found) - 1
