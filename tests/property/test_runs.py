"""Whatever happens to a run, in whatever order, and however often its controller loses its memory.

The machine draws a graph, what becomes of each attempt, and then a sequence of events: effects carried out or lost, jobs that make
progress, observations that arrive late, twice or out of order, crashes that leave an old status or none. ``World`` checks the rules with
every step; at the end the run must end, and any status it ever wrote must lead to the same end.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from typing_extensions import override

from controller.api.dag import DAGSpec, FailurePolicy, Shutdown
from controller.api.node import Node, RetryPolicy
from controller.api.status import NodePhase
from controller.engine import Run
from tests.support.builders import Json, dag, node
from tests.support.fan_out_rules import item_job, parent_of
from tests.support.simulation import LEFT_OUT, Fate, World

pytestmark = pytest.mark.timeout(3600)  # the thorough profile takes its time

MAX_NODES = 5

Nodes = dict[str, Json]
Fates = dict[str, list[Fate]]

edges = st.sampled_from([None, None, "after", "inputs", "reads", "reads"])
results = st.sampled_from(["", ".Succeeded", ".Failed", ".Errored", ".Skipped", ".Omitted", ".Cancelled"])
results_of_items = st.sampled_from([".AnySucceeded", ".AllFailed", "", ".Failed", ".Skipped"])
backoffs = st.none() | st.fixed_dictionaries(
    {"duration": st.sampled_from(["0s", "5s", "1m"]), "factor": st.sampled_from([1, 1.5, 3])},
    optional={"cap": st.just("90s"), "jitter": st.just(0), "maxDuration": st.just("100s")},
)
retries = st.fixed_dictionaries(
    {"limit": st.integers(0, 2), "policy": st.sampled_from(RetryPolicy), "backoff": backoffs},
    optional={
        "errorLimit": st.integers(0, 2),
        "condition": st.sampled_from(["last.attempt < 2", "last.exitCode == 3", 'last.phase == "Error"']),
    },
)
node_rules = st.fixed_dictionaries(
    {},
    optional={
        "retry": retries,
        "continueOnFailure": st.booleans(),
        "timeout": st.sampled_from(["15s", "1h"]),
        "totalTimeout": st.sampled_from(["50s", "1h"]),
    },
)
bounds = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "dag": st.sampled_from(["100s", "1h"]),
        "nodes": st.sampled_from(["60s", "30m"]),
        "finally": st.sampled_from(["30s", "90s"]),
    },
)
positions = st.integers(0, 99)
often = [Fate.SUCCEEDS, Fate.EXITS, Fate.BREAKS, Fate.STUCK_BROKEN] * 3
fates = st.lists(st.sampled_from([*often, *Fate]), max_size=3)
few = st.integers(1, 3)
traceable_fates = st.lists(
    st.sampled_from([*often, *(fate for fate in Fate if fate.leaves_a_trace)]), max_size=3
)


@st.composite
def logic(draw: st.DrawFn, before: Nodes) -> str:
    """A ``depends`` over some of these nodes."""
    terms = st.sampled_from(list(before)).flatmap(
        lambda name: (results_of_items if "forEach" in before[name] else results).map(lambda end: name + end)
    )
    text = draw(terms)
    for term in draw(st.lists(terms, max_size=3)):
        operator = draw(st.sampled_from(["&&", "||"]))
        text = f"{text} {operator} {draw(st.sampled_from(['', '!']))}{term}"
        text = f"{draw(st.sampled_from(['', '!']))}({text})" if draw(st.booleans()) else text
    return text


@st.composite
def conditions(draw: st.DrawFn, before: Nodes, *, some_invalid: bool) -> str:
    """A ``when``, which may have no answer if what it reads is absent."""
    if not before or draw(st.booleans()):
        return draw(st.sampled_from(["true", "false"]))
    name = draw(st.sampled_from(list(before)))
    read = f"nodes.{name}.total > 1" if "forEach" in before[name] else f"nodes.{name}.exitCode == 0"
    choices = [read, f'nodes.{name}.phase == "Failed"']
    return draw(st.sampled_from([*choices, f"nodes.{name}.json.size() > 1"] if some_invalid else choices))


@st.composite
def lists(draw: st.DrawFn, before: Nodes, *, some_invalid: bool) -> Json:
    """What makes the items of a fan-out: a list, a count, what a node printed, or what lies in its result."""
    kind = draw(st.sampled_from(["items", "range", "json", "files"] if before else ["items", "range"]))
    if kind == "items":
        return {"items": draw(st.lists(st.sampled_from(["x", 1, None, {"a": [2]}]), max_size=3))}
    if kind == "range":
        return {"range": {"count": draw(few)}}
    name = draw(st.sampled_from(list(before)))
    if kind == "json" or "forEach" in before[name]:
        value = f"nodes.{name}.json"
        return {
            "items": f"${{{{ {value} }}}}" if some_invalid else f"${{{{ {value} == null ? [] : {value} }}}}"
        }
    value = f"nodes.{name}.outputs.files" if some_invalid else f"nodes.{name}.?outputs.?files.orValue([])"
    return {"items": f"${{{{ {value} }}}}"}


@st.composite
def fan_outs(draw: st.DrawFn, before: Nodes, *, some_invalid: bool) -> Json:
    """A ``forEach`` with rules of its own."""
    for_each: Json = draw(lists(before, some_invalid=some_invalid))
    if draw(st.booleans()):
        for_each["parallelism"] = draw(few)
    if draw(st.integers(0, 2)) == 0:
        for_each["minSucceeded"] = draw(st.integers(1, _size(for_each) or 3))
    return for_each


def _size(for_each: Json) -> int | None:
    """How many items there are, if that is known beforehand."""
    if "range" in for_each:
        return int(for_each["range"]["count"])
    return len(for_each["items"]) if isinstance(for_each["items"], list) else None


@st.composite
def nodes(draw: st.DrawFn, name: str, before: Nodes, *, some_invalid: bool) -> Json:
    """A node after some of those before it; perhaps its job cannot be rendered."""
    kinds = {producer: draw(edges) for producer in before}
    after, reads = ([name for name in before if kinds[name] == kind] for kind in ("after", "reads"))
    inputs = [
        {"from": producer, "optional": not some_invalid or draw(st.booleans())}
        for producer in before
        if kinds[producer] == "inputs"
    ]
    more = draw(node_rules)
    if before and draw(st.integers(0, 2)) == 0:
        after = []
        more["depends"] = draw(logic(before))
    if draw(st.integers(0, 3)) == 0:
        more["when"] = draw(conditions(before, some_invalid=some_invalid))
    document = node(name, after=after, inputs=inputs, reads=reads, **more)
    if draw(st.integers(0, 2)) == 0:
        document |= draw(of_items(document, before, some_invalid=some_invalid))
    if some_invalid and draw(st.integers(0, 9)) == 9:
        document["job"]["Type"] = "service"
    return document


@st.composite
def of_items(draw: st.DrawFn, document: Json, before: Nodes, *, some_invalid: bool) -> Json:
    """What makes a node a fan-out."""
    task = document["job"]["Tasks"][0]
    more: Json = {"forEach": draw(fan_outs(before, some_invalid=some_invalid))}
    more["job"] = {"Type": "batch", "Tasks": [item_job()["Tasks"][0] | {"Engine": task["Engine"]}]}
    if draw(st.integers(0, 3)) == 0:
        more["when"] = draw(st.sampled_from(["index != 1", "index > 2", "index == 0 && item != null"]))
    return more


@st.composite
def last_nodes(draw: st.DrawFn, name: str, before: Nodes, *, some_invalid: bool) -> Json:
    """A node of ``finally``, whose job is told how the run went."""
    document = draw(nodes(name, before, some_invalid=some_invalid))
    task = document["job"]["Tasks"][0]
    task["Env"] = task.get("Env", {}) | {"PHASE": "${{ run.phase }}", "MESSAGE": "${{ run.message }}"}
    return document


@st.composite
def dags(draw: st.DrawFn, *, some_invalid: bool, policy: FailurePolicy | None = None) -> DAGSpec:
    """A graph of a few nodes, with edges and rules of each kind, in an order of its own."""
    main: Nodes = {}
    for number in range(draw(st.integers(1, MAX_NODES))):
        main[f"n{number}"] = draw(nodes(f"n{number}", main, some_invalid=some_invalid))
    last = [
        draw(last_nodes(f"last{number}", main, some_invalid=some_invalid))
        for number in range(draw(st.integers(0, 2)))
    ]
    return dag(
        *draw(st.permutations(list(main.values()))),
        failurePolicy=policy or draw(st.sampled_from(FailurePolicy)),
        timeouts=draw(bounds) if some_invalid else None,
        **{"finally": last},
    )


@st.composite
def planned_fates(draw: st.DrawFn, spec: DAGSpec, possible: st.SearchStrategy[list[Fate]]) -> Fates:
    """What becomes of the attempts of each node, and of each item."""
    planned: Fates = {}
    for item in (*spec.nodes, *spec.finally_):
        if item.for_each is None:
            planned[item.name] = draw(possible)
            continue
        for number, plan in enumerate(draw(st.lists(possible, max_size=3))):
            planned[f"{item.name}[{number}]"] = plan
    return planned


class Runs(RuleBasedStateMachine):
    """A world in which anything may happen. Bacalhau cannot tell of all of it, so that no status may be lost."""

    world: World
    traceable = False

    @initialize(data=st.data(), parallelism=st.none() | st.integers(1, 3))
    def begin(self, data: st.DataObject, parallelism: int | None) -> None:
        spec = data.draw(dags(some_invalid=not self.traceable))
        possible = traceable_fates if self.traceable else fates
        planned = data.draw(planned_fates(spec, possible))
        unlisted = (
            ()
            if self.traceable
            else data.draw(st.sets(st.sampled_from([item.name for item in spec.nodes]), max_size=1))
        )
        self.world = World(spec, fates=planned, parallelism=parallelism, unlisted=unlisted)

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
        self.world.look(pick(list(self.world.phases), position))

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
        if ask == 0 and not self.world.run.phase.is_terminal:
            self.world.cancel = True
            self.world.advance(())

    @rule(ask=positions, shutdown=st.sampled_from(Shutdown))
    def the_user_ends_the_run(self, ask: int, shutdown: Shutdown) -> None:
        if ask < 5 and not self.traceable:
            self.world.shutdown = self.world.shutdown or shutdown
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
    """What a run knows, but for why nodes were left out: whoever sees two failures at once may name the other one.

    Items that were left out may not be known at all: their fan-out may have been left out as a whole.
    """
    names = [item.name for item in run.nodes]
    known = {name: _known(run, name) for name in names}
    items = set(names[len(run.graph.nodes) :])
    return run.phase, {
        name: found for name, found in known.items() if name not in items or found[0] != "left out"
    }


def _known(run: Run, name: str) -> tuple[Any, ...]:
    status = run.node(name).to_status()
    if status.phase in LEFT_OUT:
        return "left out", status.attempt
    if run.roster.index[name] in run.roster.fan_outs:
        return status.phase, status.reason
    return "took part", status.model_copy(update={"retry_at": None})


@given(data=st.data(), spec=dags(some_invalid=False, policy=FailurePolicy.RUN_ALL))
def test_a_run_comes_to_the_same_however_often_its_controller_dies(
    data: st.DataObject, spec: DAGSpec
) -> None:
    """Where neither time nor the order of ends decides: all nodes run that may, and none has a timeout."""
    spec = spec.model_copy(update={"nodes": [_timeless(item) for item in spec.nodes]})
    planned = data.draw(planned_fates(spec, traceable_fates))
    calm, troubled = World(spec, fates=planned), World(spec, fates=planned)
    calm.finish()
    for age in data.draw(st.lists(st.integers(0, 9), max_size=10)):
        for effect in list(troubled.effects)[: data.draw(st.integers(0, 3))]:
            troubled.perform(effect, answered=data.draw(st.booleans()))
        troubled.now += data.draw(st.sampled_from([0, 10, 100]))
        for job in troubled.bacalhau.unfinished:
            troubled.bacalhau.progress(job, troubled.now)
        troubled.crash(troubled.history[max(0, len(troubled.history) - 1 - age)])
    troubled.finish()
    assert before_finally(troubled) == before_finally(calm)


def before_finally(world: World) -> dict[str, tuple[NodePhase, int]]:
    """How the nodes ended, and the items, and in how many attempts."""
    main = {item.name for item in world.graph.spec.nodes}
    return {
        name: (state.phase, state.attempt) for name, state in world.states.items() if parent_of(name) in main
    }


def _timeless(item: Node) -> Node:
    retry = item.retry
    if retry and retry.backoff:
        retry = retry.model_copy(update={"backoff": retry.backoff.model_copy(update={"max_duration": None})})
    return item.model_copy(update={"timeout": None, "total_timeout": None, "retry": retry})


def pick(items: list[Any], position: int) -> Any:
    """An item by a number of any size."""
    return items[position % len(items)]


TestRuns = Runs.TestCase
TestTraceableRuns = TraceableRuns.TestCase
