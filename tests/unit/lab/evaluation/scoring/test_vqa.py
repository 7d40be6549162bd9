"""Soft VQA accuracy and its normalisation of answers, by hand."""

from __future__ import annotations

import pytest

from lab.evaluation.scoring.soft_vqa import VQA_ACCURACY
from lab.evaluation.scoring.vqa_text import normalised_answer
from tests.support.scoring import answered


@pytest.mark.parametrize(
    ("num_agreeing", "score"),
    [
        (0, 0.0),
        # One subset of ten leaves the only agreeing one out: 9/10 of 1/3.
        (1, 0.3),
        # 2 x 1/3 + 8 x 2/3 = 6, over ten.
        (2, 0.6),
        # 3 x 2/3 + 7 x 1 = 9, over ten.
        (3, 0.9),
        # Four, less the one left out, are still three.
        (4, 1.0),
        (10, 1.0),
    ],
)
def test_agreement_of_ten_people(num_agreeing, score):
    references = ["red"] * num_agreeing + ["blue"] * (10 - num_agreeing)
    assert VQA_ACCURACY.score(answered("red", *references)) == pytest.approx(score)


def test_spellings_of_the_same_answer_agree():
    references = ["two", "2", "The 2", "two.", *["three"] * 6]
    assert VQA_ACCURACY.score(answered("Two", *references)) == 1.0


def test_too_few_people_to_agree():
    assert VQA_ACCURACY.score(answered("red", "red")) == 0.0
    # Each of three subsets has the other two: 2/3.
    assert VQA_ACCURACY.score(answered("red", "red", "red", "red")) == pytest.approx(2 / 3)
    assert VQA_ACCURACY.score(answered("red")) == 0.0


def test_empty_and_lost_answers():
    assert VQA_ACCURACY.score(answered("", *["red"] * 10)) == 0.0
    assert VQA_ACCURACY.score(answered("", *[""] * 10)) == 1.0
    assert VQA_ACCURACY.score(answered(None, *[""] * 10)) == 0.0


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Red", "red"),
        ("  a   red\tcar\n", "red car"),
        ("An apple and the pear", "apple and pear"),
        # Number words, ten at most; none is a number too.
        ("Ten", "10"),
        ("none", "0"),
        ("eleven", "eleven"),
        # A comma in a number goes, and takes other marks with it.
        ("1,234", "1234"),
        ("1,234 red-brick", "1234 redbrick"),
        # Marks beside a space go; others become a space.
        ("yes, sir", "yes sir"),
        ("red-brick", "red brick"),
        ("red - brick", "red brick"),
        # A mark that is beside a space once goes wherever it is.
        ("red-brick - wall", "redbrick wall"),
        ("and/or", "and or"),
        ("really?!", "really"),
        ('"stop"', "stop"),
        # A full stop stays in front of a digit only.
        ("3.5", "3.5"),
        ("no.", "no"),
        ("U.S.A.", "usa"),
        # These two are no punctuation here.
        ("10:30", "10:30"),
        ("$5", "$5"),
        ("dont", "don't"),
        ("Don't", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("8 oclock", "8 o'clock"),
        ("its", "its"),
        ("ÉCOLE", "école"),
        ("", ""),
        ("the", ""),
    ],
)
def test_the_form_in_which_answers_are_compared(text, same):
    assert normalised_answer(text) == same
