"""Fan-outs taken up again: from their status, or from the jobs of their items alone."""

from collections.abc import Callable, Iterable
from itertools import permutations
from typing import Any

import pytest

from controller.api.bacalhau import JobSighting
from controller.api.dag import Shutdown
from controller.api.status import DAGStatus, NodePhase, RunPhase
from controller.api.types import MAX_NODES
from controller.engine import FilesListed, FilesUnknown, JobSeen
from tests.support.builders import Json, Play, completed, dag, failed, node, running, stopped
from tests.unit.engine.test_fan_in import lists, per_file, told
from tests.unit.engine.test_fan_out import MINUTE, RESTART, fan_out, play

P = NodePhase


def listed(run: Play, *files: str) -> Play:
    return run.go(FilesListed(node="split", files=files))


def taken_up(spec: Any, **nodes: Json) -> Play:
    """A run in a new process, from a status that says this of the nodes."""
    return Play(spec, status=DAGStatus.model_validate({"phase": "Running", "nodes": nodes}))


# From the status


GRAPH = [
    node("a"),
    node(
        "w",
        forEach={"items": "${{ nodes.a.json }}", "parallelism": 2, "minSucceeded": 2},
        job=told("item"),
        when="item != 5",
        retry={"limit": 1},
    ),
    node("b", inputs=["w"], job=told("nodes.w.items.map(i, i.stdout)")),
]

A = completed(stdout="[3, 5, 4, 9]")
STEPS: list[Callable[[Play], Play]] = [
    lambda run: run.see(a=A),
    lambda run: run.see(**{"w[0]": running(), "w[2]": completed(stdout="four")}),
    lambda run: run.see(**{"w[0]": completed(3)}),
    lambda run: run.see(**{"w[3]": failed(RESTART)}),
    lambda run: run.see(**{"w[0]": completed(4)}),
    lambda run: run.see(**{"w[3]": completed(stdout="nine")}),
    lambda run: run.see(b=completed()),
]


def what_a_restart_finds(run: Play) -> list[JobSeen]:
    """What ended jobs printed, which no status holds."""
    printed = {
        "a": A,
        "w[2]": completed(stdout="four"),
        "w[3]": completed(stdout="nine"),
        "w[0]": completed(4),
    }
    return [run.seen(name, printed[name]) for name, _ in run.run.reader.missing_stdout()]


@pytest.mark.parametrize("when", range(len(STEPS)))
def test_a_restart_at_any_step_changes_nothing(when: int) -> None:
    calm, troubled = (Play(dag(*GRAPH)).go(after=10) for _ in range(2))
    for number, step in enumerate(STEPS):
        step(calm)
        if number == when:
            troubled.restart()
            troubled.go(*what_a_restart_finds(troubled), after=0)
            assert [name for name in troubled.started if troubled.node(name).job_id] == []
        step(troubled)
        assert troubled.phases == calm.phases
        assert set(troubled.started) >= set(calm.started)
    assert calm.run.phase is troubled.run.phase is RunPhase.SUCCEEDED
    assert {name: troubled.node(name).attempt for name in troubled.phases} == {
        name: calm.node(name).attempt for name in calm.phases
    }


def test_items_are_submitted_again_under_the_same_name() -> None:
    run = play(fan_out(2))
    names = [document["Name"] for document in run.jobs.values()]
    run.restart()
    assert [document["Name"] for document in run.go().jobs.values()] == names
    assert [run.node(name).attempt for name in ("w[0]", "w[1]")] == [1, 1]


def test_items_that_were_accepted_are_not_submitted_again() -> None:
    run = play(fan_out(3, rules={"parallelism": 2})).accept("w[0]", "w[1]")
    run.restart()
    assert run.go().started == []
    assert run.items("w") == [P.SUBMITTED, P.SUBMITTED, P.PENDING]
    assert run.see(**{"w[1]": completed()}).started == ["w[2]"]


