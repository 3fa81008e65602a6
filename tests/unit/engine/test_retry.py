"""Whether, when and how often a node is tried again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.bacalhau import JobSighting
from controller.api.dag import Shutdown
from controller.api.node import Backoff, Retry
from controller.api.status import NodePhase, RunPhase
from controller.engine import JobLost, Observation, SubmissionRefused, WakeAt
from controller.engine.retry import MAX_WAIT, is_within_budget, next_start, wait_seconds
from controller.engine.run import MAX_REPLACEMENTS
from controller.engine.state import MAX_ATTEMPTS_SHOWN
from tests.support.builders import START, Json, Play, completed, dag, failed, node, running, stopped
from tests.unit.engine.test_graph import problems

P = NodePhase
RESTART = "Failing due to node restart"
STEADY: Json = {"duration": "1m", "factor": 1, "jitter": 0}


def play(*nodes: Json, **fields: Any) -> Play:
    """A run that has started: its clock is past the end of all that is seen."""
    return Play(dag(*nodes, **fields)).go(after=10)


def retried(limit: int = 1, **fields: Any) -> Json:
    return node("a", retry={"limit": limit} | fields)


# Policies and budgets


@pytest.mark.parametrize(
    ("policy", "phase", "is_retried"),
    [
        ("OnFailure", P.FAILED, True),
        ("OnFailure", P.ERROR, False),
        ("OnError", P.FAILED, False),
        ("OnError", P.ERROR, True),
        ("Always", P.FAILED, True),
        ("Always", P.ERROR, True),
        ("Always", P.CANCELLED, False),
        ("Always", P.SUCCEEDED, False),
    ],
)
def test_the_policy_says_what_is_tried_again(policy: str, phase: NodePhase, is_retried: bool) -> None:
    seen = {
        P.FAILED: completed(3),
        P.ERROR: failed(),
        P.CANCELLED: stopped("by hand"),
        P.SUCCEEDED: completed(),
    }
    run = play(retried(policy=policy)).see(a=seen[phase])
    assert run.started == (["a"] if is_retried else [])
    assert run.phases["a"] is (P.SUBMITTED if is_retried else phase)


def test_failures_are_what_is_tried_again_unless_said_otherwise() -> None:
    assert play(retried()).see(a=completed(3)).started == ["a"]
    assert play(retried()).see(a=failed()).started == []


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_limit_counts_retries_and_not_attempts(limit: int) -> None:
    run = play(retried(limit))
    for attempt in range(1, limit + 1):
        assert run.see(a=completed(3)).started == ["a"]
        assert run.node("a").attempt == attempt + 1
    run.see(a=completed(3))
    assert (run.phases["a"], run.node("a").attempt) == (P.FAILED, limit + 1)
    assert run.run.phase is RunPhase.FAILED


def test_failures_and_errors_have_budgets_of_their_own() -> None:
    run = play(retried(1, errorLimit=2, policy="Always"))
    for seen in (failed(), completed(3), failed()):
        assert run.see(a=seen).started == ["a"]
    state = run.node("a")
    assert (state.failures, state.errors, state.attempt) == (1, 2, 4)
    assert run.see(a=completed(3)).run.phase is RunPhase.FAILED


@pytest.mark.parametrize("budget", [{}, {"errorLimit": 0}])
def test_errors_have_the_limit_of_failures_unless_said_otherwise(budget: Json) -> None:
    run = play(retried(1, policy="Always", **budget)).see(a=failed())
    assert run.started == ([] if budget else ["a"])


@given(
    limit=st.integers(0, 5),
    error_limit=st.none() | st.integers(0, 5),
    ends=st.lists(st.sampled_from([P.FAILED, P.ERROR])),
)
def test_no_row_of_ends_exceeds_a_budget(limit: int, error_limit: int | None, ends: list[NodePhase]) -> None:
    retry = Retry.model_validate({"limit": limit, "errorLimit": error_limit, "policy": "Always"})
    failures = errors = 0
    for phase in ends:
        failures, errors = failures + (phase is P.FAILED), errors + (phase is P.ERROR)
        if not is_within_budget(retry, phase, failures=failures, errors=errors):
            break
    else:
        assert failures <= limit
        assert errors <= (limit if error_limit is None else error_limit)


def test_what_the_platform_lost_is_on_nobody_s_budget() -> None:
    run = play(retried(1))
    for _ in range(MAX_REPLACEMENTS):
        assert run.see(a=failed(RESTART)).started == ["a"]
    assert run.see(a=completed(3)).started == ["a"]
    assert run.see(a=completed()).phases["a"] is P.SUCCEEDED


def test_too_many_lost_attempts_are_an_error_like_any_other() -> None:
    run = play(retried(1, policy="OnError"))
    for _ in range(MAX_REPLACEMENTS + 1):
        assert run.see(a=failed(RESTART)).started == ["a"]
    assert (run.node("a").errors, run.node("a").attempt) == (1, MAX_REPLACEMENTS + 2)
    assert run.see(a=failed(RESTART)).phases["a"] is P.ERROR


def test_a_lost_job_is_tried_again_as_an_error() -> None:
    run = play(retried(policy="OnError")).accept("a")
    assert run.go(JobLost(node="a", attempt=1)).started == ["a"]


@pytest.mark.parametrize("policy", ["OnError", "Always"])
def test_what_can_never_be_accepted_is_not_tried_again(policy: str) -> None:
    run = play(retried(policy=policy))
    run.go(SubmissionRefused(node="a", attempt=1, reason="TooLarge", message="too large"))
    assert (run.phases["a"], run.started) == (P.ERROR, [])


def test_a_job_that_cannot_be_rendered_is_not_tried_again() -> None:
    run = play(node("a", retry={"limit": 3, "policy": "Always"}, job={"Type": "service"}))
    assert (run.phases["a"], run.node("a").attempt) == (P.ERROR, 1)


def test_a_condition_of_when_without_an_answer_is_not_tried_again() -> None:
    run = play(node("a", retry={"limit": 3, "policy": "Always"}, when="1"))
    assert (run.phases["a"], run.node("a").attempt) == (P.ERROR, 0)


# Condition


@pytest.mark.parametrize(
    ("condition", "seen", "is_retried"),
    [
        ("last.exitCode == 75", completed(75), True),
        ("last.exitCode == 75", completed(1), False),
        ("last.exitCode in [75, 137]", completed(137), True),
        ('last.phase == "Error"', failed(), True),
        ('last.phase == "Error"', completed(1), False),
        ('last.reason == "ExitCode"', completed(1), True),
        ('last.message.contains("memory")', failed("memory limit exceeded"), True),
        ('last.message.contains("memory")', failed("no such image"), False),
        ('last.stdout.startsWith("again")', completed(1, stdout="again, please"), True),
        ('last.stdout == ""', failed(), True),
        ("last.attempt < 2", completed(1), True),
        ("last.attempt > 1", completed(1), False),
        ("last.seconds < 10.0", completed(1), True),
        ("last.seconds < 10.0", completed(1, modified_at=START + 60), False),
        ("params.again && last.exitCode != 0", completed(1), True),
    ],
)
def test_a_condition_looks_at_the_attempt_that_has_ended(
    condition: str, seen: JobSighting, is_retried: bool
) -> None:
    parameters = [{"name": "again", "type": "boolean", "default": True}]
    run = play(retried(policy="Always", condition=condition), parameters=parameters).go(after=99)
    assert run.see(a=seen).started == (["a"] if is_retried else [])


def test_a_condition_sees_each_attempt_in_turn() -> None:
    run = play(retried(9, condition="last.attempt < 3"))
    assert run.see(a=completed(1)).started == ["a"]
    assert run.see(a=completed(1)).started == ["a"]
    assert run.see(a=completed(1)).phases["a"] is P.FAILED


@pytest.mark.parametrize(
    ("condition", "problem"),
    [("int(last.stdout) == 1", "has no value"), ("last.exitCode", "is 3, which is neither true nor false")],
)
def test_a_condition_without_an_answer_ends_the_node_as_it_ended(condition: str, problem: str) -> None:
    run = play(retried(condition=condition)).see(a=completed(3, stderr="boom"))
    state = run.node("a")
    assert (state.phase, state.exit_code) == (P.FAILED, 3)
    assert state.message
    assert state.message.startswith("exit code 3: boom; spec.nodes[a].retry.condition: ")
    assert problem in state.message


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("last.exitCode ==", "is wrong"),
        ("lst.exitCode == 1", "the variables are"),
        ("params.again", '"again" is not a parameter of the DAG'),
        ("nodes.b.exitCode == 1", "reads more than last, params and dag"),
    ],
)
def test_mistakes_in_a_condition_are_told_before_the_run(condition: str, problem: str) -> None:
    found = problems(dag(retried(condition=condition), node("b")))
    assert len(found) == 1
    assert found[0].startswith("spec.nodes[a].retry.condition: ")
    assert problem in found[0]


def test_last_is_known_to_conditions_of_retries_alone() -> None:
    assert "undeclared reference to 'last" in problems(dag(node("a", when="last.exitCode == 1")))[0]


# The wait


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        ({"duration": "2s", "factor": 2}, [2, 4, 8, 16]),
        ({"duration": "1m", "factor": 1}, [60, 60, 60]),
        ({"duration": "2s", "factor": 1.5}, [2, 3, 4.5, 6.75]),
        ({"duration": "10s", "factor": 3, "cap": "1m"}, [10, 30, 60, 60]),
        ({"duration": "2m", "factor": 2, "cap": "90s"}, [90, 90]),
        ({"duration": "0s", "factor": 2}, [0, 0]),
        ({}, [2, 4, 8]),
    ],
)
def test_each_wait_is_a_factor_longer_up_to_the_cap(backoff: Json, waits: list[float]) -> None:
    given = Backoff.model_validate({"jitter": 0} | backoff)
    assert [wait_seconds(given, ended=number, salt="") for number in range(1, len(waits) + 1)] == waits


@given(salt=st.text(), jitter=st.floats(0, 1), ended=st.integers(1, 2000), factor=st.floats(1, 100))
def test_jitter_has_bounds_and_no_chance(salt: str, jitter: float, ended: int, factor: float) -> None:
    backoff = Backoff.model_validate({"duration": "10s", "factor": factor, "jitter": jitter})
    steady = Backoff.model_validate({"duration": "10s", "factor": factor, "jitter": 0})
    wait = wait_seconds(backoff, ended=ended, salt=salt)
    plain = wait_seconds(steady, ended=ended, salt=salt)
    assert wait == wait_seconds(backoff, ended=ended, salt=salt)
    assert plain * (1 - jitter) * 0.999 <= wait <= min(plain * (1 + jitter) * 1.001, MAX_WAIT)


def test_jitter_differs_from_node_to_node() -> None:
    backoff = Backoff.model_validate({"duration": "10s", "jitter": 0.5})
    waits = {wait_seconds(backoff, ended=1, salt=f"node-{number}") for number in range(20)}
    assert len(waits) == 20
    assert min(waits) < 10 < max(waits)


@pytest.mark.parametrize(("max_duration", "start"), [("85s", 180.0), ("80s", 180.0), ("79s", None)])
def test_no_attempt_starts_after_max_duration(max_duration: str, start: float | None) -> None:
    backoff = Backoff.model_validate(STEADY | {"maxDuration": max_duration})
    assert next_start(backoff, ended=1, finished_at=120.0, first_started_at=100.0, salt="") == start


def test_without_backoff_there_is_no_wait() -> None:
    assert next_start(None, ended=5, finished_at=120.0, first_started_at=100.0, salt="") == 120.0
    assert play(retried()).see(a=completed(1)).started == ["a"]


def test_a_node_waits_from_the_end_of_its_attempt() -> None:
    run = Play(dag(retried(2, backoff={"duration": "10s", "jitter": 0}))).go(after=5)
    run.see(a=completed(3, stderr="boom", modified_at=START + 4))
    assert (run.started, run.effects[-1]) == ([], WakeAt(time=START + 14))
    assert run.events == [
        (
            "AttemptFailed",
            'Node "a": attempt 1 Failed: exit code 3: boom; the next starts at 2027-01-15T08:00:14.000Z.',
        )
    ]
    assert run.go(after=START + 13.9 - run.now).started == []
    assert run.effects == (WakeAt(time=START + 14),)
    assert run.go(after=START + 14 - run.now).started == ["a"]
    run.see(a=completed(3, modified_at=START + 20))
    assert run.effects[-1] == WakeAt(time=START + 40)


def test_what_is_not_tried_again_does_not_wait_first() -> None:
    run = play(retried(3, policy="OnError", backoff=STEADY)).see(a=completed(1))
    assert run.run.phase is RunPhase.FAILED


def test_a_node_that_would_come_too_late_has_failed_now() -> None:
    run = play(retried(9, backoff=STEADY | {"maxDuration": "62s"})).see(a=completed(1))
    assert run.run.phase is RunPhase.FAILED


@pytest.mark.parametrize(
    ("longest", "total", "goes_on"),
    [
        pytest.param("62s", "1h", False, id="longer than maxDuration"),
        pytest.param("1h", "62s", False, id="longer than totalTimeout"),
        pytest.param("1h", "63s", False, id="no time left"),
        pytest.param("1h", "64s", True, id="some time left"),
    ],
)
def test_either_bound_may_be_the_one_that_is_exceeded(longest: str, total: str, goes_on: bool) -> None:
    backoff = STEADY | {"maxDuration": longest}
    run = play(retried(9, backoff=backoff) | {"totalTimeout": total}).see(a=completed(1))
    assert run.phases["a"] is (P.PENDING if goes_on else P.FAILED)


def test_failures_and_errors_together_make_the_wait_longer() -> None:
    run = play(retried(9, policy="Always", backoff={"duration": "10s", "factor": 3, "jitter": 0}))
    run.see(a=completed(1, modified_at=START + 1)).go(after=60)
    run.see(a=failed(modified_at=START + 100))
    assert run.effects[-1] == WakeAt(time=START + 130)


def test_an_attempt_that_was_never_seen_took_no_time() -> None:
    run = play(retried(9, policy="OnError", condition="last.seconds == 0.0")).accept("a")
    assert run.go(JobLost(node="a", attempt=1)).started == ["a"]


def test_no_wait_is_longer_than_a_year() -> None:
    backoff = Backoff.model_validate({"duration": "1h", "factor": 100, "jitter": 1})
    waits = {wait_seconds(backoff, ended=ended, salt="") for ended in (9, 99, 9999)}
    assert waits == {31_536_000.0}


def test_a_node_that_waits_takes_no_place() -> None:
    run = Play(dag(retried(backoff=STEADY), node("b"), failurePolicy="RunAll"), parallelism=1).go(after=5)
    assert run.started == ["a"]
    assert run.see(a=completed(1)).started == ["b"]
    assert run.go(after=60).started == []
    assert run.see(b=completed()).started == ["a"]


def test_waking_early_changes_nothing() -> None:
    run = play(retried(backoff=STEADY)).see(a=completed(1, modified_at=START + 11))
    for _ in range(5):
        assert run.go(after=10).started == []
    assert run.go(after=10).started == ["a"]


def test_a_wait_survives_a_restart() -> None:
    run = play(retried(backoff=STEADY | {"jitter": 0.5})).see(a=completed(1, modified_at=START + 11))
    wake = run.wakes[0]
    run.restart()
    assert run.go(after=0.5).wakes == [pytest.approx(wake, abs=0.001)]
    assert run.go(after=wake - run.now).started == ["a"]
    assert run.node("a").attempt == 2


def test_a_wait_that_is_over_when_the_controller_comes_back_is_over() -> None:
    run = play(retried(backoff=STEADY)).see(a=completed(1))
    run.restart()
    run.go(after=3600)
    run.go(after=0)
    assert (run.phases["a"], run.node("a").attempt) == (P.SUBMITTED, 2)


def test_a_wait_is_worked_out_again_from_bacalhau_s_jobs() -> None:
    run = play(retried(2, backoff=STEADY | {"jitter": 0.5}))
    run.see(a=completed(1, modified_at=START + 11))
    lost = Play(run.graph.spec, now=START + 11)
    lost.go(lost.seen("a", completed(1, modified_at=START + 11), attempt=1))
    assert lost.wakes == run.wakes
    assert lost.node("a").failures == 1


def test_counters_are_worked_out_again_from_bacalhau_s_jobs() -> None:
    run = Play(dag(retried(2, errorLimit=1, policy="Always"))).go(after=99)
    attempts = [completed(1), failed(), failed(RESTART), completed(1), running()]
    lost = Play(run.graph.spec, now=run.now)
    lost.go(*(lost.seen("a", seen, attempt=number) for number, seen in enumerate(attempts, 1)))
    state = lost.node("a")
    assert (state.attempt, state.failures, state.errors, state.phase) == (5, 2, 1, P.RUNNING)
    assert lost.see(a=completed(1)).phases["a"] is P.FAILED


def test_a_wait_ignores_dependencies_that_are_not_known_yet() -> None:
    """If Bacalhau has forgotten a dependency's job, the node that ran after it waits for it once more."""
    run = Play(dag(node("a"), node("b", after=["a"], retry={"limit": 1})), now=START + 60)
    run.go(run.seen("b", completed(1), attempt=1))
    assert run.started == ["a"]
    assert run.see(a=completed()).started == ["b"]
    assert run.node("b").attempt == 2


