"""An API server and a Bacalhau that fail in all the ways they have: the run takes longer, and comes to the same."""

import asyncio
import copy
import random
from typing import Any

import pytest

from controller.engine import Run
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.fake_kube import Body, Failure, Request
from tests.support.shell import World, dag_path

pytestmark = pytest.mark.looptime

NODES = (node("a"), node("b", inputs=["a"]), node("c", after=["b"]))
OF_A_DAG = "/bacalhaudags/"


async def run_well(world: World) -> None:
    """Run a small DAG whatever happens to it, and see that it came to what it should."""
    world.script = lambda job: Fate(ends_after=0.5)
    if world.connection not in world.kube.objects:
        world.connect()
    async with world.operator():
        path = world.apply(*NODES)
        status = await world.until_ended(path)
        await asyncio.sleep(1)
        assert world.has_ended(path), "it stays ended"
    assert world.attempts() == [("a", 1), ("b", 1), ("c", 1)]
    assert status["progress"] == "3/3"
    assert status["observedGeneration"] == 1


@pytest.mark.parametrize("seed", range(6))
async def test_conflicts_errors_and_lost_answers_of_the_api_server(world: World, seed: int) -> None:
    chance = random.Random(seed)

    def interfere(request: Request) -> None:
        trouble = chance.choice(["touched", "failure", "failure", "lost answer", "", ""])
        if trouble == "touched" and request.method == "PATCH" and OF_A_DAG in request.path:
            world.kube.edit(dag_path("count"), {"metadata": {"labels": {"touched": str(chance.random())}}})
        if trouble == "failure":
            raise Failure(chance.choice([409, 500, 503, 429, 401]), "not now")
        if trouble == "lost answer":
            world.kube.lost_answers = 1

    world.kube.before = interfere
    await run_well(world)


@pytest.mark.parametrize("seed", range(6))
async def test_old_copies_from_the_watch(world: World, seed: int) -> None:
    chance = random.Random(seed)
    copies: list[Body] = []

    def remember(path: str, body: Body, deleted: bool) -> None:
        if body["kind"] == "BacalhauDAG":
            copies.append(copy.deepcopy(body))

    world.connect()
    world.kube.watchers.append(remember)
    world.kube.lag = chance.choice([0.0, 0.05, 2.0])
    world.script = lambda job: Fate(ends_after=0.5)
    async with world.operator() as process:
        path = world.apply(*NODES)
        while not world.has_ended(path):
            await asyncio.sleep(0.05)
            if copies:
                process.dags.observe(chance.choice(copies), deleted=False)
        await world.until_ended(path)
        ended = copy.deepcopy(world.kube.objects[path])
        for body in copies:
            process.dags.observe(body, deleted=False)
            await asyncio.sleep(chance.choice([0.0, 1.0]))
        await asyncio.sleep(100)
        assert world.kube.objects[path] == ended, "a DAG that has ended is not touched again"
    assert world.attempts() == [("a", 1), ("b", 1), ("c", 1)]


@pytest.mark.parametrize("seed", range(6))
async def test_errors_and_lost_requests_and_answers_of_bacalhau(world: World, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(15):
        troubles: list[dict[str, Any]] = [{"status": 500, "text": "oops"}, {"status": 503}]
        trouble = chance.choice([*troubles, {"lose_request": True}, {"lose_answer": True}])
        world.bacalhau.fault(method=chance.choice(["", "PUT", "GET"]), **trouble)
    await run_well(world)


async def test_the_api_server_being_away_does_not_hold_up_the_jobs(world: World) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=5.0)
    async with world.operator():
        path = world.apply(*NODES)
        await world.until(lambda: world.phase(path) == "Running" and world.jobs())
        world.kube.down = True
        await world.until(lambda: list(world.jobs().values()) == ["Completed"] * 3, within=30)
        world.kube.down = False
        await world.until_ended(path)


async def test_ended_dags_whose_status_cannot_be_written_hold_up_no_others(world: World) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=5.0 if "-quick-" in job["Name"] else 20.0)
    async with world.operator():
        quick = [world.apply(node("a"), name=f"quick-{number}") for number in range(8)]
        slow = world.apply(*NODES, name="slow")
        await world.until(lambda: len(world.jobs()) == 9)
        world.kube.down = True
        await world.until(lambda: list(world.jobs().values()) == ["Completed"] * 11, within=65)
        world.kube.down = False
        for path in (*quick, slow):
            await world.until_ended(path)


async def test_the_api_server_being_away_at_the_start_is_waited_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.connect()
    async with world.operator():
        world.kube.down = True
        path = world.apply(*NODES)
        await asyncio.sleep(100)
        world.kube.down = False
        await world.until_ended(path)
    assert "count in namespace lab is tried again" not in [
        r.getMessage() for r in caplog.records if r.levelname == "ERROR"
    ]


async def test_an_object_that_vanished_unseen_is_forgotten(world: World) -> None:
    world.connect()
    path = world.apply(*NODES)
    body = copy.deepcopy(world.kube.objects[path])
    world.kube.destroy(path)
    async with world.operator() as process:
        process.dags.observe(body, deleted=False)
        await asyncio.sleep(10)
        requests = len(world.kube.requests)
        await asyncio.sleep(100)
        assert [request for request in world.kube.requests[requests:] if path in request.path] == []
    assert world.jobs() == {}


async def test_what_nobody_foresaw_has_the_run_built_anew(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=1.0)
    original, passes = Run.advance, 0

    def advance(*args: Any, **options: Any) -> Any:
        nonlocal passes
        passes += 1
        effects = original(*args, **options)
        if passes in (2, 4, 7):
            raise RuntimeError("nobody foresaw this")
        return effects

    monkeypatch.setattr(Run, "advance", advance)
    async with world.operator():
        path = world.apply(*NODES)
        await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1), ("c", 1)]
    assert [record for record in caplog.records if record.exc_info]
    caplog.clear()


async def test_an_effect_that_fails_unforeseen_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.connect()
    async with world.operator():
        with monkeypatch.context() as broken:
            broken.setattr("controller.reconciler.active.ensure_job", _fail)
            path = world.apply(*NODES)
            other = world.apply(node("a"), name="other")
            await asyncio.sleep(60)
        await world.until_ended(path)
        await world.until_ended(other)
    assert world.attempts(path) == [("a", 1), ("b", 1), ("c", 1)]
    assert 2 <= len([record for record in caplog.records if record.exc_info]) <= 12, "it rests in between"
    caplog.clear()


async def _fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("nobody foresaw this")