@pytest.mark.parametrize(
    ("letters", "phase"),
    [("SS", P.SUCCEEDED), ("SF", P.FAILED), ("SE", P.ERROR), ("SC", P.CANCELLED), ("KK", P.SKIPPED)],
)
def test_a_fan_out_that_has_ended_stays_as_it_is(letters: str, phase: NodePhase) -> None:
    ends = {"S": "Succeeded", "F": "Failed", "E": "Error", "C": "Cancelled", "K": "Skipped"}
    spec = dag(fan_out(2), node("z"), failurePolicy="RunAll")
    items = {
        f"w[{index}]": {"phase": ends[letter], "attempt": 1, "jobID": f"j-w[{index}]-1"}
        for index, letter in enumerate(letters)
    }
    run = taken_up(spec, w={"phase": phase.value}, **items).go()
    assert run.started == ["z"]
    for seen in (running(), completed(), completed(3)):
        run.go(*(run.seen(f"w[{index}]", seen, attempt=2) for index in range(3)))
    assert run.phases["w"] is phase
    assert run.items("w") == [NodePhase(ends[letter]) for letter in letters]


def test_a_fan_out_ends_by_items_that_the_status_tells() -> None:
    items: dict[str, Json] = {
        "w[0]": {"phase": "Succeeded", "attempt": 1, "jobID": "j-w[0]-1"},
        "w[1]": {"phase": "Failed", "attempt": 1, "jobID": "j-w[1]-1", "message": "exit code 3"},
    }
    run = taken_up(dag(fan_out(2), node("b", after=["w"])), w={"phase": "Running"}, **items).go()
    assert run.phases == {"w": P.FAILED, "b": P.OMITTED, "w[0]": P.SUCCEEDED, "w[1]": P.FAILED}
    assert run.node("w").message == "w[1]: exit code 3"


def test_items_that_the_status_lacks_follow() -> None:
    items: dict[str, Json] = {"w[1]": {"phase": "Running", "attempt": 2, "jobID": "j-w[1]-2"}}
    run = taken_up(dag(fan_out(4)), w={"phase": "Running"}, **items).go()
    assert run.started == ["w[0]", "w[2]", "w[3]"]
    assert run.node("w[1]").attempt == 2


@pytest.mark.parametrize(
    "name", ["w[x]", "w[01]", "w[-1]", "w[99999]", "w[2500]", "w[0][0]", "a[0]", "gone[0]", "gone", "w[]"]
)
def test_what_is_no_item_is_passed_over(name: str) -> None:
    run = taken_up(dag(fan_out(1), node("a")), **{name: {"phase": "Running", "jobID": "j"}}).go()
    assert run.started == ["a", "w[0]"]
    run.go(JobSeen(node=name, attempt=1, sighting=running()))
    assert set(run.phases) == {"a", "w", "w[0]"}


def test_retries_of_items_wait_on_after_a_restart() -> None:
    run = play(fan_out(2, retry={"limit": 1, "backoff": MINUTE}))
    run.see_items("w", completed(3, modified_at=run.now), completed(modified_at=run.now))
    run.restart()
    assert run.go().started == []
    assert run.go(after=30).started == []
    assert run.go(after=30).started == ["w[0]"]
    assert run.see(**{"w[0]": completed(3)}).started == []
    assert (run.node("w[0]").failures, run.phases["w"]) == (2, P.FAILED)


def test_conditions_of_items_are_decided_the_same_after_a_restart() -> None:
    run = play(fan_out(4, when="index % 2 == 1", rules={"parallelism": 1})).accept("w[1]")
    run.restart()
    assert run.go().started == []
    assert run.items("w") == [P.SKIPPED, P.SUBMITTED, P.SKIPPED, P.PENDING]


