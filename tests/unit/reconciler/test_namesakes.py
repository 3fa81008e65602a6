"""A DAG that goes, and another one that takes its name, at any moment of the first one's work."""

from typing import Any

import pytest

from controller.engine.identity import UID_LABEL
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import Moment, Process, Wire, World, dag_path, moments

pytestmark = pytest.mark.looptime

PATH = dag_path("count")


class Story:
    """What happens to the object of that name."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.first = ""

    def begin(self) -> None:
        """Create the first DAG, whose job takes as long as it is let."""
        self.world.connect()
        self.world.apply(node("old"))
        self.first = self.uid
        self.world.script = self._fate

    @property
    def uid(self) -> str:
        """The UID of the object that has the name now."""
        return str(self.world.kube.objects[PATH]["metadata"]["uid"])

    def replace(self) -> None:
        """Remove the object, whatever holds it, and create another one."""
        self.world.kube.destroy(PATH)
        self.world.apply(node("new"))

    def _fate(self, job: dict[str, Any]) -> Fate:
        return Fate(ends_after=None) if job["Meta"][UID_LABEL] == self.first else Fate()


@pytest.fixture
def story(world: World) -> Story:
    return Story(world)


@pytest.mark.parametrize("lag", [0.0, 0.3])
@pytest.mark.parametrize("moment", moments(12), ids=str)
async def test_another_dag_takes_the_name_while_the_first_runs(
    world: World, story: Story, moment: Moment, lag: float
) -> None:
    world.kube.lag = lag
    story.begin()
    wire = Wire(at=moment, then=story.replace)
    async with world.operator(wire=wire):
        await world.until(lambda: wire.has_come)
        await world.until_ended(PATH)
        assert world.attempts(PATH) == [("new", 1)]
    assert wire.has_come


@pytest.mark.parametrize("moment", moments(8), ids=str)
async def test_another_dag_takes_the_name_while_the_first_is_deleted(
    world: World, story: Story, moment: Moment
) -> None:
    story.begin()
    process = Process(world)
    process.start()
    await world.until(lambda: world.jobs())
    process.wire.plan((process.wire.requests + moment[0], moment[1]), story.replace)
    world.kube.delete(PATH)
    await world.until(lambda: PATH not in world.kube.objects or story.uid != story.first)
    if PATH not in world.kube.objects:
        world.apply(node("new"))
    await world.until_ended(PATH)
    assert world.attempts(PATH) == [("new", 1)]
    await process.stop()


@pytest.mark.parametrize("moment", moments(6), ids=str)
async def test_another_dag_takes_the_name_of_one_that_is_rejected(
    world: World, story: Story, moment: Moment
) -> None:
    story.begin()
    world.kube.change(PATH, nodes=[node("old", after=["old"])])
    async with world.operator(wire=Wire(at=moment, then=story.replace)) as process:
        await world.until(lambda: process.wire.has_come or world.phase(PATH) == "Error")
        if not process.wire.has_come:
            story.replace()
        await world.until_ended(PATH)
    assert world.attempts() == [("new", 1)]


async def test_jobs_of_a_dag_that_was_deleted_are_stopped_before_another_one_runs(
    world: World, story: Story
) -> None:
    story.begin()
    async with world.operator():
        await world.until(lambda: world.jobs())
        world.kube.delete(PATH)
        await world.until(lambda: PATH not in world.kube.objects)
        assert set(world.jobs().values()) == {"Stopped"}
        world.apply(node("new"))
        await world.until_ended(PATH)
    assert sorted(world.jobs().values()) == ["Completed", "Stopped"]


async def test_late_news_of_the_first_do_not_harm_the_second(world: World, story: Story) -> None:
    story.begin()
    async with world.operator() as process:
        await world.until(lambda: world.jobs())
        old = dict(world.kube.objects[PATH])
        story.replace()
        await world.until(lambda: world.phase(PATH) == "Running")
        process.notice(PATH, old, False)
        process.notice(PATH, old, True)
        await world.until_ended(PATH)
    assert world.attempts(PATH) == [("new", 1)]
