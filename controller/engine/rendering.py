"""From a node and the results it reads to the Bacalhau job that is submitted.

Rendering is deterministic: the same attempt of the same run renders to the same bytes, before and after a crash. What the scheduler's
decisions depend on is therefore explicit; defaults that belong to the site (resources, publisher) are left to Bacalhau's own settings.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.api.artifact import Artifact
from controller.api.bacalhau import META_SPEC_HASH
from controller.api.node import Input
from controller.engine.artifacts import storage_source
from controller.engine.expressions import as_text
from controller.engine.graph import Graph
from controller.engine.identity import (
    ATTEMPT_LABEL,
    DAG_LABEL,
    ITEM_LABEL,
    NAMESPACE_LABEL,
    NODE_LABEL,
    UID_LABEL,
    fingerprint,
    item_name,
    job_name,
)
from controller.engine.nodes import CompiledNode
from controller.engine.parameters import bound, value_problems
from controller.engine.problems import RenderError, shown
from controller.engine.secrets import without_placeholders

Result = Artifact | None | Mapping[int, Artifact | None]
"""What a node published; of a fan-out, what each item did that succeeded, by the items' numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What a run's jobs depend on beyond its graph. Fixed for the life of the run."""

    namespace: str
    name: str
    uid: str
    bacalhau_namespace: str
    queue_timeout: int
    """Seconds that a job may wait for a node with room, where it does not say itself."""
    execution_timeout: int
    """Seconds that one execution may take, where the job does not say itself."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A result that a job sees at a path; ``field`` is the input that asks for it."""

    source: dict[str, Any]
    target: str
    field: str


def render_job(
    *,
    node: CompiledNode,
    context: RunContext,
    attempt: int,
    results: Mapping[str, Result],
    bindings: Mapping[str, Any],
) -> dict[str, Any]:
    """Give the Bacalhau job of one attempt of a node.

    Args:
        node: the node to render.
        context: the run's identity and defaults.
        attempt: number of the attempt, from 1.
        results: published results of the nodes that this one mounts, by name.
        bindings: what expressions may read, from ``variables``.

    Raises:
        RenderError: an expression has no value, a result cannot be mounted, or a field has an impossible value.
    """
    job = _evaluated(node, bindings)
    task = _task(job, node.field)
    _fill_engine(task)
    _mount(task, _mounts(node, results, bindings))
    task["Timeouts"] = _timeouts(task.get("Timeouts") or {}, context, node.field)
    job |= {
        "Name": job_name(dag=context.name, uid=context.uid, node=node.name, attempt=attempt),
        "Namespace": context.bacalhau_namespace,
        "Type": _job_type(job, node.field),
        "Tasks": [task],
    }
    job["Count"] = _count(job, task, node.field)
    return _identified(job, node, context, attempt)


