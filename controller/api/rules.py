"""What the API server itself refuses, beyond types and bounds: CEL rules of the CRDs, in one place.

A rule belongs here only if its estimated cost does not grow with the graph, because the estimate multiplies the
limits of the schema (2,500 nodes of 2,500 dependencies each) and the API server rejects a CRD that could exceed
its budget. Cycles, unknown names and expressions are for the operator to check.

An entry names the schema that its rule is written on; `[]` are the entries of a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controller.api.schema import RULES, Schema

__all__ = ["CONNECTION_RULES", "DAG_RULES", "Rule", "add_rules"]

Rule = Mapping[str, str]

GRAPH_FIELDS: Final = ("nodes", "jobTemplates", "parameters", "arguments", "outputs", "connectionRef")
CONTROL_FIELDS: Final = ("suspend", "parallelism", "failurePolicy")

EXACTLY_ONE_JOB: Final[Rule] = {
    "rule": "has(self.job) != has(self.template)",
    "messageExpression": "'node \"' + self.name + '\" needs exactly one of job and template'",
    "message": "a node needs exactly one of job and template",
}

EXACTLY_ONE_CREDENTIAL: Final[Rule] = {
    "rule": "has(self.tokenSecretRef) != has(self.basicSecretRef)",
    "message": "auth needs exactly one of tokenSecretRef and basicSecretRef",
}

DAG_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "spec.nodes[]": (EXACTLY_ONE_JOB,),
}
CONNECTION_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "spec.auth": (EXACTLY_ONE_CREDENTIAL,),
}


def add_rules(schema: Schema, rules: Mapping[str, tuple[Rule, ...]]) -> None:
    """Write rules into a resource's schema. Raises `KeyError` if a path leads nowhere."""
    for path, entries in rules.items():
        _at(schema, path).setdefault(RULES, []).extend(dict(rule) for rule in entries)


def _at(schema: Schema, path: str) -> Schema:
    for step in filter(None, path.split(".")):
        schema = schema["properties"][step.removesuffix("[]")]
        if step.endswith("[]"):
            schema = schema["items"]
    return schema
