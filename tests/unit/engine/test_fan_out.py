"""Fan-outs: how items start, what they come to, and what that means for the run."""

from collections.abc import Sequence
from typing import Any

import pytest

from controller.api.bacalhau import JobSighting
from controller.api.status import NodePhase, RunPhase
from controller.engine import SubmissionRefused
from tests.support.builders import (
    START,
    Json,
    Play,
    completed,
    dag,
    failed,
    job,
    node,
    queued,
    running,
    stopped,
)

P = NodePhase
RESTART = "Failing due to node restart"
MINUTE: Json = {"duration": "1m", "factor": 1, "jitter": 0}

SEEN: dict[NodePhase, JobSighting] = {
    P.SUCCEEDED: completed(),
    P.FAILED: completed(3),
    P.ERROR: failed(),
    P.CANCELLED: stopped("by hand"),
}


def fan_out(count: int = 3, name: str = "w", *, rules: Json | None = None, **fields: Any) -> Json:
    """A node with so many items; ``rules`` are more fields of its ``forEach``."""
    return node(name, forEach={"range": {"count": count}} | (rules or {}), **fields)


def play(*nodes: Json, **fields: Any) -> Play:
    """A run that has started: its clock is past the end of all that is seen."""
    return Play(dag(*nodes, **fields)).go(after=10)


def ended(phases: Sequence[NodePhase], *others: Json, rules: Json | None = None, **fields: Any) -> Play:
    """A run whose items ended so, all at once."""
    fields = {"failurePolicy": "RunAll"} | fields
    run = play(fan_out(len(phases), rules=rules, when=_when(phases)), *others, **fields)
    jobs = {f"w[{index}]": SEEN[phase] for index, phase in enumerate(phases) if phase is not P.SKIPPED}
    return run.see(**jobs) if jobs else run


def _when(phases: Sequence[NodePhase]) -> str:
    skipped = [index for index, phase in enumerate(phases) if phase is P.SKIPPED]
    return f"!(index in {skipped})"


# Starting


def test_items_start_as_jobs_of_their_own() -> None:
    run = play(fan_out(2), node("b", after=["w"]))
    assert run.started == ["w[0]", "w[1]"]
    assert len({document["Name"] for document in run.jobs.values()}) == 2
    assert run.phases == {"w": P.RUNNING, "b": P.PENDING, "w[0]": P.SUBMITTED, "w[1]": P.SUBMITTED}
    assert [run.node(name).attempt for name in ("w", "w[0]", "w[1]")] == [0, 1, 1]


def test_a_job_says_which_item_it_is() -> None:
    labels = play(fan_out(2)).jobs["w[1]"]["Labels"]
    assert (labels["dag.bacalhau.org/node"], labels["dag.bacalhau.org/item"]) == ("w", "1")
    assert "dag.bacalhau.org/item" not in play(node("w")).jobs["w"]["Labels"]


def test_items_wait_for_what_the_fan_out_waits_for() -> None:
    run = play(node("a"), node("b"), fan_out(2, after=["a"], inputs=["b"]))
    assert run.started == ["a", "b"]
    assert run.see(a=completed()).started == []
    assert run.phases["w"] is P.PENDING
    assert run.items("w") == []
    assert run.see(b=completed()).started == ["w[0]", "w[1]"]


@pytest.mark.parametrize("fields", [{"after": ["a"]}, {"inputs": ["a"]}, {"reads": ["a"]}, {"depends": "a"}])
def test_a_fan_out_is_omitted_as_one_node(fields: Json) -> None:
    run = play(node("a"), fan_out(2, **fields), failurePolicy="RunAll").see(a=completed(3))
    assert run.phases == {"a": P.FAILED, "w": P.OMITTED}
    assert run.node("w").reason == "DependencyNotMet"


def test_who_waits_for_a_fan_out_waits_for_all_items() -> None:
    run = play(fan_out(3), node("b", after=["w"]))
    for name in ("w[2]", "w[0]"):
        assert run.see(**{name: completed()}).started == []
    assert run.see(**{"w[1]": completed()}).started == ["b"]


