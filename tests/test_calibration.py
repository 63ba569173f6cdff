from __future__ import annotations

import pytest

from routeur.calibration import FIRST_OUTPUT, MODELS, Calibration


def learnt(*answers: tuple[int, int, int]) -> Calibration:
    calibration = Calibration()
    for answer in answers:
        calibration.observe("m", *answer)
    return calibration


def test_a_model_that_has_not_answered() -> None:
    assert Calibration().input("m", 1000) == 1000
    assert Calibration().usual_output("m") == FIRST_OUTPUT


def test_estimates_approach_what_is_seen() -> None:
    errors = []
    calibration = Calibration()
    for _ in range(100):
        errors.append(abs(calibration.input("m", 1000) - 1400))
        calibration.observe("m", 1000, 1400, 20)

    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 20
    assert calibration.usual_output("m") == 20
    assert calibration.input("other", 1000) == 1000


def test_the_latest_answers_count() -> None:
    calibration = learnt(*[(1000, 500, 10)] * 200, *[(1000, 2000, 900)] * 200)

    assert calibration.input("m", 1000) > 1900
    assert calibration.usual_output("m") > 850


def test_one_odd_answer_moves_little() -> None:
    usual = [(1000, 1000, 100)] * 50
    odd = learnt(*usual, (1000, 10**9, 10**9))

    assert odd.input("m", 1000) < 1100
    assert odd.usual_output("m") <= 2100


@pytest.mark.parametrize("answer", [(1000, 10**9, 10**9), (10**9, 1, 0)])
def test_nothing_runs_away(answer: tuple[int, int, int]) -> None:
    calibration = learnt(*[answer] * 1000)

    assert 250 <= calibration.input("m", 1000) <= 4000
    assert 1 <= calibration.usual_output("m") <= 100_000


def test_what_a_template_adds_to_short_prompts_says_little() -> None:
    calibration = learnt(*[(2, 10, 5)] * 50)

    assert calibration.input("m", 1000) < 1600


@pytest.mark.parametrize("answer", [(0, 10, 5), (10, 0, 5), (-3, -4, -5)])
def test_nothing_to_learn_from(answer: tuple[int, int, int]) -> None:
    """An estimate of nothing, and usage without input."""
    assert learnt(answer).input("m", 1000) == 1000
    assert learnt(answer).usual_output("m") >= 1


def test_models_asked_longest_ago_are_forgotten() -> None:
    calibration = Calibration()
    calibration.observe("old", 1000, 2000, 7)
    calibration.observe("kept", 1000, 2000, 7)
    for number in range(MODELS - 1):
        calibration.observe(f"m{number}", 1000, 2000, 7)
        calibration.observe("kept", 1000, 2000, 7)

    assert calibration.usual_output("old") == FIRST_OUTPUT
    assert calibration.usual_output("m0") == calibration.usual_output("kept") == 7
