"""Metrics that score one answer against its references; every value worked out by hand."""

from __future__ import annotations

import pytest

from lab.evaluation.scoring.anls import ANLS, levenshtein
from lab.evaluation.scoring.exact_match import EXACT_MATCH
from lab.evaluation.scoring.multiple_choice import MULTIPLE_CHOICE, chosen_letter
from lab.evaluation.scoring.ocrbench import OCRBENCH_SCORE
from lab.evaluation.scoring.relaxed import RELAXED_ACCURACY, number_in
from tests.support.scoring import answered, value_of


@pytest.mark.parametrize(
    ("prediction", "references", "score"),
    [
        ("red", ("red",), 1),
        (" Red. ", ("red",), 1),
        ("RED", ("blue", "red"), 1),
        ("dark red", ("red",), 0),
        ("re d", ("red",), 0),
        (".5", ("5",), 0),
        ("3.", ("3",), 1),
        ("", ("red",), 0),
        ("", ("",), 1),
        ("red", ("",), 0),
        ("red", (), 0),
        ("STRASSE", ("Straße",), 1),
        ("cafe\u0301", ("café",), 1),
        ("cafe", ("café",), 0),
        ("x2", ("x²",), 0),
    ],
)
def test_exact_match_looks_over_case_space_and_a_full_stop(prediction, references, score):
    assert EXACT_MATCH.score(answered(prediction, *references)) == score


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("日本語", "日本", 1),
    ],
)
def test_levenshtein_counts_the_least_edits(one, other, distance):
    assert levenshtein(one, other) == distance
    assert levenshtein(other, one) == distance


@pytest.mark.parametrize(
    ("prediction", "references", "score"),
    [
        ("12 May 1999", ("12 may 1999",), 1),
        ("12  may\n1999 ", ("12 May 1999",), 1),
        # One of four characters is off: 3/4.
        ("abcx", ("abcd",), 0.75),
        # Half is right, which still counts; one of three does not.
        ("abxy", ("abcd",), 0.5),
        ("axy", ("abc",), 0),
        # Distances 4/4 and 1/4: the better one.
        ("abcx", ("wwww", "abcd"), 0.75),
        # The longer text divides: 3 characters too many of 6.
        ("abcdef", ("abc",), 0.5),
        ("", ("abc",), 0),
        ("", ("",), 1),
        ("abc", ("",), 0),
        ("abc", (), 0),
        # One of seven.
        ("Zürich!", ("zürich",), 6 / 7),
    ],
)
def test_anls_is_the_best_similarity_from_one_half_on(prediction, references, score):
    assert ANLS.score(answered(prediction, *references)) == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12.0),
        (" -3.5 ", -3.5),
        ("12%", 0.12),
        ("0", 0.0),
        ("1e3", 1000.0),
        ("1,234", None),
        ("12 km", None),
        ("$12", None),
        ("%", None),
        ("", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_a_number_is_what_the_published_evaluation_takes_for_one(text, number):
    assert number_in(text) == (None if number is None else pytest.approx(number))


@pytest.mark.parametrize(
    ("prediction", "references", "score"),
    [
        # 5 % of 40 is 2: both bounds are in.
        ("42", ("40",), 1),
        ("38", ("40",), 1),
        ("42.1", ("40",), 0),
        ("-42", ("-40",), 1),
        ("42", ("-40",), 0),
        ("40.0", ("40",), 1),
        (" 40 ", ("40",), 1),
        # 5 % of 0.12 is 0.006, so 12.5 % is in and 13 % is not.
        ("12.5%", ("12%",), 1),
        ("13%", ("12%",), 0),
        ("0.12", ("12%",), 1),
        ("12", ("12%",), 0),
        # Grouped and with a unit: text, so equal or wrong.
        ("1,234", ("1,234",), 1),
        ("1234", ("1,234",), 0),
        ("1,234", ("1234",), 0),
        ("40 km", ("40 KM",), 1),
        ("41 km", ("40 km",), 0),
        # No margin around nothing.
        ("0", ("0",), 1),
        ("0.0", ("0",), 0),
        ("0.01", ("0",), 0),
        ("Norway", ("norway",), 1),
        (" Norway\n", ("norway",), 1),
        ("Norwa", ("norway",), 0),
        ("41", ("Norway", "40"), 1),
        ("", ("40",), 0),
        ("", ("",), 1),
        ("40", ("",), 0),
    ],
)
def test_relaxed_accuracy_lets_numbers_be_five_percent_off(prediction, references, score):
    assert RELAXED_ACCURACY.score(answered(prediction, *references)) == score


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" b. ", "B"),
        ("(b)", "B"),
        ("B. Paris", "B"),
        ("B.Paris", "B"),
        ("(B) Paris", "B"),
        ("B: Paris", "B"),
        ("The answer is B.", "B"),
        ("So the correct answer is (C)", "C"),
        ("Answer: D", "D"),
        ("The answer is Berlin", None),
        ("A cat", None),
        ("Paris", None),
        ("bx", None),
        ("", None),
    ],
)
def test_a_letter_is_read_where_it_is_one(text, letter):
    assert chosen_letter(text) == letter


def test_multiple_choice_wants_the_letter_of_the_reference():
    assert MULTIPLE_CHOICE.score(answered("B. Paris", "B")) == 1
    assert MULTIPLE_CHOICE.score(answered("A. Paris", "B")) == 0
    assert MULTIPLE_CHOICE.score(answered("Paris", "B")) == 0
    assert MULTIPLE_CHOICE.score(answered("", "B")) == 0


@pytest.mark.parametrize(
    ("prediction", "references", "score"),
    [
        ("The sign says CENTRE.", ("centre",), 1),
        ("Total:\n12", ("total: 12",), 1),
        ("cent", ("centre",), 0),
        ("12", ("34", "2"), 1),
        ("c e n t r e", ("centre",), 0),
        ("anything", ("",), 0),
        ("", ("centre",), 0),
    ],
)
def test_ocrbench_looks_for_the_reference_in_the_answer(prediction, references, score):
    assert OCRBENCH_SCORE.score(answered(prediction, *references, dataset="IIIT5K")) == score


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        (r"\frac { a } { b }", r"\frac{a}{b}", 1),
        ("x ^ 2\n+ 1", "x^2 + 1", 1),
        ("X^2", "x^2", 0),
    ],
)
def test_in_handwritten_maths_spaces_mean_nothing_and_case_does(prediction, reference, score):
    assert OCRBENCH_SCORE.score(answered(prediction, reference, dataset="HME100k")) == score


def test_a_share_is_a_mean_over_questions_not_over_images():
    # Four questions, three right: 75, though the images' own means are 1 and 1/2.
    images = [
        [answered("red", "red"), answered("1", "1")],
        [answered("red", "blue"), answered("2", "2")],
    ]
    assert value_of(EXACT_MATCH, images) == 75.0


def test_a_lost_row_scores_nothing_and_is_counted():
    lost = answered(None, "red")
    assert EXACT_MATCH.counts([lost, answered("red", "red")]) == (1.0, 2.0)
    # Not even where an empty answer would be right.
    assert EXACT_MATCH.score(answered(None, "")) == 0


def test_ocrbench_is_told_out_of_a_thousand():
    images = [[answered("a", "a")], [answered("b", "c")]]
    assert value_of(OCRBENCH_SCORE, images) == 500.0
