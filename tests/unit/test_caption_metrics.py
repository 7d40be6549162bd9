from pipeline.evaluation.metrics import (
    SetScore,
    character_matches,
    content_of,
    parse_caption,
    pool,
)
from pipeline.evaluation.scenes import make_scene
from pipeline.evaluation.texts import caption


def test_parse_by_hand() -> None:
    content = parse_caption("a red circle, a blue square and a sign that says STOP.")
    assert content.objects == {("red", "circle"), ("blue", "square")}
    assert content.signs == ("STOP",)


def test_parse_of_nonsense_and_repeats() -> None:
    assert parse_caption("").objects == frozenset()
    assert parse_caption("a red a circle, reddish circles").objects == frozenset()
    assert parse_caption("A Red circle, a red circle").objects == {("red", "circle")}


def test_parse_inverts_caption() -> None:
    for seed in range(200):
        scene = make_scene(seed)
        assert parse_caption(caption(scene)) == content_of(scene)


def test_f1_by_hand() -> None:
    predicted = frozenset({("red", "circle"), ("blue", "square")})
    true = frozenset({("red", "circle"), ("pink", "star"), ("cyan", "ring")})
    score = SetScore.of(predicted, true)
    # 1 right, 2 said, 3 there: precision 1/2, recall 1/3.
    assert score == SetScore(num_right=1, num_predicted=2, num_true=3)
    assert score.f1 == 0.4
    assert SetScore().f1 == 1.0
    assert SetScore(num_true=2).f1 == 0.0


def test_pool_adds_counts() -> None:
    first = SetScore(num_right=1, num_predicted=2, num_true=3)
    second = SetScore(num_right=2, num_predicted=2, num_true=2)
    assert pool([first, second]) == SetScore(num_right=3, num_predicted=4, num_true=5)
    assert pool([]).f1 == 1.0


def test_characters_by_hand() -> None:
    assert character_matches(["STOP"], ["STOP"]) == (4, 4)
    assert character_matches(["SOTP"], ["STOP"]) == (2, 4)
    assert character_matches([], ["ABC"]) == (0, 3)
    assert character_matches(["ABCDE", "X"], ["ABC"]) == (3, 3)
    assert character_matches(["AB"], ["ABC", "XYZ"]) == (2, 6)
    assert character_matches(["AB"], []) == (0, 0)
