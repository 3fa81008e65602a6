"""Values of Secrets get into the environment of jobs, and appear nowhere else; what is missing is waited for."""

import asyncio
import json
import logging
from typing import Any

import pytest

from controller.bacalhau.errors import BacalhauError, Refused, Unreachable
from controller.reconciler.secrets import FRESH_SECONDS, REDACTED, Filled
from tests.support.builders import Json, job, node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import NAMESPACE, Wire, World, moments

TOKEN: Json = {"name": "token", "valueFrom": {"secretKeyRef": {"name": "login", "key": "token"}}}
VALUE = 'p4ss"word\nof two lines'

looptime = pytest.mark.looptime


def reader(name: str = "a", **more: Any) -> Json:
    """A node whose job holds the Secret."""
    return node(name, job=job(Env={"TOKEN": "Bearer ${{ params.token }}"}), **more)


def tokens(world: World) -> list[str]:
    """The token in each job."""
    return [item.spec["Tasks"][0]["Env"]["TOKEN"] for item in world.bacalhau.jobs.values()]


def said_to_people(world: World) -> str:
    """All that can be read in the cluster but the Secret itself, as JSON."""
    return json.dumps({path: body for path, body in world.kube.objects.items() if "/secrets/" not in path})


@looptime
async def test_a_job_gets_the_value_and_nobody_else(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.connect()
    world.secret("login", token=VALUE)
    world.script = lambda submitted: Fate(exit_code=1)
    async with world.operator():
        path = world.apply(reader(), parameters=[TOKEN])
        await world.until_ended(path, "Failed")
    (submitted,) = world.bacalhau.jobs.values()
    assert submitted.spec["Tasks"][0].pop("Env") == {"TOKEN": f"Bearer {VALUE}"}
    assert "p4ss" not in json.dumps(submitted.spec)
    assert "p4ss" not in said_to_people(world)
    assert "p4ss" not in caplog.text


@looptime
async def test_a_missing_secret_is_waited_for(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(node("first"), reader(after=["first"]), node("beside"), parameters=[TOKEN])
        await world.until(lambda: world.condition(path).get("reason") == "SecretNotFound")
        message = (
            'spec.parameters[token].valueFrom.secretKeyRef: There is no Secret "login" in namespace "lab". '
            "Create it, or correct the reference."
        )
        assert world.status(path)["message"] == message
        await world.until(lambda: world.status(path)["nodes"]["a"].get("message") == message)
        await world.until(lambda: world.status(path)["nodes"]["beside"]["phase"] == "Succeeded")
        await asyncio.sleep(300)
        assert world.events("SecretNotFound") == [("SecretNotFound", message, 1)]
        assert world.phase(path) == "Running"
        world.secret("login", token=VALUE)
        status = await world.until_ended(path)
    assert status["nodes"]["a"]["attempt"] == 1
    assert world.attempts() == [("a", 1), ("beside", 1), ("first", 1)]


@looptime
@pytest.mark.parametrize(
    ("value", "text", "problem"),
    [
        ("", "${{ params.token }}", "is empty"),
        ("env:HOME", "${{ params.token }}", "begins with env:"),
        ("HOME", "env:${{ params.token }}", "begins with env:"),
        ("a\0b", "${{ params.token }}", "holds a character NUL"),
    ],
    ids=["empty", "variable of the host", "name of a variable of the host", "nul"],
)
async def test_a_value_that_no_variable_can_have_is_waited_for_to_change(
    world: World, value: str, text: str, problem: str
) -> None:
    world.connect()
    world.secret("login", token=value)
    async with world.operator():
        path = world.apply(node("a", job=job(Env={"TOKEN": text})), parameters=[TOKEN])
        await world.until(lambda: world.condition(path).get("reason") == "SecretInvalid")
        assert f"The variable TOKEN from a Secret {problem}" in world.status(path)["message"]
        if text.startswith("env:"):
            return
        world.secret("login", token="right")
        await world.until_ended(path)
    assert tokens(world) == ["right"]


@looptime
async def test_waiting_takes_no_place_from_others(world: World) -> None:
    world.connect(limits={"maxActiveJobs": 1})
    async with world.operator():
        waiting = world.apply(reader(), name="waiting", parameters=[TOKEN])
        await world.until(lambda: world.condition(waiting).get("reason") == "SecretNotFound")
        await world.until_ended(world.apply(node("a"), node("b"), name="other"))
        world.secret("login", token=VALUE)
        await world.until_ended(waiting)


@looptime
@pytest.mark.parametrize("how", ["shutdown", "deletion"])
async def test_waiting_ends_with_the_run(world: World, how: str) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(reader(), parameters=[TOKEN])
        await world.until(lambda: world.condition(path).get("reason") == "SecretNotFound")
        if how == "shutdown":
            world.kube.change(path, shutdown="Cancel")
            await world.until_ended(path, "Cancelled")
        else:
            world.kube.delete(path)
            await world.until(lambda: path not in world.kube.objects, within=10)
    assert world.jobs() == {}


@looptime
async def test_a_node_that_is_left_out_is_not_said_to_wait_any_more(world: World) -> None:
    world.connect()

    def script(submitted: dict[str, Any]) -> Fate:
        return Fate(ends_after=20.0, exit_code=1) if "-bad-" in submitted["Name"] else Fate(ends_after=60.0)

    world.script = script
    async with world.operator():
        path = world.apply(reader(), node("bad"), node("good"), parameters=[TOKEN])
        await world.until(lambda: world.condition(path).get("reason") == "SecretNotFound")
        await world.until(lambda: world.condition(path).get("reason") == "Running")
        await world.until(lambda: world.status(path)["nodes"]["a"]["phase"] == "Omitted")
        assert world.status(path)["nodes"]["good"]["phase"] == "Running"
        await world.until_ended(path, "Failed")


@looptime
async def test_jobs_that_start_together_read_a_secret_once(world: World) -> None:
    world.connect()
    world.secret("login", token=VALUE)
    async with world.operator():
        path = world.apply(*(reader(f"n{number}") for number in range(50)), parameters=[TOKEN])
        await world.until_ended(path)
    assert len(world.kube.requested("GET", "/secrets/login")) == 1


@looptime
async def test_each_attempt_gets_the_value_of_its_time(world: World) -> None:
    world.connect()
    world.secret("login", token="before")
    world.script = lambda submitted: Fate(ends_after=2 * FRESH_SECONDS, exit_code=1)
    retry = {"limit": 1, "backoff": {"duration": "2s"}}
    async with world.operator():
        path = world.apply(reader(retry=retry), parameters=[TOKEN])
        await world.until(lambda: world.attempts() == [("a", 1)])
        world.secret("login", token="after")
        await world.until_ended(path, "Failed")
    assert tokens(world) == ["Bearer before", "Bearer after"]


@looptime
@pytest.mark.parametrize(("key", "taken"), [("token", True), ("other", False)])
async def test_a_result_is_taken_over_if_it_was_made_with_the_same_secret(
    world: World, key: str, taken: bool
) -> None:
    """Whatever the Secret's value is by now: that is not known, and a renewed password makes no other result."""
    world.connect()
    world.secret("login", token="before", other="another")
    async with world.operator():
        await world.until_ended(world.apply(reader(), name="first", parameters=[TOKEN]))
        world.secret("login", token="after", other="another")
        parameter = TOKEN | {"valueFrom": {"secretKeyRef": {"name": "login", "key": key}}}
        path = world.apply(reader(), name="second", parameters=[parameter], reuseFrom={"name": "first"})
        await world.until_ended(path)
    assert (world.attempts(path) == []) is taken


@looptime
async def test_items_of_a_fan_out_wait_and_go_on_together(world: World) -> None:
    world.connect()
    async with world.operator():
        fan_out = reader(forEach={"items": [1, 2, 3], "parallelism": 2})
        path = world.apply(fan_out, parameters=[TOKEN])
        await world.until(lambda: world.condition(path).get("reason") == "SecretNotFound")
        await asyncio.sleep(60)
        world.secret("login", token=VALUE)
        await world.until_ended(path)
    assert world.attempts(path) == [("a[0]", 1), ("a[1]", 1), ("a[2]", 1)]
    assert len(world.kube.requested("GET", "/secrets/login")) < 30


@looptime
@pytest.mark.parametrize("moment", moments(12), ids=str)
async def test_a_secret_that_changes_makes_no_other_job_of_an_attempt(world: World, moment: Any) -> None:
    """The Secret changes together with the death of the process."""
    world.connect()
    world.secret("login", token="before")
    wire = Wire(at=moment)
    path = world.apply(reader(), reader("b", after=["a"]), parameters=[TOKEN])
    async with world.operator(wire=wire):
        await world.until(lambda: wire.dead.is_set() or world.has_ended(path))
    world.secret("login", token="after")
    async with world.operator():
        await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1)]