def test_items_render_the_same_after_a_restart() -> None:
    document = node("w", forEach={"items": "${{ nodes.a.json }}"}, job=told("item"))
    run = play(node("a"), document).see(a=completed(stdout='["x", "y"]'))
    tasks = run.jobs["w[1]"]["Tasks"]
    run.accept("w[0]", "w[1]")
    run.restart()
    run.go(run.seen("a", completed(stdout='["x", "y"]')))
    assert run.effects == ()
    run.see(**{"w[1]": failed(RESTART)})
    assert run.jobs["w[1]"]["Tasks"] == tasks


@pytest.mark.parametrize("shutdown", [Shutdown.CANCEL, Shutdown.CANCEL_RUN_FINALLY])
def test_a_cancellation_of_items_goes_on_after_a_restart(shutdown: Shutdown) -> None:
    run = play(fan_out(3, rules={"parallelism": 2})).accept("w[0]").go(shutdown=shutdown)
    run.restart()
    run.go()
    assert list(run.stops) == ["w[0]"]
    assert (run.items("w"), run.started) == ([P.SUBMITTED, P.OMITTED, P.OMITTED], [])
    run.see(**{"w[0]": stopped("Cancelled: x")})
    assert (run.phases["w"], run.run.phase) == (P.CANCELLED, RunPhase.CANCELLED)


def test_a_failure_of_items_still_counts_after_a_restart() -> None:
    run = play(fan_out(2), node("a"), node("b", after=["a"])).accept("w[1]", "a")
    run.see(**{"w[0]": completed(3)})
    run.restart()
    assert run.see(a=completed()).started == []
    assert (run.phases["b"], run.phases["w"]) == (P.OMITTED, P.RUNNING)


def test_files_are_asked_for_again() -> None:
    run = play(node("split"), per_file())
    listed(run.see(split=completed()), "x", "y").accept("w[0]", "w[1]")
    run.restart()
    assert lists(run.go()) == ["split"]
    assert lists(run.go()) == []
    assert listed(run, "x", "y").started == []
    assert run.items("w") == [P.SUBMITTED, P.SUBMITTED]
    assert run.see_items("w", completed(), completed()).phases["w"] is P.SUCCEEDED


def test_items_that_end_before_their_list_is_known_count() -> None:
    run = play(node("split"), per_file(), node("b", after=["w"]))
    listed(run.see(split=completed()), "x", "y").accept("w[0]", "w[1]")
    run.restart()
    run.go().see_items("w", completed(), completed())
    assert (run.phases["b"], run.started) == (P.PENDING, [])
    assert listed(run, "x", "y").started == ["b"]


@pytest.fixture
def relisting() -> Play:
    """A run that was restarted while items ran whose list is made of files."""
    run = play(node("split"), per_file(), node("other"))
    listed(run.see(split=completed()), "x", "y").see_items("w", running(), running())
    run.restart()
    return run


def test_a_fan_out_is_under_way_while_its_files_are_asked_for(relisting: Play) -> None:
    assert lists(relisting.go()) == ["split"]
    assert relisting.phases["w"] is P.RUNNING
    assert relisting.status["nodes"]["w"]["phase"] == "Running"


def test_a_failure_elsewhere_leaves_items_alone_while_their_files_are_asked_for(relisting: Play) -> None:
    relisting.see(other=completed(3))
    listed(relisting, "x", "y").see_items("w", completed(), completed())
    assert relisting.phases["w"] is P.SUCCEEDED


def test_items_can_be_cancelled_while_their_files_are_asked_for(relisting: Play) -> None:
    relisting.go(shutdown=Shutdown.CANCEL)
    assert sorted(relisting.stops) == ["w[0]", "w[1]"]
    relisting.see_items("w", stopped("Cancelled: x"), stopped("Cancelled: x"))
    assert relisting.phases["w"] is P.CANCELLED


def test_an_item_without_a_value_is_not_started(relisting: Play) -> None:
    relisting.go(FilesUnknown(node="split", message="It is gone."))
    relisting.see(**{"w[0]": failed(RESTART), "w[1]": running(), "other": running()})
    assert relisting.started == []
    assert relisting.phases["w[0]"] is P.OMITTED
    relisting.see(**{"w[1]": completed()})
    assert (relisting.phases["w"], relisting.started) == (P.ERROR, [])