def variables(
    graph: Graph, context: RunContext, results: Mapping[str, Mapping[str, Any]], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Give what expressions may read: parameters, results of other nodes, the DAG's identity, and ``more``."""
    return {
        **more,
        "params": graph.params,
        "inputs": {},
        "nodes": {name: dict(result) for name, result in results.items()},
        "dag": {"name": context.name, "namespace": context.namespace, "uid": context.uid},
    }


def _evaluated(node: CompiledNode, bindings: Mapping[str, Any]) -> dict[str, Any]:
    if node.secrets:
        bindings = {**without_placeholders(bindings), "params": bindings["params"]}
    job: dict[str, Any] = node.job.render({**bindings, "inputs": _arguments(node, bindings)})
    return job


def _arguments(node: CompiledNode, variables: Mapping[str, Any]) -> dict[str, Any]:
    arguments = bound(node.parameters, node.arguments.render(variables))
    for parameter in node.parameters:
        for problem in value_problems(
            parameter, arguments[parameter.name], field=f"{node.field}.arguments.{parameter.name}"
        ):
            raise RenderError(problem.field, problem.message)
    return arguments


def _job_type(job: Mapping[str, Any], field: str) -> str:
    kind = job.get("Type") or "batch"
    if kind not in ("batch", "ops"):
        raise RenderError(
            f"{field}.job.Type", f"{shown(kind)} is not a kind of job that ends; write batch or ops."
        )
    return str(kind)


def _count(job: Mapping[str, Any], task: Mapping[str, Any], field: str) -> int:
    """Only one partition may publish: several results would have one place in the status and one mount point."""
    count = job.get("Count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise RenderError(f"{field}.job.Count", f"{shown(count)} is not a whole number.")
    if count > 1 and (task.get("Publisher") or {}).get("Type"):
        raise RenderError(
            f"{field}.job.Count", f"{count} partitions cannot publish one result; write one node for each."
        )
    return count


def _task(job: Mapping[str, Any], field: str) -> dict[str, Any]:
    tasks = job.get("Tasks")
    if not isinstance(tasks, list) or len(tasks) != 1 or not isinstance(tasks[0], dict):
        raise RenderError(f"{field}.job.Tasks", "a job has exactly one task.")
    task: dict[str, Any] = {"Name": "main"} | tasks[0]
    if not (task.get("Engine") or {}).get("Type"):
        raise RenderError(f"{field}.job.Tasks[0].Engine.Type", "the engine is missing; write docker or wasm.")
    if "Env" in task:
        task["Env"] = {name: as_text(value) for name, value in (task["Env"] or {}).items()}
    return task


def _fill_engine(task: dict[str, Any]) -> None:
    """Say WASM's entry point, for which Bacalhau has no default."""
    engine = task["Engine"]
    if str(engine["Type"]).lower() == "wasm":
        task["Engine"] = engine | {"Params": {"Entrypoint": "_start"} | (engine.get("Params") or {})}


def _mount(task: dict[str, Any], mounts: Iterable[Mount]) -> None:
    """Add mounts to what the job itself mounts."""
    sources = list(task.get("InputSources") or [])
    targets = {source.get("Target") for source in sources}
    for mount in mounts:
        if mount.target in targets:
            raise RenderError(
                f"{mount.field}.target", f"{shown(mount.target)} is already the target of an InputSource."
            )
        targets.add(mount.target)
        sources.append({"Source": mount.source, "Target": mount.target})
    if sources:
        task["InputSources"] = sources


def _mounts(
    node: CompiledNode, results: Mapping[str, Result], bindings: Mapping[str, Any]
) -> Iterator[Mount]:
    parts = node.part.render(bindings)
    for number, item in enumerate(node.spec.inputs):
        field = f"{node.field}.inputs[{number}]"
        part = _part(parts.get(str(number)), f"{field}.output")
        result = results.get(item.from_)
        if not isinstance(result, Mapping):
            yield from _mounted(result, item, item.from_, part, item.path, field)
            continue
        for index, artifact in sorted(result.items()):
            producer = item_name(item.from_, index)
            yield from _mounted(artifact, item, producer, part, f"{item.path}/{index}", field)


def _mounted(
    artifact: Artifact | None, item: Input, producer: str, part: str | None, target: str, field: str
) -> Iterator[Mount]:
    if artifact:
        source = storage_source(artifact, output=part, field=f"{field}.output", producer=producer)
        yield Mount(source, target, field)
    elif not item.optional:
        raise RenderError(
            f"{field}.from",
            f'node "{producer}" published nothing; give its job a Publisher (ipfs, s3 or local)'
            ", or make the input optional.",
        )


def _part(value: Any, field: str) -> str | None:
    """Check the part of a result again that an expression may have given."""
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip("/") or value.startswith("/"):
        raise RenderError(field, f"{shown(value)} is not a path inside a result.")
    return value


def _timeouts(given: Mapping[str, Any], context: RunContext, field: str) -> dict[str, Any]:
    """Make all three timeouts explicit: a job that leaves one out may end at once if no node has room, or wait without end.

    Bacalhau wants the first two to fit into the third.
    """
    execution, queue, total = (
        _seconds(given, name, f"{field}.job.Tasks[0].Timeouts")
        for name in ("ExecutionTimeout", "QueueTimeout", "TotalTimeout")
    )
    if queue is None:
        queue = _queue_timeout(context, execution, total)
    if execution is None:
        execution = total - queue if total else context.execution_timeout
    if total and (execution < 1 or execution + queue > total):
        raise RenderError(
            f"{field}.job.Tasks[0].Timeouts.TotalTimeout",
            f"{total} seconds do not hold a QueueTimeout of {queue} and an ExecutionTimeout of {max(execution, 1)}.",
        )
    explicit = {
        "ExecutionTimeout": execution,
        "QueueTimeout": queue,
        "TotalTimeout": total or execution + queue,
    }
    return dict(given) | explicit


def _queue_timeout(context: RunContext, execution: int | None, total: int | None) -> int:
    """Give the connection's queue timeout, or what a total timeout leaves of it."""
    if total is None:
        return context.queue_timeout
    room = total // 2 if execution is None else max(total - execution, 0)
    return min(context.queue_timeout, room)


def _seconds(timeouts: Mapping[str, Any], name: str, field: str) -> int | None:
    value = timeouts.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not str(value).isdecimal():
        raise RenderError(f"{field}.{name}", f"{shown(value)} is not a whole number of seconds.")
    return int(value) or None


def _identified(job: dict[str, Any], node: CompiledNode, context: RunContext, attempt: int) -> dict[str, Any]:
    """Add who the job is, for people and for finding it again after a crash."""
    identity = {
        NAMESPACE_LABEL: context.namespace,
        DAG_LABEL: context.name,
        UID_LABEL: context.uid,
        NODE_LABEL: node.item.node if node.item else node.name,
        ATTEMPT_LABEL: str(attempt),
    }
    if node.item:
        identity[ITEM_LABEL] = str(node.item.number)
    return job | {
        "Labels": _strings(job.get("Labels"), f"{node.field}.job.Labels") | identity,
        "Meta": _strings(job.get("Meta"), f"{node.field}.job.Meta")
        | identity
        | {META_SPEC_HASH: fingerprint(job)},
    }


def _strings(values: Any, field: str) -> dict[str, str]:
    for name, value in (values or {}).items():
        if not name or isinstance(value, dict | list):
            raise RenderError(f"{field}.{name}", f"{shown(value)} is not a text with a name.")
    return {str(name): as_text(value) for name, value in (values or {}).items()}
