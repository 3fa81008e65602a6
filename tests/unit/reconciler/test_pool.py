"""Connections as DAGs get them: resolved with their Secrets, shared, renewed, and closed when nobody needs them."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from controller.api.connection import BacalhauConnection
from controller.bacalhau.http import Basic, Bearer
from controller.kube.errors import Unavailable
from controller.kube.objects import Objects
from controller.kube.secrets import read_secret_key
from controller.reconciler.access import Unresolved, resolve
from controller.reconciler.connection import Access, Connection, Key, Problem
from controller.reconciler.pool import ConnectionPool
from tests.support.shell import NAMESPACE, URL, World

pytestmark = pytest.mark.looptime

DEFAULT = (NAMESPACE, "default")
COUNT = (NAMESPACE, "count")
OTHER = (NAMESPACE, "other")


class Pool:
    """A pool, and what it asks for."""

    def __init__(self, world: World) -> None:
        client = world.kube.client()
        self.woken: list[Key] = []
        self.rechecked: list[Key] = []
        self.pool = ConnectionPool(
            Objects(client),
            partial(read_secret_key, client),
            wake=self.woken.append,
            recheck=self.rechecked.append,
        )

    async def require(self, user: Key = COUNT, key: Key = DEFAULT) -> Connection:
        """Require a connection, and forget who was woken by that."""
        connection = await self.pool.require(key, user=user)
        self.woken.clear()
        self.rechecked.clear()
        return connection


@pytest.fixture
async def lab(world: World) -> AsyncIterator[Pool]:
    lab = Pool(world)
    yield lab
    await lab.pool.aclose()
    assert trackers() == []


def trackers() -> list[str]:
    """The trackers that run."""
    names = (task.get_name() for task in asyncio.all_tasks())
    return [name for name in names if name.startswith("tracker")]


async def test_there_is_one_connection_for_all_dags(world: World, lab: Pool) -> None:
    world.connect()
    first, second = await asyncio.gather(lab.require(COUNT), lab.require(OTHER))
    assert first is second


async def test_a_connection_that_does_not_exist_says_what_to_do(lab: Pool) -> None:
    with pytest.raises(Unresolved) as caught:
        await lab.require()
    assert caught.value.problem.reason == "ConnectionNotFound"
    assert 'no BacalhauConnection "default" in namespace "lab"; create it' in str(caught.value)


async def test_a_connection_of_another_namespace_is_not_found(world: World, lab: Pool) -> None:
    world.connect()
    with pytest.raises(Unresolved):
        await lab.require(("elsewhere", "count"), ("elsewhere", "default"))


async def test_a_connection_that_the_schema_does_not_allow_is_not_used(world: World, lab: Pool) -> None:
    world.connect(endpoint="ftp://bacalhau.test")
    with pytest.raises(Unresolved) as caught:
        await lab.require()
    assert caught.value.problem.reason == "InvalidConnection"


async def test_the_api_server_being_away_is_no_verdict_on_the_connection(world: World, lab: Pool) -> None:
    world.connect()
    world.kube.down = True
    with pytest.raises(Unavailable):
        await lab.require()


async def test_each_dag_is_woken_once_when_the_connection_changes(world: World, lab: Pool) -> None:
    world.connect()
    connection = await lab.require(COUNT)
    await lab.require(OTHER)
    connection.report(Problem("BacalhauUnavailable", "away"))
    assert sorted(lab.woken) == [COUNT, OTHER]
    connection.report(Problem("BacalhauUnavailable", "away"))
    assert sorted(lab.woken) == [COUNT, OTHER], "nothing has changed"
    connection.report(None)
    assert sorted(lab.woken) == [COUNT, COUNT, OTHER, OTHER]
    assert lab.rechecked == [DEFAULT, DEFAULT]


async def test_a_dag_that_waits_is_woken_when_the_connection_appears(world: World, lab: Pool) -> None:
    with pytest.raises(Unresolved):
        await lab.require()
    world.connect()
    await lab.pool.refresh(DEFAULT)
    assert lab.woken == [COUNT]


async def test_a_dag_that_has_ended_is_not_woken(world: World, lab: Pool) -> None:
    world.connect()
    connection = await lab.require(COUNT)
    lab.pool.forget_user(COUNT)
    lab.pool.forget_user(COUNT)
    connection.report(Problem("BacalhauUnavailable", "away"))
    assert lab.woken == []


async def test_a_dag_that_names_another_connection_is_no_user_of_the_first(world: World, lab: Pool) -> None:
    world.connect()
    world.connect("far")
    first = await lab.require(COUNT)
    await lab.require(COUNT, (NAMESPACE, "far"))
    first.report(Problem("BacalhauUnavailable", "away"))
    assert lab.woken == []


async def test_nothing_is_renewed_if_nothing_has_changed(world: World, lab: Pool) -> None:
    world.connect()
    connection = await lab.require()
    traffic = connection.client.traffic
    await lab.pool.refresh(DEFAULT)
    assert connection.client.traffic is traffic


async def test_a_changed_secret_is_taken_up_under_whoever_holds_the_connection(
    world: World, lab: Pool
) -> None:
    world.bacalhau = world.cluster(URL, auth=Bearer("old"))
    world.connect(auth={"tokenSecretRef": {"name": "key", "key": "token"}})
    world.secret("key", token="old")
    connection = await lab.require()
    await connection.client.nodes()
    world.bacalhau.accept(Bearer("new"))
    world.secret("key", token="new")
    assert await lab.pool.refresh(DEFAULT) is connection
    await connection.client.nodes()


async def test_changed_limits_hold_at_once(world: World, lab: Pool) -> None:
    path = world.connect(limits={"maxActiveJobs": 1})
    connection = await lab.require()
    assert connection.slots.room("run") == 1
    world.kube.change(path, limits={"maxActiveJobs": 2})
    await lab.pool.refresh(DEFAULT)
    assert connection.slots.room("run") == 2


async def test_a_secret_that_is_gone_stops_new_runs_and_not_those_in_progress(
    world: World, lab: Pool
) -> None:
    world.connect(auth={"tokenSecretRef": {"name": "key", "key": "token"}})
    world.secret("key", token="s3cr3t")
    connection = await lab.require(COUNT)
    world.kube.destroy(f"/api/v1/namespaces/{NAMESPACE}/secrets/key")
    with pytest.raises(Unresolved):
        await lab.pool.refresh(DEFAULT)
    with pytest.raises(Unresolved):
        await lab.require(OTHER)
    assert connection.problem is not None
    assert connection.problem.reason == "SecretNotFound"
    await connection.client.nodes()


async def test_a_connection_that_is_dropped_lives_on_for_its_users(world: World, lab: Pool) -> None:
    path = world.connect()
    connection = await lab.require(COUNT)
    world.kube.destroy(path)
    await lab.pool.drop(DEFAULT)
    assert lab.woken == [COUNT]
    await connection.client.nodes()
    with pytest.raises(Unresolved):
        await lab.require(OTHER)
    lab.pool.forget_user(OTHER)
    lab.rechecked.clear()
    lab.pool.forget_user(COUNT)
    assert lab.rechecked == [DEFAULT], "its check closes it"
    await lab.pool.drop(DEFAULT)
    assert trackers() == []


async def test_a_connection_that_comes_back_is_the_same_for_its_users(world: World, lab: Pool) -> None:
    path = world.connect()
    connection = await lab.require(COUNT)
    world.kube.destroy(path)
    await lab.pool.drop(DEFAULT)
    world.connect()
    assert await lab.require(OTHER) is connection


async def test_a_connection_is_not_dropped_while_it_is_being_read(world: World, lab: Pool) -> None:
    path = world.connect(auth={"tokenSecretRef": {"name": "key", "key": "token"}})
    world.secret("key", token="s3cr3t")
    world.kube.latency = 1.0
    reading = asyncio.create_task(lab.pool.refresh(DEFAULT))
    await asyncio.sleep(1.5)
    world.kube.destroy(path)
    await lab.pool.drop(DEFAULT)
    await reading
    assert trackers() == []


SECRETS = {
    ("key", "token"): " s3cr3t\n",
    ("user", "username"): "ada",
    ("user", "password"): "pässword:1",
    ("ca", "ca.crt"): "-----BEGIN CERTIFICATE-----",
    ("bad", "newline"): "one\ntwo",
    ("bad", "empty"): "\n",
    ("bad", "umlaut"): "schlüssel",
}


class TestAccess:
    """What a connection refers to."""

    @pytest.fixture
    def kube(self, world: World) -> World:
        secrets: dict[str, dict[str, str]] = {}
        for (name, key), value in SECRETS.items():
            secrets.setdefault(name, {})[key] = value
        for name, data in secrets.items():
            world.secret(name, **data)
        return world

    async def resolve(self, kube: World, **spec: Any) -> Access:
        """Resolve a connection with this spec."""
        metadata = {"name": "default", "namespace": NAMESPACE, "uid": "u-1"}
        body = {"apiVersion": "bacalhau.org/v1alpha1", "kind": "BacalhauConnection", "metadata": metadata}
        connection = BacalhauConnection.model_validate(body | {"spec": {"endpoint": URL} | spec})
        return await resolve(connection, partial(read_secret_key, kube.kube.client()))

    async def problem(self, kube: World, **spec: Any) -> Problem:
        """Why a connection with this spec cannot be resolved."""
        with pytest.raises(Unresolved) as caught:
            await self.resolve(kube, **spec)
        return caught.value.problem

    async def test_without_credentials(self, kube: World) -> None:
        access = await self.resolve(kube)
        assert access.endpoint.auth is None
        assert access.endpoint.ca is None
        assert not access.endpoint.insecure

    async def test_a_token(self, kube: World) -> None:
        access = await self.resolve(kube, auth={"tokenSecretRef": {"name": "key", "key": "token"}})
        assert access.endpoint.auth == Bearer("s3cr3t")

    async def test_a_user(self, kube: World) -> None:
        access = await self.resolve(kube, auth={"basicSecretRef": {"name": "user"}})
        assert access.endpoint.auth == Basic("ada", "pässword:1")

    async def test_an_authority(self, kube: World) -> None:
        access = await self.resolve(kube, tls={"caSecretRef": {"name": "ca", "key": "ca.crt"}})
        assert access.endpoint.ca == "-----BEGIN CERTIFICATE-----"

    async def test_any_certificate(self, kube: World) -> None:
        access = await self.resolve(kube, tls={"insecureSkipVerify": True})
        assert access.endpoint.insecure

    @pytest.mark.parametrize(
        ("spec", "field"),
        [
            ({"auth": {"tokenSecretRef": {"name": "none", "key": "token"}}}, "spec.auth.tokenSecretRef"),
            ({"auth": {"tokenSecretRef": {"name": "key", "key": "none"}}}, "spec.auth.tokenSecretRef"),
            ({"auth": {"basicSecretRef": {"name": "key"}}}, "spec.auth.basicSecretRef"),
            ({"tls": {"caSecretRef": {"name": "none", "key": "ca.crt"}}}, "spec.tls.caSecretRef"),
        ],
    )
    async def test_what_is_missing_is_named_with_its_field(self, kube: World, spec: Any, field: str) -> None:
        problem = await self.problem(kube, **spec)
        assert problem.reason == "SecretNotFound"
        assert problem.message.startswith(f"{field}: ")

    @pytest.mark.parametrize("key", ["newline", "empty", "umlaut"])
    async def test_a_token_that_no_header_can_carry_is_named_and_not_shown(
        self, kube: World, key: str
    ) -> None:
        problem = await self.problem(kube, auth={"tokenSecretRef": {"name": "bad", "key": key}})
        assert problem.reason == "SecretInvalid"
        assert problem.message.startswith("spec.auth.tokenSecretRef: ")
        assert SECRETS["bad", key].strip() not in problem.message or key == "empty"

    async def test_equal_access_is_equal(self, kube: World) -> None:
        spec = {"auth": {"tokenSecretRef": {"name": "key", "key": "token"}}}
        assert await self.resolve(kube, **spec) == await self.resolve(kube, **spec)
