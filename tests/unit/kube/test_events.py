"""Events read well, come in order, count up instead of flooding, and never hold anybody up."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.kube.events import EventRecorder
from controller.kube.objects import ObjectRef
from tests.support.fake_kube import Failure, FakeKube

from .conftest import DAGS

pytestmark = pytest.mark.looptime

ABOUT = ObjectRef(DAGS, "default", "word-count", uid="2f1c")
EVENTS = "/api/v1/namespaces/default/events"


@pytest.fixture
async def recorder(kube: FakeKube) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(kube.client(), instance="operator-7d9f")
    task = asyncio.create_task(recorder.run())
    yield recorder
    task.cancel()
    await asyncio.wait({task})


def stored(kube: FakeKube) -> list[Any]:
    return [kube.objects[path] for path in sorted(kube.objects)]


def emit(
    recorder: EventRecorder, message: str, reason: str = "NodeSucceeded", about: ObjectRef = ABOUT
) -> None:
    recorder.emit(about, type="Normal", reason=reason, message=message)


async def test_an_event_says_who_what_and_when(kube: FakeKube, recorder: EventRecorder) -> None:
    recorder.emit(ABOUT, type="Warning", reason="NodeFailed", message='node "count": exit code 7.')
    await recorder.flush()
    (event,) = stored(kube)
    assert event["involvedObject"] == {
        "apiVersion": "bacalhau.org/v1alpha1",
        "kind": "BacalhauDAG",
        "namespace": "default",
        "name": "word-count",
        "uid": "2f1c",
    }
    assert (event["type"], event["reason"], event["message"]) == (
        "Warning",
        "NodeFailed",
        'node "count": exit code 7.',
    )
    assert event["source"] == {"component": "bacalhau-dag-operator"}
    assert event["reportingComponent"] == "bacalhau-dag-operator"
    assert event["reportingInstance"] == "operator-7d9f"
    assert event["count"] == 1
    assert event["firstTimestamp"] == event["lastTimestamp"]
    assert event["metadata"]["name"].startswith("word-count.")
    assert kube.requests[0].path == EVENTS


async def test_their_order_is_that_in_which_they_happened(kube: FakeKube, recorder: EventRecorder) -> None:
    for number in range(5):
        emit(recorder, f"node {number}")
    await recorder.flush()
    assert [event["message"] for event in stored(kube)] == [f"node {number}" for number in range(5)]


async def test_emitting_works_from_any_task_and_does_not_wait(
    kube: FakeKube, recorder: EventRecorder
) -> None:
    kube.latency = 5

    async def elsewhere() -> None:
        emit(recorder, "from elsewhere")

    await asyncio.create_task(elsewhere())
    assert asyncio.get_running_loop().time() == 0
    await recorder.flush()
    assert len(stored(kube)) == 1


async def test_the_same_again_counts_up(kube: FakeKube, recorder: EventRecorder) -> None:
    for _ in range(100):
        emit(recorder, "retrying")
        await asyncio.sleep(1)
    await asyncio.sleep(20)
    (event,) = stored(kube)
    assert event["count"] == 100
    assert len(kube.requests) <= 12


async def test_after_a_while_the_same_is_news_again(kube: FakeKube, recorder: EventRecorder) -> None:
    emit(recorder, "retrying")
    await asyncio.sleep(700)
    emit(recorder, "retrying")
    await recorder.flush()
    assert [event["count"] for event in stored(kube)] == [1, 1]


async def test_similar_ones_share_one_and_hide_no_other_reason(
    kube: FakeKube, recorder: EventRecorder
) -> None:
    for number in range(500):
        emit(recorder, f"node {number}")
    emit(recorder, "DAG succeeded.", reason="Succeeded")
    await asyncio.sleep(60)
    events = stored(kube)
    assert len(events) == 12
    assert [event["message"] for event in events[:10]] == [f"node {number}" for number in range(10)]
    combined = next(event for event in events if event["count"] > 1)
    assert combined["message"] == "(combined from similar events): node 499"
    assert combined["count"] == 490
    assert [event["message"] for event in events if event["reason"] == "Succeeded"] == ["DAG succeeded."]
    assert len(kube.requests) < 20


async def test_objects_do_not_share(kube: FakeKube, recorder: EventRecorder) -> None:
    emit(recorder, "started")
    emit(recorder, "started", about=ObjectRef(DAGS, "default", "word-count", uid="another"))
    await recorder.flush()
    assert [event["count"] for event in stored(kube)] == [1, 1]


async def test_an_event_that_the_server_forgot_is_created_again(
    kube: FakeKube, recorder: EventRecorder
) -> None:
    emit(recorder, "retrying")
    await recorder.flush()
    kube.objects.clear()
    emit(recorder, "retrying")
    await asyncio.sleep(30)
    assert [event["count"] for event in stored(kube)] == [2]


async def test_an_answer_that_got_lost_makes_no_second_event(kube: FakeKube, recorder: EventRecorder) -> None:
    kube.lost_answers = 1
    emit(recorder, "started")
    await recorder.flush()
    assert len(stored(kube)) == 1


async def test_trouble_is_waited_out(kube: FakeKube, recorder: EventRecorder) -> None:
    kube.down = True
    emit(recorder, "started")
    await asyncio.sleep(10)
    kube.down = False
    await recorder.flush()
    assert len(stored(kube)) == 1


async def test_what_cannot_be_posted_is_dropped_with_a_word(
    kube: FakeKube, recorder: EventRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    kube.failures = [Failure(403, "the namespace is being terminated")]
    emit(recorder, "started")
    emit(recorder, "finished")
    await recorder.flush()
    assert [event["message"] for event in stored(kube)] == ["finished"]
    assert "the namespace is being terminated" in caplog.text
    assert asyncio.get_running_loop().time() == 0


async def test_too_many_are_dropped_with_few_words(
    kube: FakeKube, recorder: EventRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    kube.latency = 1
    for number in range(1500):
        emit(recorder, "started", about=ObjectRef(DAGS, "default", f"dag-{number}", uid=str(number)))
    assert len(caplog.records) == 5
    await recorder.flush()
    assert len(stored(kube)) == 1000


async def test_long_texts_are_cut(kube: FakeKube, recorder: EventRecorder) -> None:
    emit(recorder, "x" * 5000, about=ObjectRef(DAGS, "default", "d" * 253, uid="long"))
    await recorder.flush()
    (event,) = stored(kube)
    assert len(event["message"]) == 1024
    assert len(event["metadata"]["name"]) <= 253
