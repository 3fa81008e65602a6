"""An attempt that could not be sent yet, because something that it needs is not there: it is made again, and counts as never made."""

from controller.api.dag import FailurePolicy, Shutdown
from controller.api.status import NodePhase, RunPhase
from controller.engine import SubmissionWithheld
from controller.engine.run import WITHHELD_SECONDS
from tests.support.builders import Play, completed, dag, failed, node, running

WHY = "There is no Secret."


def withheld(play: Play, name: str = "a") -> SubmissionWithheld:
    """What is observed when the latest attempt of a node is withheld."""
    return SubmissionWithheld(
        node=name, attempt=play.node(name).attempt, reason="SecretNotFound", message=WHY
    )


def test_the_same_attempt_is_made_again_a_while_later() -> None:
    play = Play(dag(node("a"))).go()
    first = play.jobs["a"]
    play.go(withheld(play))
    assert (play.node("a").phase, play.node("a").attempt) == (NodePhase.PENDING, 0)
    assert (play.node("a").reason, play.node("a").message) == ("SecretNotFound", WHY)
    assert play.run.phase is RunPhase.RUNNING
    assert play.wakes == [play.now + WITHHELD_SECONDS]
    assert play.go(after=WITHHELD_SECONDS - 1).started == []
    assert play.go(after=1).jobs == {"a": first}


def test_what_was_withheld_for_long_succeeds_in_the_end() -> None:
    play = Play(dag(node("a"))).go()
    for _ in range(50):
        play.go(withheld(play)).go(after=WITHHELD_SECONDS)
    play.see(a=running())
    assert (play.node("a").reason, play.node("a").message) == (None, None)
    assert play.see(a=completed()).run.phase is RunPhase.SUCCEEDED
    assert play.status["nodes"]["a"]["attempt"] == 1


def test_others_go_on_meanwhile() -> None:
    play = Play(dag(node("a"), node("b"), node("c", after=["b"])), parallelism=1).go()
    play.go(withheld(play))
    assert play.started == ["b"]
    assert play.see(b=completed()).started == ["c"]


def test_it_waits_no_longer_than_the_run() -> None:
    play = Play(dag(node("a"), timeouts={"dag": "20s"})).go()
    play.go(withheld(play)).go(after=20)
    assert play.node("a").phase is NodePhase.OMITTED
    assert play.run.phase is RunPhase.FAILED


def test_it_is_given_up_when_the_run_is() -> None:
    play = Play(dag(node("a"))).go()
    play.go(withheld(play)).go(shutdown=Shutdown.CANCEL)
    assert play.run.phase is RunPhase.CANCELLED


def test_a_second_attempt_that_is_withheld_is_still_a_second_one() -> None:
    """A failure elsewhere has nothing new start, but what is tried again is nothing new, also after a restart."""
    spec = dag(
        node("a", retry={"limit": 0, "errorLimit": 1, "policy": "OnError"}),
        node("b"),
        failurePolicy=FailurePolicy.FAIL_FAST,
    )
    play = Play(spec).go().accept("b").see(a=failed())
    assert play.started == ["a"]
    play.go(withheld(play))
    play.restart()
    play.see(b=failed()).go(after=WITHHELD_SECONDS)
    assert play.node("b").phase is NodePhase.ERROR
    assert (play.started, play.node("a").attempt) == (["a"], 2)


def test_a_restart_makes_the_same_attempt() -> None:
    play = Play(dag(node("a"))).go()
    first = play.jobs["a"]
    play.go(withheld(play))
    play.restart()
    play.go()
    assert play.go(after=WITHHELD_SECONDS).jobs == {"a": first}


def test_late_news_of_an_attempt_that_is_under_way_again_is_no_news() -> None:
    play = Play(dag(node("a"))).go()
    late = withheld(play)
    play.go(late).go(after=WITHHELD_SECONDS).see(a=running())
    play.see(a=completed()).go(late)
    assert play.node("a").phase is NodePhase.SUCCEEDED
