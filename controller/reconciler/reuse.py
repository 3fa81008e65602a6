"""A run that begins with the results of an earlier one: which that is, and what the status says from then on.

Nothing is taken over from a DAG whose spec and status do not belong together, or cannot be read any more.
"""

from collections.abc import Collection, Mapping

from controller.api.dag import BacalhauDAG
from controller.api.status import RunPhase
from controller.engine import Candidate, Earlier, Emit, Graph, reuse
from controller.engine.state import timestamp
from controller.kube.errors import Gone
from controller.kube.objects import Body, ObjectRef, Objects
from controller.reconciler.access import Unresolved
from controller.reconciler.connection import Problem
from controller.reconciler.parameters import with_values
from controller.reconciler.rerun import Opening
from controller.reconciler.resources import DAGS
from controller.reconciler.specs import Unfit, compiled
from controller.reconciler.standing import has_ended, status_of, wants_rerun


async def read_earlier(objects: Objects, heir: BacalhauDAG) -> Body:
    """Read the DAG whose results another one takes over.

    Raises:
        Unresolved: it does not exist, or has not ended.
        KubeError: the API server could not be asked.
    """
    name = heir.spec.reuse_from.name if heir.spec.reuse_from else ""
    namespace = heir.metadata.namespace
    try:
        body = await objects.get(ObjectRef(DAGS, namespace, name))
    except Gone:
        message = (
            f'There is no BacalhauDAG "{name}" in namespace "{namespace}" whose results could be taken over; '
            "create it, or remove spec.reuseFrom."
        )
        raise Unresolved(Problem("EarlierDAGNotFound", message)) from None
    if not has_ended(body, status_of(body)) or wants_rerun(body, status_of(body)):
        message = (
            f'This DAG starts when the BacalhauDAG "{name}" has ended, whose results it takes over; '
            "remove spec.reuseFrom to start it now."
        )
        raise Unresolved(Problem("EarlierDAGRunning", message))
    return body


def begun(dag: BacalhauDAG, graph: Graph, earlier: Body, texts: Mapping[str, str], *, now: float) -> Opening:
    """Begin a run with what an earlier DAG leaves to it.

    Args:
        dag: the new DAG.
        graph: its graph.
        earlier: the DAG whose results it takes over.
        texts: what was read from ConfigMaps for the new run.
        now: Unix time in seconds.

    Raises:
        Unresolved: a value is not what its parameter allows.
    """
    metadata = dag.metadata
    graph = with_values(graph, texts)
    new = Candidate(graph=graph, name=metadata.name, namespace=metadata.namespace, uid=metadata.uid)
    known = _earlier(earlier)
    taken = reuse(new, known) if known else {}
    message = f'Took over {_count(graph, taken)} from DAG "{earlier["metadata"]["name"]}".'
    if known is None:
        message += " Its spec and its status do not belong together."
    delta = {
        "phase": RunPhase.PENDING.value,
        "message": message,
        "startTime": timestamp(now),
        "graphHash": graph.hash,
        "parameters": dict(texts),
        "retryID": dag.spec.retry.id if dag.spec.retry else None,
        "nodes": {name: node.model_dump(by_alias=True, mode="json") for name, node in taken.items()},
    }
    return delta, Emit(type="Normal", reason="ResultsTakenOver", message=message)


def _count(graph: Graph, taken: Collection[str]) -> str:
    items = sum(name not in graph.index for name in taken)
    more = f" and {items} items of fan-outs" if items else ""
    return f"{len(taken) - items} of {graph.main} nodes{more}"


def _earlier(body: Body) -> Earlier | None:
    try:
        dag, graph = compiled(body)
        status = dag.status
        if status is None or status.graph_hash != graph.hash or status.bacalhau_namespace is None:
            return None
        graph = with_values(graph, status.parameters)
    except (Unfit, Unresolved):
        return None
    return Earlier(
        graph=graph,
        name=dag.metadata.name,
        namespace=dag.metadata.namespace,
        uid=dag.metadata.uid,
        bacalhau_namespace=status.bacalhau_namespace,
        nodes=status.nodes,
    )
