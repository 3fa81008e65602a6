"""The finalizer is added and removed without touching others', and goes only after the last status."""

import pytest

from controller.kube import finalizer
from controller.kube.errors import Conflict, Gone, Unavailable
from controller.kube.finalizer import FINALIZER
from controller.kube.status import StatusWriter
from controller.kube.stored import StoredObject
from tests.support.fake_kube import Body, FakeKube, Request

from .conftest import PATH

pytestmark = pytest.mark.looptime


def finalizers(kube: FakeKube) -> list[str]:
    held: list[str] = kube.objects[PATH]["metadata"].get("finalizers", [])
    return held


async def test_hold_adds_it_beside_others(kube: FakeKube, stored: StoredObject) -> None:
    stored.observe(kube.edit(PATH, {"metadata": {"finalizers": ["example.org/other"]}}))
    await finalizer.hold(stored)
    assert finalizers(kube) == ["example.org/other", FINALIZER]
    assert finalizer.is_held(stored)


async def test_hold_and_release_write_nothing_if_there_is_nothing_to_do(
    kube: FakeKube, stored: StoredObject
) -> None:
    await finalizer.release(stored)
    await finalizer.hold(stored)
    await finalizer.hold(stored)
    assert len(kube.requested("PATCH")) == 1


@pytest.mark.parametrize("held", [[], [FINALIZER]], ids=["new", "held already"])
async def test_hold_refuses_to_act_upon_a_copy_that_is_out_of_date(
    kube: FakeKube, stored: StoredObject, held: list[str]
) -> None:
    stored.observe(kube.edit(PATH, {"metadata": {"finalizers": held}}))
    kube.edit(PATH, {"status": {"phase": "Succeeded"}})
    with pytest.raises(Conflict):
        await finalizer.hold(stored)
    assert finalizers(kube) == held


async def test_release_removes_only_its_own(kube: FakeKube, stored: StoredObject) -> None:
    stored.observe(kube.edit(PATH, {"metadata": {"finalizers": [FINALIZER, "example.org/other"]}}))
    await finalizer.release(stored)
    assert finalizers(kube) == ["example.org/other"]
    assert not finalizer.is_held(stored)


async def test_a_conflict_is_read_again_and_keeps_what_others_wrote(
    kube: FakeKube, stored: StoredObject
) -> None:
    await finalizer.hold(stored)
    kube.edit(PATH, {"metadata": {"finalizers": ["example.org/other", FINALIZER]}})
    await finalizer.release(stored)
    assert finalizers(kube) == ["example.org/other"]


async def test_lasting_conflicts_are_given_up(kube: FakeKube, stored: StoredObject) -> None:
    def edit(request: Request) -> None:
        if request.method == "PATCH":
            kube.edit(PATH, {"spec": {"parallelism": len(kube.requests)}})

    stored.observe(kube.edit(PATH, {"metadata": {"finalizers": [FINALIZER]}}))
    kube.before = edit
    with pytest.raises(Conflict):
        await finalizer.release(stored)
    assert len(kube.requested("PATCH")) == 8


async def test_releasing_the_last_one_lets_a_deleted_object_go(kube: FakeKube, stored: StoredObject) -> None:
    await finalizer.hold(stored)
    kube.edit(PATH, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    await finalizer.release(stored)
    assert PATH not in kube.objects


async def test_hold_fails_and_release_is_content_if_the_object_is_gone(
    kube: FakeKube, stored: StoredObject
) -> None:
    await finalizer.hold(stored)
    del kube.objects[PATH]
    await finalizer.release(stored)
    stored.metadata = {**stored.metadata, "finalizers": []}
    with pytest.raises(Gone):
        await finalizer.hold(stored)


async def test_a_namesake_is_left_alone(kube: FakeKube, stored: StoredObject) -> None:
    await finalizer.hold(stored)
    kube.put(PATH, {"metadata": {"finalizers": [FINALIZER]}})
    await finalizer.release(stored)
    assert finalizers(kube) == [FINALIZER]


async def test_trouble_is_the_callers_to_retry(kube: FakeKube, stored: StoredObject) -> None:
    kube.down = True
    with pytest.raises(Unavailable):
        await finalizer.hold(stored)


async def test_status_and_finalizer_writes_do_not_get_in_each_others_way(
    kube: FakeKube, writer: StatusWriter, dag: Body
) -> None:
    kube.latency = 1
    for progress in ("1/3", "2/3", "3/3"):
        writer.update({"progress": progress}, urgent=True)
        await finalizer.hold(writer.stored)
        await finalizer.release(writer.stored)
    await writer.flush()
    assert kube.most_in_flight == 1
    assert kube.requested("GET") == []
    assert int(kube.objects[PATH]["metadata"]["resourceVersion"]) > int(dag["metadata"]["resourceVersion"])
