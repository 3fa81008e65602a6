"""The values of parameters that are kept in ConfigMaps.

They are read once, when the run starts, and written into the status before anything else happens: the run could not be taken up again with other
values, since its jobs were rendered with these.
"""

from collections.abc import Awaitable, Callable, Mapping

from controller.api.parameters import DAGParameter
from controller.api.references import ConfigMapKeyRef
from controller.api.status import DAGStatus
from controller.engine import Graph, InvalidDAG, RunContext, default_text, opening, values_of
from controller.kube.config_maps import ConfigMapMissing
from controller.kube.stored import StoredObject
from controller.reconciler.access import Unresolved
from controller.reconciler.connection import Problem

ReadConfigMap = Callable[..., Awaitable[Mapping[str, str]]]
"""Called as ``read(namespace=…, name=…)``; raises ``ConfigMapMissing``."""


async def read_texts(
    graph: Graph, known: Mapping[str, str], *, namespace: str, read: ReadConfigMap
) -> dict[str, str]:
    """Read what the graph's parameters are to be, unless the run knows it from an earlier process.

    Raises:
        Unresolved: something is missing, or is not what the parameter allows. A change of the ConfigMap helps.
        KubeError: the API server could not be asked.
    """
    lookup = _Lookup(read, namespace)
    texts = {
        parameter.name: known[parameter.name]
        if parameter.name in known
        else await lookup.text(parameter, ref)
        for parameter in graph.from_config_maps
        if (ref := parameter.config_map)
    }
    if lookup.missing:
        raise Unresolved(Problem("ConfigMapNotFound", " ".join(lookup.missing)))
    return texts


def with_values(graph: Graph, texts: Mapping[str, str]) -> Graph:
    """Give the graph with the values that the texts stand for.

    Raises:
        Unresolved: a value is not what its parameter allows.
    """
    try:
        return graph.with_values(values_of(graph.from_config_maps, texts))
    except InvalidDAG as error:
        raise Unresolved(Problem("InvalidParameter", str(error))) from None


async def record(
    stored: StoredObject, graph: Graph, context: RunContext, texts: Mapping[str, str], *, now: float
) -> DAGStatus:
    """Write down that the run starts with these values; gives the status as it is then.

    Raises:
        KubeError: it is not written; ``Conflict`` if the DAG has changed since it was looked at.
    """
    async with stored.lane:
        await stored.patch_status(opening(graph, context, texts, now=now))
    return DAGStatus.model_validate(stored.status)


class _Lookup:
    """Reads each ConfigMap of one namespace once, so that its keys are of one moment, and gathers what is missing."""

    def __init__(self, read: ReadConfigMap, namespace: str) -> None:
        self._read = read
        self._namespace = namespace
        self._found: dict[str, Mapping[str, str] | ConfigMapMissing] = {}
        self.missing: list[str] = []

    async def text(self, parameter: DAGParameter, ref: ConfigMapKeyRef) -> str:
        found = await self._config_map(ref.name)
        if not isinstance(found, ConfigMapMissing) and ref.key in found:
            return found[ref.key]
        if ref.optional:
            return default_text(parameter)
        self.missing.append(
            f"spec.parameters[{parameter.name}].valueFrom.configMapKeyRef: {self._complaint(ref, found)}"
        )
        return ""

    async def _config_map(self, name: str) -> Mapping[str, str] | ConfigMapMissing:
        if name not in self._found:
            try:
                self._found[name] = await self._read(namespace=self._namespace, name=name)
            except ConfigMapMissing as error:
                self._found[name] = error
        return self._found[name]

    def _complaint(self, ref: ConfigMapKeyRef, found: object) -> str:
        if isinstance(found, ConfigMapMissing):
            return str(found)
        return f'The ConfigMap "{ref.name}" in namespace "{self._namespace}" has no key "{ref.key}". Add it.'