def test_a_wait_is_not_cut_short_by_an_earlier_turn() -> None:
    """A node's turn may come twice at once: for its place in the graph, and because its wait is over."""
    spec = dag(node("x"), retried(5, backoff=STEADY), failurePolicy="RunAll")
    run = Play(spec, now=START + 120, parallelism=2)
    run.go(run.seen("x", running(), attempt=1), run.seen("a", completed(1), attempt=1))
    assert run.started == ["a"]
    run.see(a=completed(1, modified_at=run.now))
    assert (run.started, run.phases["a"]) == ([], P.PENDING)


def test_a_newer_attempt_that_is_found_takes_the_place_of_a_turn() -> None:
    spec = dag(node("x"), retried(5, backoff=STEADY), failurePolicy="RunAll")
    run = Play(spec, parallelism=1).go(after=10)
    run.go(run.seen("a", running(), attempt=1), run.seen("x", running(), attempt=1))
    run.see(a=completed(1, modified_at=run.now))
    assert run.started == []
    assert run.see(x=completed()).started == []
    assert run.go(after=60).started == ["a"]


# What is visible


def test_attempts_are_visible() -> None:
    run = play(retried(2, backoff=STEADY)).see(a=completed(3, stderr="boom"))
    assert run.status["nodes"]["a"] == {
        "phase": "Pending",
        "attempt": 1,
        "reason": "Retrying",
        "message": "attempt 1 Failed: exit code 3: boom",
        "failures": 1,
        "firstStartedAt": "2027-01-15T08:00:00.000Z",
        "retryAt": "2027-01-15T08:01:03.000Z",
        "attempts": [
            {
                "attempt": 1,
                "phase": "Failed",
                "jobID": "j-a-1",
                "exitCode": 3,
                "reason": "ExitCode",
                "finishedAt": "2027-01-15T08:00:03.000Z",
            }
        ],
    }
    run.go(after=60).see(a=completed())
    written = run.status["nodes"]["a"]
    assert (written["phase"], written["attempt"], written["failures"]) == ("Succeeded", 2, 1)
    assert [item["attempt"] for item in written["attempts"]] == [1]
    assert "retryAt" not in written
    assert "message" not in written