@looptime
async def test_a_submission_in_doubt_is_repeated_with_the_same_bytes(world: World) -> None:
    """Should both arrive, the second must not be an update of the first."""
    world.connect()
    world.secret("login", token="before")
    world.bacalhau.fault(method="PUT", lose_request=True, times=5)
    async with world.operator():
        path = world.apply(reader(), parameters=[TOKEN])
        await world.until(lambda: any(method == "PUT" for method, _ in world.bacalhau.requests))
        world.secret("login", token="after")
        await world.until_ended(path)
    assert tokens(world) == ["Bearer before"]


@looptime
async def test_a_submission_that_arrives_late_is_not_updated_with_another_value(world: World) -> None:
    """The process dies while its submission is under way. It is not in the list yet that the next one reads."""
    world.connect()
    world.secret("login", token="before")
    world.bacalhau.fault(method="PUT", lose_request=True, times=1000)
    path = world.apply(reader(), parameters=[TOKEN])
    async with world.operator() as process:
        await world.until(lambda: any(method == "PUT" for method, _ in world.bacalhau.requests))
        await process.kill()
    sent = next(body for body in world.bacalhau.bodies if b"before" in body)
    world.kube.destroy(f"/api/v1/namespaces/{NAMESPACE}/secrets/login")
    world.bacalhau.faults.clear()
    async with world.operator():
        await world.until(lambda: world.condition(path).get("reason") == "SecretNotFound")
        await world.bacalhau.client().submit(json.loads(sent)["Job"])
        world.secret("login", token="after")
        await world.until_ended(path)
    assert world.attempts() == [("a", 1)]
    assert tokens(world) == ["Bearer before"]


