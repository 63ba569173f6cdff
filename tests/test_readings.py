"""What the pages of a server say, and what has changed between two looks at them."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.metrics import ANSWER
from routeur.readings import Bound, Course, between, parse, quantile, read
from tests.looks import credential, health, look, metrics, model

# ── one look


def test_the_format_of_prometheus() -> None:
    page = metrics((0.02, 0.2), 5, s200=3, s429=1).decode()
    samples = parse(page + 'routeur_new{a="}",b="\\""} 1e3\nroute 1\nnot a line\n')

    counted = samples["routeur_requests_total"]
    assert [(each["status"], count) for each, count in counted] == [("200", 3), ("429", 1)]
    assert samples["routeur_new"] == [({"a": "}", "b": '\\"'}, 1000)]
    assert "python_info" not in samples and "route" not in samples


def test_a_look() -> None:
    found = look(7.0, metrics((0.02, 0.2, 700.0), 5, s200=3))

    assert (found.at, found.ready, found.tokens, found.requests) == (7.0, "ready", 5, {"200": 3})
    assert (found.duration[0.01], found.duration[0.025], found.duration[math.inf]) == (0, 1, 3)


@pytest.mark.parametrize(
    ("readiness", "said", "page"),
    [
        (b"<html>", b"{}", metrics()),
        (b'{"status": 1}', b"{}", metrics()),
        (b'{"status": "ready"}', b"{}", metrics()),
        (b'{"status": "ready"}', b'{"credentials": 1e999}', metrics()),
        (b'{"status": "ready"}', json.dumps(health(a=credential())).encode(), b"# nothing\n"),
        (b'{"status": "ready"}', json.dumps(health(a=credential())).encode(), b"\xff\xfe"),
        (
            b'{"status": "ready"}',
            json.dumps(health(a=credential())).encode(),
            b"routeur_inflight NaN\n",
        ),
        (
            b'{"status": "ready"}',
            json.dumps(health(a=credential())).encode(),
            b'routeur_inflight 1\nrouteur_request_duration_seconds_bucket{le="x"} 1\n',
        ),
    ],
)
def test_something_else_is_not_routeur(readiness: bytes, said: bytes, page: bytes) -> None:
    with pytest.raises(ValueError):
        read(0.0, readiness, said, page)


# ── between two looks


def test_an_interval() -> None:
    failing = model("gpt-4o", "a", error_code_counts={"429": 2})
    worse = failing | {"error_code_counts": {"429": 5, "503": 1}}
    before = look(10.0, metrics((0.2,), 5, s200=1), health(failing, a=credential()))
    after = look(12.0, metrics((0.2, 3, 3), 25, s200=2, s503=1), health(worse, a=credential()))

    found = between(before, after)

    assert found is not None
    assert (found.seconds, found.tokens, found.requests) == (2.0, 20, {"200": 1, "503": 1})
    assert found.errors == {"a:gpt-4o": {"429": 3, "503": 1}}
    assert quantile(found.duration, 0.5) == Bound(le=5.0)


@pytest.mark.parametrize("page", [metrics(s200=1), metrics(tokens=3, s200=2), metrics(tokens=9)])
def test_counters_that_fall_tell_nothing(page: bytes) -> None:
    assert between(look(page=metrics(tokens=5, s200=2)), look(1.0, page)) is None


def test_a_worker_that_was_late_is_no_jump() -> None:
    course = Course(look(0.0, metrics(s200=100)))

    assert course.then(look(1.0, metrics(s200=50))) is None
    found = course.then(look(2.0, metrics(s200=110)))

    assert found is not None and (found.seconds, found.requests) == (2.0, {"200": 10})


def test_a_server_that_began_anew() -> None:
    course = Course(look(0.0, metrics(s200=100)))

    assert [course.then(look(at, metrics(s200=1))) for at in (1.0, 2.0, 3.0)] == [None] * 3
    found = course.then(look(4.0, metrics(s200=3)))

    assert found is not None and (found.seconds, found.requests) == (1.0, {"200": 2})


# ── quantiles


@given(st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=50), st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_where_its_bucket_says(took: list[float], share: float) -> None:
    found = quantile(look(page=metrics(tuple(took))).duration, share)
    exact = sorted(took)[math.ceil(share * len(took)) - 1]

    assert found is not None
    if found.le is None:
        assert found.gt == ANSWER[-1] < exact
    else:
        assert exact <= found.le
        assert exact > max([bound for bound in ANSWER if bound < found.le], default=-1.0)


def test_no_quantile_of_nothing() -> None:
    assert quantile({}, 0.5) is None
    assert quantile(look().duration, 0.5) is None
    assert quantile({math.inf: 3.0}, 0.5) is None