def test_only_the_latest_attempts_are_kept() -> None:
    run = play(retried(30))
    for _ in range(25):
        run.see(a=completed(1))
    shown = [item["attempt"] for item in run.status["nodes"]["a"]["attempts"]]
    assert shown == list(range(26 - MAX_ATTEMPTS_SHOWN, 26))
    run.accept("a").restart()
    run.see(a=completed(1))
    assert [item["attempt"] for item in run.status["nodes"]["a"]["attempts"]] == [*shown[1:], 26]


# With other rules


def test_fail_fast_waits_for_the_last_attempt() -> None:
    run = play(retried(1, backoff=STEADY), node("b"), node("c", after=["b"])).see(b=running())
    run.see(a=completed(1))
    assert run.see(b=completed()).started == ["c"]
    run.go(after=60).see(a=completed(1))
    assert run.phases["a"] is P.FAILED
    assert run.run.phase is RunPhase.RUNNING, "a node that runs may finish"


@pytest.mark.parametrize(("policy", "goes_on"), [("FailFast", True), ("FailFastCancel", False)])
def test_retries_of_a_node_after_another_failed(policy: str, goes_on: bool) -> None:
    """Under FailFast nothing new starts, and another attempt is nothing new."""
    run = play(retried(1, backoff=STEADY), node("bad"), failurePolicy=policy)
    run.see(a=completed(1), bad=completed(1))
    assert run.phases["a"] is (P.PENDING if goes_on else P.OMITTED)
    assert run.go(after=60).started == (["a"] if goes_on else [])