def test_a_fan_out_may_follow_another() -> None:
    run = play(fan_out(2, "v"), fan_out(2, after=["v"]))
    assert run.started == ["v[0]", "v[1]"]
    run.see_items("v", completed(), completed())
    assert run.started == ["w[0]", "w[1]"]
    assert run.see_items("w", completed(), completed()).run.phase is RunPhase.SUCCEEDED


def test_items_of_a_suspended_run_are_known_and_wait() -> None:
    run = Play(dag(fan_out(2)), suspend=True).go()
    assert (run.started, run.items("w")) == ([], [P.PENDING] * 2)
    assert run.run.phase is RunPhase.SUSPENDED
    assert run.go(suspend=False).started == ["w[0]", "w[1]"]


# What the items come to

ENDS: list[tuple[str, NodePhase]] = [
    ("SSS", P.SUCCEEDED),
    ("SKS", P.SUCCEEDED),
    ("KKK", P.SKIPPED),
    ("SFS", P.FAILED),
    ("SES", P.ERROR),
    ("SCS", P.CANCELLED),
    ("FEC", P.FAILED),
    ("CEF", P.FAILED),
    ("CES", P.ERROR),
    ("ECK", P.ERROR),
    ("CKS", P.CANCELLED),
    ("FKK", P.FAILED),
    ("FFF", P.FAILED),
]
LETTERS = {"S": P.SUCCEEDED, "F": P.FAILED, "E": P.ERROR, "C": P.CANCELLED, "K": P.SKIPPED}


def phases_of(letters: str) -> list[NodePhase]:
    return [LETTERS[letter] for letter in letters]


@pytest.mark.parametrize(("letters", "phase"), ENDS)
def test_a_fan_out_ends_by_its_worst_item(letters: str, phase: NodePhase) -> None:
    run = ended(phases_of(letters))
    assert run.items("w") == phases_of(letters)
    assert run.phases["w"] is phase


@pytest.mark.parametrize(("letters", "phase"), ENDS)
def test_the_run_ends_by_its_fan_out(letters: str, phase: NodePhase) -> None:
    expected = {
        P.SUCCEEDED: RunPhase.SUCCEEDED,
        P.SKIPPED: RunPhase.SUCCEEDED,
        P.FAILED: RunPhase.FAILED,
        P.ERROR: RunPhase.ERROR,
        P.CANCELLED: RunPhase.CANCELLED,
    }
    assert ended(phases_of(letters)).run.phase is expected[phase]


@pytest.mark.parametrize(("letters", "phase"), ENDS)
def test_nodes_that_depend_on_a_fan_out_run_if_it_went_well(letters: str, phase: NodePhase) -> None:
    run = ended(phases_of(letters), node("b", after=["w"]))
    assert (run.started == ["b"]) is (phase in (P.SUCCEEDED, P.SKIPPED))


@pytest.mark.parametrize(
    ("minimum", "letters", "phase", "reason"),
    [
        (0, "FFF", P.SUCCEEDED, "EnoughItems"),
        (1, "SFF", P.SUCCEEDED, "EnoughItems"),
        (1, "FES", P.SUCCEEDED, "EnoughItems"),
        (1, "CSK", P.SUCCEEDED, "EnoughItems"),
        (2, "SSS", P.SUCCEEDED, "EnoughItems"),
        (3, "SSS", P.SUCCEEDED, "EnoughItems"),
        (2, "SFF", P.FAILED, "ItemsFailed"),
        (2, "SEE", P.ERROR, "ItemsFailed"),
        (3, "SSF", P.FAILED, "ItemsFailed"),
        (3, "SSK", P.FAILED, "TooFewItems"),
        (1, "KKK", P.FAILED, "TooFewItems"),
    ],
)
def test_enough_items_suffice(minimum: int, letters: str, phase: NodePhase, reason: str) -> None:
    run = ended(phases_of(letters), rules={"minSucceeded": minimum})
    assert (run.phases["w"], run.node("w").reason) == (phase, reason)
    assert (run.run.phase is RunPhase.SUCCEEDED) is (phase is P.SUCCEEDED)