@looptime
@pytest.mark.parametrize("status", [400, 500])
async def test_a_server_that_repeats_the_job_is_not_repeated(world: World, status: int) -> None:
    world.connect()
    world.secret("login", token=VALUE)
    echo = json.dumps(
        {"Message": f"cannot accept {json.dumps({'TOKEN': VALUE})} or {VALUE}", "Code": "BadRequest"}
    )
    world.bacalhau.fault(method="PUT", status=status, text=echo, times=1000)
    async with world.operator():
        path = world.apply(reader(), parameters=[TOKEN])
        await world.until(lambda: "cannot accept" in json.dumps(world.status(path)))
        await world.until(world.events)
        assert REDACTED in json.dumps(world.status(path), ensure_ascii=False)
        assert "p4ss" not in said_to_people(world)


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("s3cret-token", "refused: s3cret-token.", f"refused: {REDACTED}."),
        ("s3cret-token", "twice s3cret-token s3cret-token", f"twice {REDACTED} {REDACTED}"),
        ("s3cret-token", "cut off: s3cret-to", f"cut off: {REDACTED}"),
        ("s3cret-token", "something else", "something else"),
        ("x", "xyz", f"{REDACTED}yz"),
        ('a"b', 'quoted: "a\\"b"', f'quoted: "{REDACTED}"'),
        ("zwei\nZeilen", 'quoted: "zwei\\nZeilen"', f'quoted: "{REDACTED}"'),
        ("grün-und-blau", "ascii: gr\\u00fcn-und-blau", f"ascii: {REDACTED}"),
    ],
)
def test_values_are_taken_out_of_what_is_said(value: str, text: str, shown: str) -> None:
    assert str(Filled({}, (value,)).redacted(Refused(text))) == shown


@pytest.mark.parametrize("error", [Refused("x"), Unreachable("x")])
def test_an_error_stays_what_it_is(error: BacalhauError) -> None:
    assert type(Filled({}, ("secret",)).redacted(error)) is type(error)


def test_a_job_does_not_show_its_values() -> None:
    assert "secret" not in repr(Filled({"Env": "secret"}, ("secret",)))
