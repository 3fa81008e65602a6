"""The status writer: what it coalesces, when it writes, what it fences off, and when it gives up."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from controller.kube.budget import WriteBudget
from controller.kube.errors import Refused
from controller.kube.objects import ObjectRef, Objects
from controller.kube.status import Lost, StatusWriter
from controller.kube.stored import StoredObject
from tests.support.fake_kube import Body, Failure, FakeKube, Request

from .conftest import DAGS, PATH

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


def status(kube: FakeKube) -> Any:
    return kube.objects[PATH]["status"]


def patches(kube: FakeKube) -> list[Any]:
    return [request.body["status"] for request in kube.requested("PATCH", "/status")]


def times(kube: FakeKube) -> list[float]:
    return [round(request.time, 3) for request in kube.requested("PATCH", "/status")]


class TestWriting:
    async def test_a_write_is_a_fenced_merge_patch(
        self, kube: FakeKube, writer: StatusWriter, dag: Body
    ) -> None:
        writer.update({"nodes": {"a": {"phase": "Running"}}})
        await writer.flush()
        (request,) = kube.requests
        assert request.path == f"{PATH}/status"
        assert request.headers["Content-Type"] == "application/merge-patch+json"
        assert request.body == {
            "metadata": {
                "resourceVersion": dag["metadata"]["resourceVersion"],
                "uid": dag["metadata"]["uid"],
            },
            "status": {"nodes": {"a": {"phase": "Running"}}},
        }
        assert status(kube) == {"phase": "Running", "nodes": {"a": {"phase": "Running"}}}

    async def test_the_answer_is_asked_for_its_metadata_only(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        writer.update({"progress": "1/2"})
        await writer.flush()
        assert "as=PartialObjectMetadata" in kube.requests[0].headers["Accept"]

    async def test_each_write_builds_upon_the_one_before(self, kube: FakeKube, writer: StatusWriter) -> None:
        for progress in ("1/3", "2/3", "3/3"):
            writer.update({"progress": progress}, urgent=True)
            await writer.flush()
        assert len(kube.requests) == 3
        assert writer.resource_version == int(kube.objects[PATH]["metadata"]["resourceVersion"])

    async def test_deltas_of_one_moment_go_together(self, kube: FakeKube, writer: StatusWriter) -> None:
        writer.update({"nodes": {"a": {"phase": "Running"}}})
        writer.update({"nodes": {"a": {"phase": "Succeeded"}, "b": {"phase": "Running"}}})
        writer.update({"message": "half way"})
        await writer.flush()
        assert patches(kube) == [
            {"nodes": {"a": {"phase": "Succeeded"}, "b": {"phase": "Running"}}, "message": "half way"}
        ]

    async def test_only_what_differs_is_written(self, kube: FakeKube, writer: StatusWriter) -> None:
        writer.update({"phase": "Running", "progress": "1/2"})
        await writer.flush()
        writer.update({"phase": "Running", "progress": "2/2"})
        await writer.flush()
        assert patches(kube) == [{"progress": "1/2"}, {"progress": "2/2"}]

    async def test_nothing_is_written_if_nothing_differs(self, kube: FakeKube, writer: StatusWriter) -> None:
        written: list[str] = []
        writer.update({"phase": "Running"}, on_written=lambda: written.append("already"))
        await writer.flush()
        assert kube.requests == []
        assert written == ["already"]

    async def test_none_deletes(self, kube: FakeKube, writer: StatusWriter) -> None:
        writer.update({"message": "a", "nodes": {"a": {"phase": "Running"}}})
        await writer.flush()
        writer.update({"message": None, "nodes": {"a": None}})
        await writer.flush()
        assert status(kube) == {"phase": "Running", "nodes": {}}

    async def test_a_node_that_is_reset_before_it_is_written_keeps_nothing(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        writer.update({"nodes": {"a": {"phase": "Failed", "exitCode": 7}}})
        await writer.flush()
        writer.update({"nodes": {"a": None}})
        writer.update({"nodes": {"a": {"phase": "Pending"}}})
        await writer.flush()
        assert status(kube)["nodes"] == {"a": {"phase": "Pending"}}

    async def test_callbacks_come_after_the_write_that_carries_their_delta(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.latency = 1
        seen: list[tuple[str, float]] = []
        writer.update({"progress": "1/2"}, on_written=lambda: seen.append((status(kube)["progress"], now())))
        await asyncio.sleep(0.5)
        writer.update({"progress": "2/2"}, on_written=lambda: seen.append((status(kube)["progress"], now())))
        assert seen == []
        await writer.flush()
        assert seen == [("1/2", 1), ("2/2", 2)]

    async def test_a_callback_that_fails_does_no_harm(
        self, kube: FakeKube, writer: StatusWriter, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise ValueError("no")

        writer.update({"progress": "1/2"}, on_written=fail)
        await writer.flush()
        writer.update({"progress": "2/2"})
        await writer.flush()
        assert status(kube)["progress"] == "2/2"
        assert "A callback after a status write failed." in caplog.text


class TestPace:
    async def test_one_write_is_in_flight(self, kube: FakeKube, writer: StatusWriter) -> None:
        kube.latency = 1
        for number in range(20):
            writer.update({"progress": str(number)}, urgent=True)
            await asyncio.sleep(0.3)
        await writer.flush()
        assert kube.most_in_flight == 1
        assert status(kube)["progress"] == "19"

    async def test_the_next_write_waits_ten_times_as_long_as_the_last_one_took(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.latency = 2
        for number in range(100):
            writer.update({"progress": str(number)})
            await asyncio.sleep(1)
        assert times(kube) == [0, 22, 44, 66, 88]

    async def test_however_fast_the_server_there_is_a_pause(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        for number in range(10):
            writer.update({"progress": str(number)})
            await asyncio.sleep(0.04)
        assert times(kube) == [0, 0.1, 0.2, 0.3]

    async def test_what_is_urgent_goes_as_soon_as_the_one_in_flight_is_back(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.latency = 2
        writer.update({"progress": "1"})
        await asyncio.sleep(1)
        writer.update({"phase": "Failed"}, urgent=True)
        await asyncio.sleep(10)
        assert times(kube) == [0, 2]

    async def test_what_is_urgent_ends_a_pause_and_takes_along_what_waits(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.latency = 2
        writer.update({"progress": "1"})
        await asyncio.sleep(5)
        writer.update({"progress": "2"})
        await asyncio.sleep(5)
        writer.update({"phase": "Failed"}, urgent=True)
        await writer.flush()
        assert times(kube) == [0, 10]
        assert patches(kube)[1] == {"progress": "2", "phase": "Failed"}

    async def test_many_writers_share_a_budget(self, objects: Objects, kube: FakeKube, dag: Body) -> None:
        budget = WriteBudget(rate=10, burst=5)
        writers = []
        for number in range(25):
            body = kube.put(f"{PATH}-{number}", {"status": {}})
            ref = StoredObject(objects, _ref(body), body)
            writers.append(StatusWriter(ref, budget=budget))
        for writer in writers:
            writer.update({"progress": "1"})
        await asyncio.sleep(10)
        moments = [round(request.time, 1) for request in kube.requests]
        assert moments[:6] == [0, 0, 0, 0, 0, 0.1]
        assert moments[-1] == 2
        assert all(writer.idle for writer in writers)

    async def test_what_is_urgent_does_not_wait_for_the_budget(
        self, stored: StoredObject, kube: FakeKube
    ) -> None:
        budget = WriteBudget(rate=0.1, burst=1)
        writer = StatusWriter(stored, budget=budget)
        for _ in range(5):
            budget.reserve()
        writer.update({"phase": "Failed"}, urgent=True)
        await asyncio.sleep(0.1)
        assert times(kube) == [0]

    async def test_flush_does_not_wait_out_the_pause(self, kube: FakeKube, writer: StatusWriter) -> None:
        kube.latency = 2
        writer.update({"progress": "1"})
        await writer.flush()
        writer.update({"progress": "2"})
        await writer.flush()
        assert now() == 4

    async def test_when_idle_calls_once_all_is_written(self, kube: FakeKube, writer: StatusWriter) -> None:
        kube.latency = 2
        calls: list[float] = []
        writer.update({"progress": "1"})
        await writer.flush()
        writer.update({"progress": "2"})
        writer.when_idle(lambda: calls.append(now()))
        await asyncio.sleep(10)
        assert calls == [4]
        assert status(kube)["progress"] == "2"

    async def test_when_idle_calls_at_once_if_there_is_nothing_to_write(self, writer: StatusWriter) -> None:
        calls: list[float] = []
        writer.when_idle(lambda: calls.append(now()))
        await asyncio.sleep(1)
        assert calls == [0]

    async def test_flush_of_nothing_returns(self, writer: StatusWriter) -> None:
        await writer.flush()
        assert now() == 0


class TestStaleness:
    async def test_copies_from_before_the_own_write_are_stale(
        self, kube: FakeKube, writer: StatusWriter, dag: Body
    ) -> None:
        assert not writer.is_stale(dag)
        writer.update({"progress": "1/2"})
        await writer.flush()
        assert writer.is_stale(dag)
        assert not writer.is_stale(kube.objects[PATH])

    async def test_versions_are_compared_as_numbers(self, kube: FakeKube, objects: Objects) -> None:
        kube._version = 9998
        body = kube.put(f"{PATH}-2", {"status": {}})
        writer = StatusWriter(StoredObject(objects, _ref(body), body))
        writer.update({"progress": "1/2"})
        await writer.flush()
        assert writer.resource_version == 10000
        assert writer.is_stale(body)

    async def test_a_copy_from_the_watch_spares_a_conflict(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        writer.observe(kube.edit(PATH, {"spec": {"suspend": True}}))
        writer.update({"phase": "Suspended"})
        await writer.flush()
        assert len(kube.requests) == 1

    async def test_a_stale_copy_changes_nothing(
        self, kube: FakeKube, writer: StatusWriter, dag: Body
    ) -> None:
        writer.update({"progress": "1/2"})
        await writer.flush()
        writer.observe(dag)
        writer.update({"progress": "2/2"})
        await writer.flush()
        assert [request.method for request in kube.requests] == ["PATCH", "PATCH"]

    async def test_the_watch_may_be_faster_than_the_answer(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.lost_answers = 1
        writer.update({"progress": "1/2"})
        await asyncio.sleep(0.01)
        writer.observe(kube.objects[PATH])
        await writer.flush()
        assert len(kube.requests) == 1


class TestConflicts:
    async def test_after_a_conflict_the_own_delta_is_written_again(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.edit(PATH, {"spec": {"suspend": True}, "status": {"message": "theirs"}})
        written: list[float] = []
        writer.update({"progress": "1/2"}, on_written=lambda: written.append(now()))
        await writer.flush()
        assert [request.method for request in kube.requests] == ["PATCH", "GET", "PATCH"]
        assert status(kube) == {"phase": "Running", "message": "theirs", "progress": "1/2"}
        assert written == [0]

    async def test_what_is_handed_over_in_between_goes_along(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.latency = 1
        kube.edit(PATH, {"spec": {"suspend": True}})
        writer.update({"progress": "1/2", "message": "old"})
        await asyncio.sleep(1.5)
        writer.update({"message": "new"})
        await writer.flush()
        assert patches(kube)[-1] == {"progress": "1/2", "message": "new"}

    async def test_lasting_conflicts_slow_down_but_are_won_in_the_end(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        left = 6

        def edit(request: Request) -> None:
            nonlocal left
            if request.method == "PATCH" and left:
                left -= 1
                kube.edit(PATH, {"spec": {"parallelism": left}})

        kube.before = edit
        writer.update({"progress": "1/2"})
        await writer.flush()
        assert status(kube)["progress"] == "1/2"
        assert len(kube.requested("PATCH")) == 7
        assert times(kube)[:2] == [0, 0]
        assert now() > 1

    async def test_somebody_else_has_finished_it(self, kube: FakeKube, writer: StatusWriter) -> None:
        kube.edit(PATH, {"status": {"phase": "Cancelled"}})
        written: list[str] = []
        writer.update({"phase": "Succeeded"}, urgent=True, on_written=lambda: written.append("never"))
        await writer.flush()
        assert writer.lost is Lost.FINISHED
        assert status(kube)["phase"] == "Cancelled"
        writer.update({"phase": "Succeeded"})
        await writer.flush()
        assert len(kube.requested("PATCH")) == 1
        assert written == []

    async def test_an_own_last_write_whose_answer_got_lost_is_no_foreign_one(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.lost_answers = 1
        written: list[str] = []
        writer.update({"phase": "Succeeded"}, urgent=True, on_written=lambda: written.append("Succeeded"))
        await writer.flush()
        assert writer.lost is None
        assert written == ["Succeeded"]
        assert status(kube)["phase"] == "Succeeded"

    async def test_a_finished_object_can_be_taken_up_again_by_who_knows_that_it_is(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        writer.observe(kube.edit(PATH, {"status": {"phase": "Failed"}}))
        kube.edit(PATH, {"spec": {"retry": 1}})
        writer.update({"phase": "Running"})
        await writer.flush()
        assert status(kube)["phase"] == "Running"

    async def test_the_object_is_gone(self, kube: FakeKube, writer: StatusWriter) -> None:
        del kube.objects[PATH]
        writer.update({"phase": "Succeeded"})
        await writer.flush()
        assert writer.lost is Lost.GONE

    async def test_another_object_has_its_name(self, kube: FakeKube, writer: StatusWriter) -> None:
        kube.put(PATH, {"status": {}})
        writer.update({"phase": "Succeeded"})
        await writer.flush()
        assert writer.lost is Lost.REPLACED
        assert status(kube) == {}

    async def test_the_watch_shows_another_object(self, kube: FakeKube, writer: StatusWriter) -> None:
        writer.observe(kube.put(PATH, {"status": {}}))
        assert writer.lost is Lost.REPLACED

    async def test_a_sealed_process_does_not_write(
        self, kube: FakeKube, objects: Objects, writer: StatusWriter
    ) -> None:
        objects.seal()
        writer.update({"phase": "Succeeded"})
        await writer.flush()
        assert writer.lost is Lost.FENCED
        assert kube.requests == []


class TestTrouble:
    async def test_while_the_server_is_down_deltas_are_kept_and_merged(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.down = True
        for number in range(60):
            writer.update(
                {"progress": str(number), "nodes": {f"n{number}": {"phase": "Succeeded"}}}, urgent=True
            )
            await asyncio.sleep(10)
        assert len(kube.requests) < 60
        kube.down = False
        await writer.flush()
        assert status(kube)["progress"] == "59"
        assert len(status(kube)["nodes"]) == 60
        assert (
            patches(kube)[-1] == status(kube) | {"phase": "Running"} or len(patches(kube)[-1]["nodes"]) == 60
        )

    async def test_retry_after_is_kept(self, kube: FakeKube, writer: StatusWriter) -> None:
        kube.failures = [Failure(429, "too many requests", headers={"Retry-After": "7"})]
        writer.update({"progress": "1"})
        await writer.flush()
        assert times(kube) == [0, 7]

    @pytest.mark.parametrize("code", [401, 403, 500, 503])
    async def test_passing_failures_are_tried_again(
        self, kube: FakeKube, writer: StatusWriter, code: int
    ) -> None:
        kube.failures = [Failure(code, "not now")] * 3
        writer.update({"progress": "1"})
        await writer.flush()
        assert status(kube)["progress"] == "1"
        assert len(kube.requests) == 4

    async def test_a_server_that_does_not_answer_is_not_waited_for_without_end(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.latency = 10_000
        writer.update({"progress": "1"})
        await asyncio.sleep(100)
        kube.latency = 0
        await writer.flush()
        assert status(kube)["progress"] == "1"

    async def test_flush_can_be_given_up_without_losing_anything(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.down = True
        writer.update({"progress": "1"})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await writer.flush()
        kube.down = False
        await asyncio.sleep(60)
        assert status(kube)["progress"] == "1"

    async def test_a_writer_whose_task_was_cancelled_resumes_with_the_next_call(
        self, kube: FakeKube, writer: StatusWriter
    ) -> None:
        kube.latency = 5
        writer.update({"progress": "1"})
        await asyncio.sleep(1)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await writer.flush()
        assert status(kube)["progress"] == "1"

    async def test_close_stops_at_once(self, kube: FakeKube, writer: StatusWriter) -> None:
        kube.latency = 5
        writer.update({"progress": "1"})
        await asyncio.sleep(1)
        await writer.close()
        writer.update({"progress": "2"})
        await asyncio.sleep(60)
        assert now() == 61
        assert len(kube.requests) == 1
        assert writer.idle

    async def test_something_unforeseen_is_logged_and_tried_again(
        self, kube: FakeKube, writer: StatusWriter, caplog: pytest.LogCaptureFixture
    ) -> None:
        def stumble(request: Request) -> None:
            kube.before = None
            raise LookupError("a bug")

        kube.before = stumble
        writer.update({"progress": "1"})
        await writer.flush()
        assert status(kube)["progress"] == "1"
        assert "unforeseen" in caplog.text


class TestRefusal:
    @pytest.fixture
    def refusals(self) -> list[Refused]:
        return []

    @pytest.fixture
    def writer(self, stored: StoredObject, refusals: list[Refused]) -> StatusWriter:
        def note(error: Refused) -> Mapping[str, Any]:
            refusals.append(error)
            return {"conditions": [{"type": "Stalled", "status": "True"}]}

        return StatusWriter(stored, on_refused=note)

    async def test_an_object_that_is_too_large_keeps_its_last_good_details_and_goes_on_without(
        self, kube: FakeKube, writer: StatusWriter, refusals: list[Refused], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.ERROR)
        kube.size_limit = 2000
        written: list[str] = []
        writer.update({"nodes": {"a": {"phase": "Succeeded"}}, "progress": "1/3"})
        await writer.flush()
        writer.update(
            {"nodes": {"b": {"message": "x" * 3000}}, "progress": "2/3"},
            on_written=lambda: written.append("2/3"),
        )
        await writer.flush()
        writer.update({"nodes": {"c": {"phase": "Failed"}}, "phase": "Failed"}, urgent=True)
        await writer.flush()
        assert status(kube) == {
            "phase": "Failed",
            "progress": "2/3",
            "nodes": {"a": {"phase": "Succeeded"}},
            "conditions": [{"type": "Stalled", "status": "True"}],
        }
        assert written == ["2/3"]
        assert [error.too_large for error in refusals] == [True]
        assert str(refusals[0]) == "etcdserver: request is too large"
        assert len(kube.requests) == 4
        assert len(caplog.records) == 1

    async def test_without_room_for_anything_it_does_not_loop(
        self, kube: FakeKube, writer: StatusWriter, refusals: list[Refused]
    ) -> None:
        kube.size_limit = 10
        writer.update({"nodes": {"b": {}}, "progress": "2/3"})
        await writer.flush()
        await asyncio.sleep(1000)
        assert len(kube.requests) == 2
        assert len(refusals) == 1
        assert writer.idle

    @pytest.mark.parametrize(
        ("code", "message", "too_large"),
        [
            (413, "Request entity too large: limit is 3145728", True),
            (500, "etcdserver: request is too large", True),
            (500, "rpc error: trying to send message larger than max (2100000 vs. 2097152)", True),
            (422, "status.message: Too long: may not be more than 10 bytes", True),
            (422, "status.phase: Unsupported value", False),
            (400, "unknown field", False),
        ],
    )
    async def test_which_answers_are_final(
        self,
        kube: FakeKube,
        writer: StatusWriter,
        refusals: list[Refused],
        code: int,
        message: str,
        too_large: bool,
    ) -> None:
        kube.failures = [Failure(code, message)]
        writer.update({"progress": "1"})
        await writer.flush()
        assert [(str(error), error.too_large) for error in refusals] == [(message, too_large)]
        assert len(kube.requests) == 2


def _ref(body: Body) -> ObjectRef:

    return ObjectRef.of(DAGS, body)
