"""What keeps a DAG from going on, how that is said, and how it goes on afterwards."""

import asyncio

import pytest

from controller.bacalhau.http import Bearer
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import URL, World

pytestmark = pytest.mark.looptime


async def test_a_missing_connection_is_waited_for(world: World) -> None:
    async with world.operator():
        path = world.apply(node("a"))
        await world.until(lambda: world.condition(path).get("reason") == "ConnectionNotFound")
        await asyncio.sleep(300)
        assert world.phase(path) == "Pending"
        assert 'no BacalhauConnection "default"' in world.status(path)["message"]
        assert [(reason, count) for reason, _, count in world.events()] == [("ConnectionNotFound", 1)]
        assert len(world.writes(path)) == 1
        world.connect()
        await world.until(lambda: world.has_ended(path), within=2)
    assert world.phase(path) == "Succeeded"


async def test_a_missing_secret_is_waited_for(world: World) -> None:
    world.bacalhau = world.cluster(URL, auth=Bearer("s3cr3t"))
    world.connect(auth={"tokenSecretRef": {"name": "key", "key": "token"}})
    async with world.operator():
        path = world.apply(node("a"))
        await world.until(lambda: world.condition(path).get("reason") == "SecretNotFound")
        assert 'no Secret "key"' in world.status(path)["message"]
        world.secret("key", other="?")
        await world.until(lambda: 'no key "token"' in world.status(path)["message"])
        world.secret("key", token="s3cr3t")
        await world.until_ended(path)


async def test_bacalhau_being_away_from_the_start_is_waited_for(world: World) -> None:
    world.connect()
    world.bacalhau.down = True
    async with world.operator():
        path = world.apply(node("a"))
        await world.until(lambda: world.condition(path).get("reason") == "BacalhauUnavailable")
        await asyncio.sleep(300)
        assert [count for _, _, count in world.events("BacalhauUnavailable")] == [1, 1], (
            "of DAG and connection"
        )
        world.bacalhau.down = False
        await world.until(lambda: world.has_ended(path), within=20)
    assert world.phase(path) == "Succeeded"


async def test_bacalhau_being_away_during_a_run_is_said_once_and_is_no_failure(world: World) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=50.0)
    async with world.operator():
        path = world.apply(node("a"), node("b", after=["a"]))
        await world.until(lambda: world.jobs())
        world.bacalhau.down = True
        await world.until(lambda: world.condition(path).get("reason") == "BacalhauUnavailable")
        message = world.status(path)["message"]
        await asyncio.sleep(300)
        assert world.phase(path) == "Running"
        assert ("BacalhauUnavailable", message, 1) in world.events()
        world.bacalhau.down = False
        await world.until(lambda: world.condition(path)["reason"] == "Running", within=40)
        await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1)]


async def test_rejected_credentials_are_waited_for(world: World) -> None:
    world.bacalhau = world.cluster(URL, auth=Bearer("new"))
    world.connect(auth={"tokenSecretRef": {"name": "key", "key": "token"}})
    world.secret("key", token="old")
    async with world.operator():
        path = world.apply(node("a"))
        await world.until(lambda: world.condition(path).get("reason") == "CredentialsRejected")
        assert world.condition(world.connection)["reason"] == "CredentialsRejected"
        world.secret("key", token="new")
        await world.until(lambda: world.has_ended(path), within=20)
    assert world.phase(path) == "Succeeded"


async def test_credentials_that_change_under_a_run_are_taken_up(world: World) -> None:
    world.bacalhau = world.cluster(URL, auth=Bearer("old"))
    world.connect(auth={"tokenSecretRef": {"name": "key", "key": "token"}})
    world.secret("key", token="old")
    world.script = lambda job: Fate(ends_after=30.0)
    async with world.operator():
        path = world.apply(node("a"), node("b", after=["a"]))
        await world.until(lambda: world.jobs())
        world.bacalhau.accept(Bearer("new"))
        world.secret("key", token="new")
        await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1)]


async def test_another_connection_named_while_waiting_is_used(world: World) -> None:
    async with world.operator():
        path = world.apply(node("a"), connectionRef={"name": "missing"})
        await world.until(lambda: world.phase(path) == "Pending")
        world.connect("there")
        world.kube.change(path, connectionRef={"name": "there"})
        await world.until_ended(path)


async def test_trouble_with_one_job_is_said_of_its_run_only(world: World) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=100.0)
    async with world.operator():
        other = world.apply(node("a"), name="other")
        await world.until(lambda: world.phase(other) == "Running" and world.jobs())
        world.bacalhau.fault(method="PUT", status=500, text="disk full", times=30)
        path = world.apply(node("a"))
        await world.until(lambda: world.condition(path).get("reason") == "BacalhauUnavailable")
        assert "disk full" in world.status(path)["message"]
        await asyncio.sleep(20)
        assert world.condition(path)["reason"] == "BacalhauUnavailable"
        assert world.condition(other)["reason"] == "Running"
        assert world.condition(world.connection)["status"] == "True"
        assert not [write for write in world.writes(other) if "disk full" in str(write)]
        assert len(world.events("BacalhauUnavailable")) == 1
        await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("a", 1)]


async def test_what_a_proxy_answers_is_no_refusal_of_the_job(world: World) -> None:
    world.connect()
    world.bacalhau.fault(method="PUT", status=404, text="<html>no backend</html>", times=2)
    async with world.operator():
        await world.until_ended(world.apply(node("a")))
    assert world.attempts() == [("a", 1)]