def test_messages_say_what_the_items_came_to() -> None:
    messages = {
        ("SSS", None): None,
        ("SFS", None): "w[1]: exit code 3",
        ("FFE", None): "w[0]: exit code 3 (2 more items did not succeed)",
        ("CEK", None): "w[1]: memory limit exceeded (1 more items did not succeed)",
        ("SFS", 2): "2 of 3 items succeeded",
        ("SKS", 3): "2 of 3 items succeeded; minSucceeded is 3",
    }
    for (letters, minimum), message in messages.items():
        run = ended(phases_of(letters), rules={"minSucceeded": minimum} if minimum else None)
        assert run.node("w").message == message


def test_a_run_s_message_names_the_fan_out_and_its_item() -> None:
    run = ended(phases_of("SFE"))
    assert run.status["message"] == 'node "w": w[1]: exit code 3 (1 more items did not succeed)'
    reasons = [reason for reason, _ in run.events]
    assert reasons == ["NodeFailed", "NodeError", "NodeFailed", "Failed"]
    assert run.events[2] == ("NodeFailed", f'Node "w": {run.node("w").message}')


def test_a_fan_out_waits_for_all_its_items_even_if_enough_succeeded() -> None:
    run = play(fan_out(3, rules={"minSucceeded": 1}), node("b", after=["w"]))
    run.see_items("w", completed(), completed(3))
    assert (run.phases["w"], run.started) == (P.RUNNING, [])
    assert run.see(**{"w[2]": completed()}).started == ["b"]


def test_an_item_that_is_refused_or_cannot_be_rendered_is_an_error() -> None:
    wrong = job(Env={"A": "${{ [1, 2][index] }}"})
    run = play(fan_out(3, job=wrong), failurePolicy="RunAll")
    assert run.started == ["w[0]", "w[1]"]
    refusal = SubmissionRefused(node="w[0]", attempt=1, reason="JobTooLarge", message="too large")
    run.go(refusal, run.seen("w[1]", completed()))
    assert run.items("w") == [P.ERROR, P.SUCCEEDED, P.ERROR]
    assert (run.node("w[0]").reason, run.node("w[2]").reason) == ("JobTooLarge", "InvalidJob")
    assert run.phases["w"] is P.ERROR
    assert run.node("w").message == "w[0]: too large (1 more items did not succeed)"


def test_a_status_counts_items() -> None:
    run = play(fan_out(6, when="index != 5", rules={"parallelism": 4}), failurePolicy="RunAll")
    assert run.status["nodes"]["w"]["items"] == {
        "total": 6,
        "succeeded": 0,
        "failed": 0,
        "running": 4,
        "skipped": 1,
    }
    run.see_items("w", completed(), completed(3), failed(), stopped("by hand"))
    summary = run.status["nodes"]["w"]["items"]
    assert summary == {"total": 6, "succeeded": 1, "failed": 3, "running": 1, "skipped": 1}
    run.see(**{"w[4]": completed()})
    assert run.status["nodes"]["w"]["items"]["running"] == 0
    assert run.status["progress"] == "3/6"
    assert run.status["nodes"]["w[1]"]["exitCode"] == 3


def test_progress_counts_items_and_not_the_fan_out() -> None:
    run = play(node("a"), fan_out(2, after=["a"]))
    assert run.status["progress"] == "0/2"
    run.see(a=completed())
    assert run.status["progress"] == "1/3"
    run.see_items("w", completed(), completed())
    assert (run.status["progress"], run.status["message"]) == ("3/3", "All 3 nodes succeeded.")


def test_a_fan_out_lasts_from_its_first_start_to_its_last_end() -> None:
    run = play(fan_out(2, rules={"parallelism": 1}))
    started = run.status["nodes"]["w"]["startedAt"]
    run.see(**{"w[0]": completed(modified_at=START + 50)}).see(**{"w[1]": completed(modified_at=START + 40)})
    assert run.status["nodes"]["w"]["startedAt"] == started
    assert run.node("w").finished_at == START + 50


# Conditions


def test_a_condition_on_items_is_decided_for_each() -> None:
    document = node("w", forEach={"items": ["a", "b", "a"]}, when='item == "a" && index > 0')
    run = play(document)
    assert run.started == ["w[2]"]
    assert run.items("w") == [P.SKIPPED, P.SKIPPED, P.SUBMITTED]
    assert run.node("w[1]").message == 'when is false: item == "a" && index > 0 (item = "b", index = 1)'
    run.see(**{"w[2]": completed()})
    assert run.phases["w"] is P.SUCCEEDED


