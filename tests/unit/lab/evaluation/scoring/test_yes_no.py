"""Yes/no answers: how they are read, F1, accuracy and yes-rate, by hand."""

from __future__ import annotations

import pytest

from lab.evaluation.scoring.yes_no import YES_NO_ACCURACY, YesNoF1, YesRate, says_yes
from tests.support.scoring import answered, value_of


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("yes", True),
        ("Yes, there is a dog.", True),
        ("no", False),
        ("No.", False),
        ("NO", False),
        ("No, there isn't", False),
        ("There is not", False),
        # Only the first sentence is heard.
        ("There is a dog. No cat.", True),
        # A word, not letters: nothing, another, know.
        ("Nothing else", True),
        ("no\nyes", False),
        # All that is not no is yes.
        ("a dog", True),
        ("", True),
    ],
)
def test_an_answer_is_no_if_its_first_sentence_says_so(text, yes):
    assert says_yes(text) == yes


# Three times yes where it is right, one missed; two false yes, two right no.
IMAGES = [
    [answered("yes", "yes"), answered("yes", "yes"), answered("yes", "no")],
    [answered("Yes.", "Yes"), answered("no", "yes")],
    [answered("yes", "no"), answered("no", "no"), answered("no", "no")],
]


def test_f1_weighs_missed_and_false_yes():
    assert YesNoF1().counts(IMAGES[0]) == (2.0, 3.0, 2.0)
    # 3 of 5 said are right, 3 of 4 are found: 2 x 3 / 9.
    assert value_of(YesNoF1(), IMAGES) == pytest.approx(100 * 6 / 9)


def test_accuracy_counts_both_answers():
    assert value_of(YES_NO_ACCURACY, IMAGES) == pytest.approx(100 * 5 / 8)


def test_yes_rate_does_not_ask_what_is_right():
    assert value_of(YesRate(), IMAGES) == pytest.approx(100 * 5 / 8)


def test_a_lost_row_is_the_wrong_answer_and_no_yes():
    lost = [answered(None, "yes"), answered(None, "no"), answered("yes", "yes")]
    # Missed where yes is right, said where no is.
    assert YesNoF1().counts(lost) == (1.0, 2.0, 2.0)
    assert value_of(YesNoF1(), [lost]) == pytest.approx(50.0)
    assert YES_NO_ACCURACY.counts(lost) == (1.0, 3.0)
    assert YesRate().counts(lost) == (1.0, 1.0)
    assert [YesRate().score(item) for item in lost] == [0.0, 0.0, 1.0]


def test_nothing_to_divide_is_nought():
    assert value_of(YesNoF1(), [[answered("no", "no")]]) == 0.0
    assert value_of(YesRate(), [[answered(None, "no")]]) == 0.0