def test_a_lost_item_waits_for_its_value(relisting: Play) -> None:
    relisting.see(**{"w[0]": failed(RESTART)})
    assert relisting.started == ["other"]
    assert listed(relisting, "x", "y").jobs["w[0]"]["Tasks"][0]["Env"]["A"] == "x"


def test_an_item_keeps_its_place_through_a_restart() -> None:
    run = play(fan_out(2, rules={"parallelism": 1}, retry={"limit": 1, "backoff": MINUTE}))
    assert run.see(**{"w[0]": completed(3)}).started == []
    run.restart()
    assert run.go().started == []
    assert run.go(after=100).started == ["w[0]"]


READER = node("b", job=told("nodes.split.outputs.files[0]"))


def test_a_lost_reader_of_files_waits_for_them() -> None:
    run = play(node("split"), READER)
    listed(run.see(split=completed()), "x").see(b=running())
    run.restart()
    run.go().see(b=failed(RESTART))
    if not run.started:
        assert listed(run, "x").started == ["b"]
    assert run.node("b").attempt == 2


def test_a_retried_reader_of_files_waits_for_them() -> None:
    run = play(node("split"), READER | {"retry": {"limit": 1, "backoff": MINUTE}})
    listed(run.see(split=completed()), "x").see(b=completed(3))
    run.restart()
    asked = lists(run.go()) + lists(run.go(after=100))
    assert asked == ["split"]
    assert run.started == []
    assert listed(run, "x").started == ["b"]


# From the jobs alone


def chosen(run: Play, *jobs: tuple[str, int, JobSighting]) -> list[JobSeen]:
    """Attempts as they are found: node, attempt, sighting."""
    return [run.seen(name, seen, attempt=attempt) for name, attempt, seen in jobs]


FOUND: list[tuple[str, int, JobSighting]] = [
    ("a", 2, completed(stdout='["x", "y", "z"]')),
    ("w[0]", 1, completed(stdout="ex")),
    ("w[1]", 1, stopped("Replaced: the node went away")),
    ("w[1]", 2, running()),
    ("w[2]", 1, completed(3)),
]


@pytest.mark.parametrize("order", list(permutations(range(len(FOUND)))))
def test_a_lost_status_is_found_in_the_jobs_in_any_order(order: Iterable[int]) -> None:
    document = node("w", forEach={"items": "${{ nodes.a.json }}", "minSucceeded": 2}, job=told("item"))
    run = Play(dag(node("a"), document, node("b", job=told("nodes.w.items.map(i, i.stdout)"))))
    run.go(*chosen(run, *(FOUND[number] for number in order)), after=10)
    assert run.started == []
    assert run.phases == {
        "a": P.SUCCEEDED,
        "w": P.RUNNING,
        "b": P.PENDING,
        "w[0]": P.SUCCEEDED,
        "w[1]": P.RUNNING,
        "w[2]": P.FAILED,
    }
    run.see(**{"w[1]": completed(stdout="why")})
    assert run.jobs["b"]["Tasks"][0]["Env"]["A"] == '["ex", "why", ""]'


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_items_may_be_found_before_what_they_wait_for(order: Iterable[int]) -> None:
    """One observation at a time: the list is known last, or first, or in between."""
    document = node("w", forEach={"items": "${{ nodes.a.json }}", "parallelism": 2}, job=told("item"))
    found: list[tuple[str, int, JobSighting]] = [
        ("a", 1, completed(stdout="[7, 8, 9]")),
        ("w[0]", 1, running()),
        ("w[1]", 1, running()),
    ]
    run = Play(dag(node("a"), document))
    run.go(*chosen(run, *(found[number] for number in order)))
    assert (run.started, run.items("w")) == ([], [P.RUNNING, P.RUNNING, P.PENDING])
    assert run.see(**{"w[0]": completed()}).jobs["w[2]"]["Tasks"][0]["Env"]["A"] == "9"