def test_a_condition_that_skips_all_items_skips_the_fan_out() -> None:
    run = play(fan_out(3, when="index > 5"), node("b", after=["w"]))
    assert run.phases["w"] is P.SKIPPED
    assert run.started == ["b"]


@pytest.mark.parametrize("when", ["false", "params.on", '"item" == "index"'])
def test_a_condition_on_the_run_is_decided_once(when: str) -> None:
    parameters = [{"name": "on", "type": "boolean", "default": False}]
    run = play(fan_out(3, when=when), node("b", after=["w"]), parameters=parameters)
    assert (run.phases["w"], run.node("w").reason) == (P.SKIPPED, "ConditionFalse")
    assert run.items("w") == []
    assert run.started == ["b"]


def test_a_condition_is_decided_before_the_list_is_made() -> None:
    document = node("w", forEach={"items": "${{ nodes.a.json }}"}, when="nodes.a.exitCode != 0")
    run = play(node("a"), document).see(a=completed(stdout="no list"))
    assert run.phases["w"] is P.SKIPPED


def test_a_condition_without_an_answer_is_an_error_of_its_item() -> None:
    document = node("w", forEach={"items": [{"on": True}, {}, {"on": False}, {"on": 1}]}, when="item.on")
    run = play(document, failurePolicy="RunAll")
    assert run.items("w") == [P.SUBMITTED, P.ERROR, P.SKIPPED, P.ERROR]
    assert (run.node("w[1]").message or "").startswith('spec.nodes[w].when: "item.on" has no value: ')
    assert run.node("w[3]").message == 'spec.nodes[w].when: "item.on" is 1, which is neither true nor false.'


# How many at once


def test_a_fan_out_has_a_parallelism_of_its_own() -> None:
    run = play(fan_out(5, rules={"parallelism": 2}), node("z"))
    assert run.started == ["z", "w[0]", "w[1]"]
    assert run.see(**{"w[1]": completed()}).started == ["w[2]"]
    assert run.see(**{"w[0]": completed(), "w[2]": completed()}).started == ["w[3]", "w[4]"]
    assert run.see(**{"w[3]": completed(), "w[4]": completed()}).run.phase is RunPhase.RUNNING
    assert run.see(z=completed()).run.phase is RunPhase.SUCCEEDED


def test_fan_outs_do_not_share_their_parallelism() -> None:
    run = play(fan_out(3, "v", rules={"parallelism": 1}), fan_out(3, rules={"parallelism": 2}))
    assert run.started == ["v[0]", "w[0]", "w[1]"]
    assert run.see(**{"v[0]": completed()}).started == ["v[1]"]


def test_the_smaller_of_both_parallelisms_counts() -> None:
    run = Play(dag(fan_out(5, rules={"parallelism": 3})), parallelism=2).go()
    assert run.started == ["w[0]", "w[1]"]
    assert run.go(parallelism=4).started == ["w[2]"]
    assert run.see(**{"w[0]": completed()}).started == ["w[3]"]
    assert run.go(parallelism=1).see(**{"w[1]": completed()}).started == []


def test_a_fan_out_itself_takes_no_place() -> None:
    run = Play(dag(fan_out(1), node("z")), parallelism=2).go()
    assert run.started == ["z", "w[0]"]


def test_an_item_keeps_its_place_while_it_waits_for_its_retry() -> None:
    run = play(fan_out(3, rules={"parallelism": 1}, retry={"limit": 1, "backoff": MINUTE}))
    assert run.see(**{"w[0]": completed(3, modified_at=run.now)}).started == []
    assert run.go(after=58).started == []
    assert run.go(after=2).started == ["w[0]"]
    assert run.see(**{"w[0]": completed()}).started == ["w[1]"]


def test_an_item_that_the_platform_lost_keeps_its_place() -> None:
    run = play(fan_out(3, rules={"parallelism": 1}))
    assert run.see(**{"w[0]": failed(RESTART)}).started == ["w[0]"]
    assert run.node("w[0]").attempt == 2
    assert run.see(**{"w[0]": completed()}).started == ["w[1]"]


