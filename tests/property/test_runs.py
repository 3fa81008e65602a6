"""Whatever happens to a run, in whatever order, and however often its controller loses its memory.

The machine draws a graph, what becomes of each attempt, and then a sequence of events: effects carried out or lost, jobs that make
progress, observations that arrive late, twice or out of order, crashes that leave an old status or none. ``World`` checks the rules with
every step; at the end the run must end, and any status it ever wrote must lead to the same end.
"""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from typing_extensions import override

from controller.api.dag import DAGSpec, FailurePolicy, NodePhase
from controller.engine import Run
from tests.support.builders import Json, dag, node
from tests.support.simulation import Fate, World

pytestmark = pytest.mark.timeout(3600)  # the thorough profile takes its time

MAX_NODES = 6

edges = st.sampled_from([None, None, "after", "inputs", "reads", "reads"])
positions = st.integers(0, 99)


@st.composite
def dags(draw: st.DrawFn, *, some_invalid: bool) -> DAGSpec:
    """A graph of a few nodes, with edges of each kind, in an order of its own; perhaps some have a job that cannot be rendered."""
    count = draw(st.integers(1, MAX_NODES))
    documents: list[Json] = []
    for number in range(count):
        kinds: dict[str, list[str]] = {"after": [], "inputs": [], "reads": []}
        for producer in range(number):
            if kind := draw(edges):
                kinds[kind].append(f"n{producer}")
        document = node(f"n{number}", **kinds)
        if some_invalid and draw(st.integers(0, 9)) == 9:
            document["job"] = {"Type": "service"}
        documents.append(document)
    policy = draw(st.sampled_from(FailurePolicy))
    return dag(*draw(st.permutations(documents)), failurePolicy=policy)


class Runs(RuleBasedStateMachine):
    """A world in which anything may happen. Bacalhau cannot tell of all of it, so that no status may be lost."""

    world: World
    traceable = False

    @initialize(data=st.data(), parallelism=st.none() | st.integers(1, 3))
    def begin(self, data: st.DataObject, parallelism: int | None) -> None:
        spec = data.draw(dags(some_invalid=not self.traceable))
        possible = [fate for fate in Fate if fate.leaves_a_trace or not self.traceable]
        often = [Fate.SUCCEEDS, Fate.BREAKS, Fate.STUCK_BROKEN] * 3
        fates = st.lists(st.sampled_from(often + possible), max_size=3)
        planned = {item.name: data.draw(fates) for item in spec.nodes}
        self.world = World(spec, fates=planned, parallelism=parallelism)

    @rule(position=positions)
    @precondition(lambda self: self.world.effects)
    def an_effect_is_carried_out(self, position: int) -> None:
        self.world.perform(pick(self.world.effects, position))

    @rule(position=positions)
    @precondition(lambda self: self.world.bacalhau.unfinished)
    def a_job_makes_progress(self, position: int) -> None:
        self.world.now += 1
        self.world.bacalhau.progress(pick(self.world.bacalhau.unfinished, position), self.world.now)

    @rule(rounds=st.integers(1, 3))
    def all_goes_on_for_a_while(self, rounds: int) -> None:
        for _ in range(rounds):
            self.world.settle()
            self.world.let_jobs_progress()

    @rule(position=positions)
    def a_job_is_looked_at(self, position: int) -> None:
        self.world.look(pick(list(self.world.graph.index), position))

    @rule(data=st.data())
    @precondition(lambda self: self.world.inbox)
    def observations_arrive(self, data: st.DataObject) -> None:
        """Some of them, in any order; those that stay may arrive again."""
        inbox = self.world.inbox
        chosen = data.draw(st.lists(st.integers(0, len(inbox) - 1), min_size=1, max_size=4))
        if data.draw(st.booleans()):
            self.world.inbox = [item for index, item in enumerate(inbox) if index not in chosen]
        self.world.advance([inbox[index] for index in chosen])

    @rule(seconds=st.sampled_from([1, 20, 400]))
    def time_passes(self, seconds: int) -> None:
        self.world.now += seconds
        self.world.advance(())

    @rule()
    def the_user_suspends_or_resumes(self) -> None:
        self.world.suspend = not self.world.suspend
        self.world.advance(())

    @rule(ask=positions)
    def the_dag_is_deleted(self, ask: int) -> None:
        if ask == 0:
            self.world.cancel = True
            self.world.advance(())

    @rule(age=st.integers(0, 9), carried_out=st.integers(0, 3))
    def the_controller_crashes(self, age: int, carried_out: int) -> None:
        """Some effects took place without an answer, and the status may be an old one."""
        for effect in self.world.effects[:carried_out]:
            self.world.perform(effect, answered=False)
        history = self.world.history
        self.world.crash(history[max(0, len(history) - 1 - age)] if self.traceable else history[-1])

    @override
    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.finish()


class TraceableRuns(Runs):
    """Runs of which Bacalhau knows all: their status may be old or lost at any time."""

    traceable = True

    @rule()
    def the_status_is_lost(self) -> None:
        self.world.crash({})

    @rule()
    def every_status_leads_to_this_one(self) -> None:
        self.world.settle()
        for status in self.world.history:
            assert known(self.world.rebuilt(status)) == known(self.world.run)

    @override
    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "world"):
            self.every_status_leads_to_this_one()


def known(run: Run) -> tuple[Any, ...]:
    """What a run knows, but for why nodes were left out: whoever sees two failures at once may name the other one."""
    return run.phase, [_known(run, item.name) for item in run.graph.nodes]


def _known(run: Run, name: str) -> tuple[Any, ...]:
    status = run.node(name).to_status()
    is_omitted = status.phase is NodePhase.OMITTED
    return name, status.model_copy(update={"reason": None, "message": None} if is_omitted else {})


def pick(items: list[Any], position: int) -> Any:
    """An item by a number of any size."""
    return items[position % len(items)]


TestRuns = Runs.TestCase
TestTraceableRuns = TraceableRuns.TestCase
