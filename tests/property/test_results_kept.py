"""Of any graph, however it ended: a rerun and a takeover keep the same results, those of nodes that nothing has changed before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.api.status import NodePhase, NodeStatus
from controller.engine import Candidate, Earlier, Graph, reset, reuse
from tests.support.builders import dag, node

MAX_NODES = 12
ENDS = (NodePhase.SUCCEEDED, NodePhase.SUCCEEDED, NodePhase.SKIPPED, NodePhase.FAILED, NodePhase.OMITTED)

Edges = dict[int, set[int]]


@st.composite
def edges(draw: st.DrawFn) -> Edges:
    """For each node the earlier ones that it depends on."""
    count = draw(st.integers(1, MAX_NODES))
    return {
        number: draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        for number in range(count)
    }


def graph(dependencies: Edges, changed: set[int]) -> Graph:
    """A graph of these edges; nodes that are changed say something else than they would."""
    return Graph.compile(
        dag(
            *(
                node(
                    f"n{number}",
                    after=[f"n{producer}" for producer in sorted(producers)],
                    **({"when": "true"} if number in changed else {}),
                )
                for number, producers in dependencies.items()
            )
        )
    )


def kept(dependencies: Edges, fresh: set[int]) -> set[int]:
    """The nodes that are not fresh, and have no fresh one among their ancestors."""
    found: set[int] = set()
    for number, producers in dependencies.items():  # each after those that it depends on
        if number not in fresh and producers <= found:
            found.add(number)
    return found


@given(st.data())
def test_results_are_kept_up_to_what_changed(data: st.DataObject) -> None:
    dependencies = data.draw(edges())
    numbers = st.sets(st.sampled_from(sorted(dependencies)), max_size=3)
    changed = data.draw(numbers)
    ends = {number: data.draw(st.sampled_from(ENDS)) for number in dependencies}
    statuses = {
        f"n{number}": NodeStatus(phase=phase, attempt=1, job_id="j", finished_at="2027-01-01T00:00:00Z")
        for number, phase in ends.items()
    }
    unsuccessful = {number for number, phase in ends.items() if phase in ENDS[-2:]}
    expected = kept(dependencies, changed | unsuccessful)

    earlier = Earlier(
        graph=graph(dependencies, set()),
        name="monday",
        namespace="lab",
        uid="1",
        bacalhau_namespace="lab.monday",
        nodes=statuses,
    )
    new = Candidate(graph=graph(dependencies, changed), name="tuesday", namespace="lab", uid="2")
    again = reset(new.graph, statuses, [f"n{number}" for number in changed])

    assert {f"n{number}" for number in dependencies} - again.keys() == {f"n{n}" for n in expected}
    succeeded = {number for number, phase in ends.items() if phase is NodePhase.SUCCEEDED}
    assert set(reuse(new, earlier)) == {f"n{number}" for number in expected & succeeded}