def test_an_item_waits_if_nothing_is_known_of_its_list() -> None:
    document = node("w", forEach={"items": "${{ nodes.a.json }}"}, job=told("item"))
    run = Play(dag(node("a"), document))
    run.go(*chosen(run, ("w[1]", 1, stopped("Replaced: x"))), after=10)
    assert run.started == ["a"]
    assert run.phases["w"] is P.RUNNING
    run.see(a=completed(stdout="[1, 2, 3]"))
    assert run.started == ["w[0]", "w[1]", "w[2]"]
    assert run.node("w[1]").attempt == 2


def test_items_that_were_found_do_not_end_the_fan_out_before_its_list_is_known() -> None:
    document = node("w", forEach={"items": "${{ nodes.a.json }}"}, job=told("item"))
    run = Play(dag(node("a"), document))
    run.go(*chosen(run, ("w[0]", 1, completed()), ("w[1]", 1, completed())), after=10)
    assert run.phases["w"] is P.RUNNING
    run.see(a=completed(stdout="[1, 2, 3]"))
    assert run.started == ["w[2]"]


def test_files_are_asked_for_when_the_status_is_lost() -> None:
    run = Play(dag(node("split"), per_file()))
    run.go(*chosen(run, ("split", 1, completed(cid="Qms")), ("w[1]", 1, running())))
    assert (lists(run), run.started, run.phases["w"]) == (["split"], [], P.RUNNING)
    assert listed(run, "x", "y", "z").started == ["w[0]", "w[2]"]


def test_items_that_are_not_known_yet_may_still_be_enough() -> None:
    documents = [node("split"), per_file(), node("a"), node("b", after=["a"])]
    documents[1]["forEach"]["minSucceeded"] = 1
    run = Play(dag(*documents))
    run.go(
        *chosen(run, ("split", 1, completed()), ("w[0]", 1, completed(3)), ("a", 1, completed())), after=10
    )
    assert run.started == ["b"]
    assert listed(run, "x", "y").started == ["w[1]"]


@pytest.mark.parametrize("control", [{"shutdown": Shutdown.CANCEL}, {"cancel": True}])
def test_what_is_ended_early_needs_no_list(control: Json) -> None:
    run = Play(dag(node("split"), per_file(), node("b", after=["w"])))
    run.go(
        *chosen(run, ("split", 1, completed()), ("w[0]", 1, completed()), ("w[1]", 1, running())), **control
    )
    assert list(run.stops) == ["w[1]"]
    run.see(**{"w[1]": stopped("Cancelled: x")})
    assert (run.phases["w"], run.phases["b"]) == (P.CANCELLED, P.OMITTED)
    assert run.run.phase is RunPhase.CANCELLED
    assert run.status["nodes"]["w"]["items"]["total"] == 2


def test_a_list_that_nobody_can_tell_any_more_fails_the_fan_out_when_its_items_have_ended() -> None:
    run = Play(dag(node("split"), per_file(), failurePolicy="RunAll"))
    run.go(*chosen(run, ("split", 1, completed()), ("w[0]", 1, completed()), ("w[2]", 1, running())))
    run.go(FilesUnknown(node="split", message="It is gone."))
    assert run.items("w") == [P.SUCCEEDED, P.OMITTED, P.RUNNING]
    assert not run.phases["w"].is_terminal
    run.see(**{"w[2]": completed()})
    assert run.phases["w"] is P.ERROR
    assert run.node("w").message == "spec.nodes[w]: nodes.split.outputs.files: It is gone."
    assert run.run.phase is RunPhase.ERROR


