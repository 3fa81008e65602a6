"""When a run is reported: often enough to be watched, not as often as something happens."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.engine import Reporter
from controller.engine.identity import NODE_LABEL
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import World

pytestmark = pytest.mark.looptime


@pytest.fixture
def note_reports(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have a function called with every report."""

    def apply(note: Callable[[], None]) -> None:
        delta = Reporter.delta

        def noted(self: Reporter, **arguments: Any) -> dict[str, Any]:
            note()
            return delta(self, **arguments)

        monkeypatch.setattr(Reporter, "delta", noted)

    return apply


async def test_a_wide_run_costs_far_fewer_reports_than_jobs(
    world: World, note_reports: Callable[[Callable[[], None]], None]
) -> None:
    reports: list[None] = []
    note_reports(lambda: reports.append(None))
    world.connect()
    world.script = lambda job: Fate(ends_after=int(job["Meta"][NODE_LABEL][1:]) / 100)
    async with world.operator():
        status = await world.until_ended(world.apply(*(node(f"n{number}") for number in range(100))))
    assert status["progress"] == "100/100"
    assert len(reports) < 20


async def test_a_submission_does_not_wait_for_the_report(
    world: World, note_reports: Callable[[Callable[[], None]], None]
) -> None:
    order: list[str] = []
    note_reports(lambda: order.append("report"))
    world.connect()

    def submitted(job: dict[str, Any]) -> Fate:
        order.append(job["Meta"][NODE_LABEL])
        return Fate()

    world.script = submitted
    async with world.operator():
        await world.until_ended(world.apply(node("a"), node("b", after=["a"])))
    assert order[0] == "a"
    assert order[-1] == "report"