def test_a_node_that_may_fail_is_tried_again_first() -> None:
    run = play(node("a", retry={"limit": 1}, continueOnFailure=True), node("b", after=["a"]))
    assert run.see(a=completed(1)).started == ["a"]
    assert run.see(a=completed(1)).started == ["b"]
    assert run.see(b=completed()).run.phase is RunPhase.SUCCEEDED


def test_a_suspended_run_tries_again_when_it_is_resumed() -> None:
    run = play(retried(1, backoff=STEADY)).go(suspend=True).see(a=completed(1))
    assert run.run.phase is RunPhase.SUSPENDED
    assert run.go(after=60).started == []
    run.restart()
    assert run.go(after=60).started == []
    assert run.go(suspend=False).started == ["a"]


@pytest.mark.parametrize("shutdown", [Shutdown.CANCEL, Shutdown.CANCEL_RUN_FINALLY])
def test_a_cancelled_run_waits_for_nothing(shutdown: Shutdown) -> None:
    run = play(retried(1, backoff=STEADY)).see(a=completed(1)).go(shutdown=shutdown)
    assert run.phases["a"] is P.OMITTED
    assert run.run.phase is RunPhase.CANCELLED
    assert "retryAt" not in run.status["nodes"]["a"]


@pytest.mark.parametrize("shutdown", [Shutdown.CANCEL, Shutdown.CANCEL_RUN_FINALLY])
def test_a_cancelled_attempt_is_not_tried_again(shutdown: Shutdown) -> None:
    run = play(retried(1, policy="Always")).see(a=running()).go(shutdown=shutdown)
    run.see(a=stopped(run.stops["a"]))
    assert run.phases["a"] is P.CANCELLED


def test_a_stopping_run_lets_retries_go_on() -> None:
    run = play(retried(1, backoff=STEADY), node("b", after=["a"])).see(a=running())
    run.go(shutdown=Shutdown.STOP_RUN_FINALLY).see(a=completed(1))
    assert run.phases == {"a": P.PENDING, "b": P.OMITTED}
    assert run.go(after=60).started == ["a"]
    run.see(a=completed())
    assert run.run.phase is RunPhase.CANCELLED


def test_late_news_of_an_earlier_attempt_is_no_news() -> None:
    run = play(retried(1, backoff=STEADY)).see(a=running())
    late: list[Observation] = [run.seen("a", completed(1)), JobLost(node="a", attempt=1)]
    run.go(*late)
    before = run.status["nodes"]["a"]
    assert run.go(*late, *late).status["nodes"]["a"] == before
    run.go(after=60)
    assert run.go(*late).phases["a"] is P.SUBMITTED
    assert run.node("a").failures == 1
