"""Any graph is compiled or refused for a cycle that it has."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from controller.engine import Graph, InvalidDAG
from tests.support.builders import dag, node

MAX_NODES = 12

Edges = dict[int, set[int]]


@st.composite
def edges(draw: st.DrawFn) -> Edges:
    """For each node the nodes that it depends on; anything but itself."""
    count = draw(st.integers(1, MAX_NODES))
    numbers = st.integers(0, count - 1)
    return {number: draw(st.sets(numbers, max_size=3)) - {number} for number in range(count)}


@given(edges())
def test_a_graph_is_refused_if_and_only_if_it_has_a_cycle(dependencies: Edges) -> None:
    spec = dag(
        *(node(f"n{number}", after=[f"n{p}" for p in sorted(ps)]) for number, ps in dependencies.items())
    )
    try:
        graph = Graph.compile(spec)
    except InvalidDAG as error:
        names = [int(name) for name in re.findall(r"n(\d+)", str(error).split("cycle:")[1])]
        assert names[0] == names[-1]
        assert len(set(names)) == len(names) - 1 > 1
        assert all(before in dependencies[after] for before, after in pairwise(names))
    else:
        assert is_acyclic(dependencies)
        assert {item.index: set(item.dependencies) for item in graph.nodes} == dependencies
        backwards = {(item.index, after) for item in graph.nodes for after in item.dependents}
        assert backwards == {(p, number) for number, ps in dependencies.items() for p in ps}


def is_acyclic(dependencies: Edges) -> bool:
    """Take away nodes that depend on nothing that is left, until none is left or none can be taken."""
    left = dict(dependencies)
    while left:
        free = [number for number, producers in left.items() if not producers & left.keys()]
        if not free:
            return False
        for number in free:
            del left[number]
    return True
