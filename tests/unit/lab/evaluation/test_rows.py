"""Merged rows as colours, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hired_core.models.registry import load_spec
from lab.evaluation.page.rows import LEVELS, OPACITY, colour_of, inside_note, levels_of, tinted
from tests.support.settings import reduction


def test_levels_are_shares_of_a_row_s_largest_weight() -> None:
    """2 rows, 2 partitions of 2 patches: rounded up, little is left out, a sign makes no matter."""
    weights = np.array([[[0.4, 0.0], [-0.2, 0.01]], [[0.0, 0.0], [0.0, 7.0]]])
    assert levels_of(weights) == [[0, 9, 2, 5], [3, 9]]
    assert levels_of(np.zeros((1, 1, 4))) == [[]]


def test_patches_are_tinted_by_the_rows_that_take_of_them() -> None:
    """The second partition of 2 x 2 patches, 2 pixels each; of one two rows take."""
    pixels = np.full((4, 4, 3), 100, dtype=np.uint8)
    levels = [[0, LEVELS, 5, LEVELS], [5, 3, 6, 3]]
    shown = tinted(pixels, levels, first=4, side=2).astype(float)
    first, second = (np.array(colour_of(row)) for row in (0, 1))
    over = 100 + (first - 100) * OPACITY
    np.testing.assert_allclose(shown[0, 2], over + (second - over) * OPACITY / 3, atol=0.51)
    np.testing.assert_allclose(shown[3, 1], 100 + (second - 100) * OPACITY / 3, atol=0.51)
    assert (shown[:2, :2] == 100).all() and (shown[2:, 2:] == 100).all()
    assert np.abs(first - second).max() > 60


@pytest.mark.parametrize("chosen", [{"method": "fastv"}, {"llm_method": "fastv"}])
def test_what_is_dropped_later_is_told_in_words(chosen: dict[str, str]) -> None:
    spec, settings = load_spec("embedded"), reduction(token_budget=0.2, **chosen)
    left = settings.num_after(spec.nominal_tokens)
    assert f"4 layers the later ones see fewer: at most {left} from layer 2 on" in inside_note(
        settings, spec
    )
    assert inside_note(reduction(token_budget=0.2), spec) == ""