def test_a_lost_status_is_found_for_the_last_nodes_too() -> None:
    last = node("last", forEach={"items": ["x", "y", "z"], "parallelism": 1}, job=told("item"))
    run = Play(dag(node("a"), **{"finally": [last]}))
    run.go(
        *chosen(run, ("last[0]", 1, completed()), ("last[1]", 1, running()), ("a", 1, completed(3))), after=10
    )
    assert (run.started, run.items("last")) == ([], [P.SUCCEEDED, P.RUNNING, P.PENDING])
    assert run.see(**{"last[1]": completed()}).started == ["last[2]"]
    run.see(**{"last[2]": completed()})
    assert (run.phases["last"], run.run.phase) == (P.SUCCEEDED, RunPhase.FAILED)


def test_what_the_last_nodes_did_hides_no_failure_before_them() -> None:
    """The last node failed before this process could know that the fan-out had."""
    few = fan_out(2, after=["a"], rules={"minSucceeded": 2}, when="index > 0")
    run = Play(dag(node("a"), few, node("b", after=["a"]), **{"finally": [node("last")]}))
    run.go(*chosen(run, ("last", 1, completed(3)), ("a", 1, completed())), after=10)
    assert run.started == []
    assert (run.phases["w"], run.phases["b"]) == (P.FAILED, P.OMITTED)
    assert run.node("b").message == 'node "w" did not succeed'


def test_what_was_read_before_it_was_known_is_read_again() -> None:
    """Whether the attempt is tried again is decided before the list that made it is known."""
    retry = {"limit": 2, "condition": "last.exitCode == 3"}
    document = node("w", forEach={"items": "${{ nodes.a.json }}"}, job=told("item"), retry=retry)
    run = Play(dag(node("a"), document))
    run.go(*chosen(run, ("w[0]", 1, completed(3)), ("w[0]", 2, running()), ("a", 1, completed(stdout="[7]"))))
    assert (run.started, run.items("w")) == ([], [P.RUNNING])
    assert run.see(**{"w[0]": completed()}).run.phase is RunPhase.SUCCEEDED


def test_items_count_once_towards_the_bound() -> None:
    run = Play(dag(fan_out(MAX_NODES - 1)), parallelism=1).go().accept("w[0]")
    run.restart()
    run.go()
    assert run.items("w") == [P.SUBMITTED] + [P.PENDING] * (MAX_NODES - 2)


def test_losing_all_leads_to_the_same_end() -> None:
    documents = [
        fan_out(4, rules={"parallelism": 2, "minSucceeded": 3}, retry={"limit": 1}),
        node("b", inputs=["w"]),
    ]
    calm = Play(dag(*documents)).go(after=10)
    calm.see(**{"w[0]": completed(3), "w[1]": completed(cid="Qm1")})
    calm.see(**{"w[0]": completed(cid="Qm0"), "w[2]": running()})
    before = calm.phases
    calm.lose_all()
    calm.go(
        *chosen(
            calm,
            ("w[0]", 1, completed(3)),
            ("w[0]", 2, completed(cid="Qm0")),
            ("w[1]", 1, completed(cid="Qm1")),
            ("w[2]", 1, running()),
            ("w[3]", 1, running()),
        )
    )
    assert {name: phase for name, phase in calm.phases.items() if name != "w[3]"} == {
        name: phase for name, phase in before.items() if name != "w[3]"
    }
    assert calm.started == []
    calm.see(**{"w[2]": completed(3), "w[3]": completed(cid="Qm3")})
    assert calm.started == ["w[2]"]
    calm.see(**{"w[2]": completed(3)})
    mounted = calm.jobs["b"]["Tasks"][0]["InputSources"]
    assert [source["Target"] for source in mounted] == ["/inputs/w/0", "/inputs/w/1", "/inputs/w/3"]


def test_a_thousand_items_are_found() -> None:
    run = Play(dag(fan_out(1000), node("b", after=["w"])))
    seen = [(f"w[{index}]", 1, completed() if index else running()) for index in reversed(range(1000))]
    run.go(*chosen(run, *seen), after=10)
    assert run.started == []
    assert run.see(**{"w[0]": completed()}).started == ["b"]
