"""What the status of a connection says, when it is checked, and whom a recovery wakes."""

import asyncio
import copy

import pytest

from controller.bacalhau.http import Bearer
from controller.reconciler.connections import RECHECK_SECONDS
from tests.support.builders import node
from tests.support.shell import URL, World

pytestmark = pytest.mark.looptime


def checks(world: World) -> int:
    """How often Bacalhau was asked for its version."""
    return sum(path.endswith("/version") for _, path in world.bacalhau.requests)


async def ready(world: World, *, reason: str) -> str:
    """Wait until the connection's condition has a reason; returns its message."""
    await world.until(lambda: world.condition(world.connection).get("reason") == reason)
    return str(world.condition(world.connection)["message"])


async def test_a_connection_that_works_says_so(world: World) -> None:
    path = world.connect()
    async with world.operator():
        assert await ready(world, reason="Connected") == "Bacalhau v1.9.3 answers."
    assert world.condition(path)["status"] == "True"
    assert world.status(path)["bacalhauVersion"] == "v1.9.3"
    assert world.status(path)["observedGeneration"] == 1
    assert world.events() == []


async def test_a_connection_that_works_is_looked_at_now_and_then_and_not_written_again(world: World) -> None:
    path = world.connect()
    async with world.operator():
        await ready(world, reason="Connected")
        before = checks(world)
        await asyncio.sleep(10 * RECHECK_SECONDS + 1)
        assert checks(world) - before == 10
    assert len(world.writes(path)) == 1


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"endpoint": "http://nowhere.test:1"}, "BacalhauUnavailable", "http://nowhere.test:1"),
        ({"auth": {"basicSecretRef": {"name": "none"}}}, "SecretNotFound", 'no Secret "none"'),
        ({"auth": {"basicSecretRef": {"name": "wrong"}}}, "CredentialsRejected", "spec.auth"),
        ({"limits": {"maxActiveJobs": 0}}, "InvalidConnection", "maxActiveJobs"),
    ],
    ids=["unreachable", "secret missing", "credentials", "invalid"],
)
async def test_a_connection_that_does_not_work_says_why_once(
    world: World, spec: dict[str, object], reason: str, words: str
) -> None:
    world.bacalhau = world.cluster(URL, auth=Bearer("s3cr3t"))
    world.secret("wrong", username="ada", password="guess")
    path = world.connect(**spec)  # type: ignore[arg-type]  # endpoint is text
    async with world.operator():
        message = await ready(world, reason=reason)
        assert words in message
        await world.until(world.events)
        await asyncio.sleep(120)
    assert world.condition(path)["status"] == "False"
    assert world.events() == [(reason, message, 1)]
    assert len(world.writes(path)) == 1


async def test_a_server_that_never_answers_is_unavailable(world: World) -> None:
    world.connect()
    world.bacalhau.fault(path="/nodes", delay=1e6, times=1000)
    async with world.operator():
        assert "did not answer" in await ready(world, reason="BacalhauUnavailable")


async def test_a_recovery_is_noticed_and_wakes_the_dags_that_wait(world: World) -> None:
    path = world.connect()
    world.bacalhau.down = True
    async with world.operator():
        dag = world.apply(node("a"))
        await ready(world, reason="BacalhauUnavailable")
        await world.until(lambda: world.phase(dag) == "Pending")
        await asyncio.sleep(100)
        since = world.condition(path)["lastTransitionTime"]
        world.bacalhau.down = False
        await world.until(lambda: world.condition(path)["status"] == "True", within=20)
        await world.until(lambda: world.has_ended(dag), within=2)
    assert world.condition(path)["lastTransitionTime"] > since


async def test_a_failure_is_noticed_by_the_next_check(world: World) -> None:
    path = world.connect()
    async with world.operator():
        await ready(world, reason="Connected")
        world.bacalhau.down = True
        await world.until(lambda: world.condition(path)["status"] == "False", within=RECHECK_SECONDS + 5)


async def test_a_changed_spec_is_checked_at_once(world: World) -> None:
    path = world.connect(endpoint="http://nowhere.test:1")
    async with world.operator():
        await ready(world, reason="BacalhauUnavailable")
        await asyncio.sleep(100)
        world.kube.change(path, endpoint=URL)
        await world.until(lambda: world.condition(path)["status"] == "True", within=1)
    assert world.status(path)["observedGeneration"] == 2


async def test_own_status_writes_cause_no_checks(world: World) -> None:
    world.connect()
    async with world.operator():
        await ready(world, reason="Connected")
        await asyncio.sleep(10)
        assert checks(world) == 1


@pytest.mark.parametrize("lag", [0.0, 0.5])
async def test_a_connection_that_is_created_anew_is_checked(world: World, lag: float) -> None:
    path = world.connect(endpoint="http://nowhere.test:1")
    world.kube.lag = lag
    async with world.operator():
        await ready(world, reason="BacalhauUnavailable")
        world.kube.destroy(path)
        world.connect()
        assert await ready(world, reason="Connected")


async def test_a_connection_that_comes_back_while_it_is_being_dropped_is_checked(world: World) -> None:
    path = world.connect()
    async with world.operator() as process:
        await ready(world, reason="Connected")
        world.kube.destroy(path)
        gone = asyncio.get_running_loop().time() + world.kube.lag
        world.kube.lag = 0.0
        asyncio.get_running_loop().call_at(gone, world.connect)
        await ready(world, reason="Connected")
        assert process.connection_queue.stalled_for() == 0


async def test_late_copies_of_a_connection_that_is_gone_do_no_harm(world: World) -> None:
    path = world.connect()
    async with world.operator() as process:
        await ready(world, reason="Connected")
        old = copy.deepcopy(world.kube.objects[path])
        world.kube.destroy(path)
        world.connect()
        await ready(world, reason="Connected")
        before = checks(world)
        process.connections.observe(old, deleted=False)
        process.connections.observe(old, deleted=True)
        await asyncio.sleep(10)
        assert checks(world) == before
        await world.until_ended(world.apply(node("a")))


async def test_a_connection_that_is_deleted_is_not_checked_any_more(world: World) -> None:
    path = world.connect()
    async with world.operator():
        await ready(world, reason="Connected")
        world.kube.destroy(path)
        await asyncio.sleep(1)
        before = checks(world)
        await asyncio.sleep(10 * RECHECK_SECONDS)
        assert checks(world) == before