def test_skipped_and_wrong_items_take_no_place() -> None:
    wrong = job(Env={"A": "${{ [0, 1, 2, 3][item] }}"})
    document = node("w", forEach={"items": [9, 8, 1, 2], "parallelism": 1}, job=wrong, when="item != 8")
    run = play(document, failurePolicy="RunAll")
    assert run.started == ["w[2]"]
    assert run.items("w") == [P.ERROR, P.SKIPPED, P.SUBMITTED, P.PENDING]
    assert run.see(**{"w[2]": completed()}).started == ["w[3]"]


# Each item for itself


def test_items_are_tried_again_each_for_itself() -> None:
    run = play(fan_out(3, retry={"limit": 1}), node("b", after=["w"]))
    run.see_items("w", completed(3), completed(), completed(3))
    assert run.started == ["w[0]", "w[2]"]
    run.see(**{"w[0]": completed()})
    assert (run.phases["w"], run.started) == (P.RUNNING, [])
    run.see(**{"w[2]": completed(3)})
    assert (run.items("w"), run.phases["w"]) == ([P.SUCCEEDED, P.SUCCEEDED, P.FAILED], P.FAILED)
    assert [run.node(f"w[{index}]").attempt for index in range(3)] == [2, 1, 2]


def test_each_item_has_its_own_replacements() -> None:
    run = play(fan_out(2))
    for _ in range(5):
        assert run.see_items("w", failed(RESTART), failed(RESTART)).started == ["w[0]", "w[1]"]
    run.see_items("w", failed(RESTART), completed())
    assert run.items("w") == [P.ERROR, P.SUCCEEDED]


def test_each_item_has_its_own_timeout() -> None:
    run = play(fan_out(2, timeout="1m", rules={"parallelism": 1}))
    run.see(**{"w[0]": running(modified_at=run.now)}).go(after=61)
    assert run.stops == {"w[0]": "TimedOut: it ran longer than its timeout of 1m"} or list(run.stops) == [
        "w[0]"
    ]
    run.see(**{"w[0]": stopped(next(iter(run.stops.values())))})
    assert run.node("w[0]").reason == "TimedOut"


def test_an_item_s_total_time_starts_with_its_first_attempt() -> None:
    run = play(fan_out(2, totalTimeout="5m", rules={"parallelism": 1, "minSucceeded": 1}))
    run.see(**{"w[0]": running(created_at=run.now, modified_at=run.now)}).go(after=298)
    assert run.stops == {}
    assert list(run.go(after=2).stops) == ["w[0]"]
    run.see(**{"w[0]": stopped(run.stops["w[0]"])})
    assert run.started == ["w[1]"]
    run.see(**{"w[1]": running(created_at=run.now, modified_at=run.now)}).go(after=290)
    assert run.stops == {}


def test_a_hopeless_item_is_given_up() -> None:
    run = play(fan_out(2)).see(**{"w[0]": queued("boom", "boom")})
    assert run.stops == {"w[0]": "GivenUp: boom"}


# Many


def test_a_thousand_items() -> None:
    run = Play(dag(fan_out(1000, rules={"parallelism": 300}), node("b", after=["w"])), now=START + 10).go()
    done: set[str] = set()
    while live := [name for name in run.phases if name.startswith("w[") and run.phases[name].is_live]:
        assert len(live) <= 300
        run.see(**{name: completed() for name in live})
        assert done.isdisjoint(live)
        done |= set(live)
    assert len(done) == 1000
    assert run.started == ["b"]
    assert run.status["nodes"]["w"]["items"]["succeeded"] == 1000


# What the status says of items


def test_the_status_says_what_an_item_is() -> None:
    items = ["north", 3, {"seed": 1, "model": "a"}, "x" * 100]
    play = Play(dag(node("w", forEach={"items": items}))).go()
    shown = [play.status["nodes"][f"w[{number}]"]["item"] for number in range(4)]
    assert shown == ["north", "3", '{"model": "a", "seed": 1}', "x" * 63 + "…"]


def test_what_an_item_is_survives_restarts_and_reruns() -> None:
    play = Play(dag(node("w", forEach={"items": ["north", "south"]}))).go()
    play.restart()
    assert (
        play.go().see(**{"w[0]": completed(), "w[1]": completed(3)}).status["nodes"]["w[1]"]["item"]
        == "south"
    )
