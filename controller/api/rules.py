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

MAY_CHANGE: Final = "Only suspend and parallelism may."

# What makes up the graph that a run follows. A field that may be left out is compared with that in mind.
GRAPH_FIELDS: Final = {
    "connectionRef": "optional",
    "parameters": "optional",
    "arguments": "optional",
    "jobTemplates": "optional",
    "nodes": "required",
    "outputs": "optional",
    "failurePolicy": "optional",
}


def _frozen_after_start(field: str, presence: str) -> Rule:
    """A started run follows the graph that it started with; a changed one would need another run.

    The rule sits on the resource itself, the only place that sees both status and spec. An equality costs the
    estimator no more than a list has entries, and compares unknown fields of jobs too.
    """
    new, old = f"self.spec.{field}", f"oldSelf.spec.{field}"
    equal = f"{new} == {old}"
    if presence == "optional":
        equal = f"has({new}) == has({old}) && (!has({new}) || {equal})"
    return {
        "rule": f"!has(oldSelf.status) || !has(oldSelf.status.startTime) || {equal}",
        "message": f"spec.{field} cannot change: the DAG has started. {MAY_CHANGE} To run another graph, create "
        "another DAG.",
        "fieldPath": f".spec.{field}",
        "reason": "FieldValueForbidden",
    }


EXACTLY_ONE_JOB: Final[Rule] = {
    "rule": "has(self.job) != has(self.template)",
    "messageExpression": "'node \"' + self.name + '\" needs exactly one of job and template'",
    "message": "a node needs exactly one of job and template",
}

NO_SELF_DEPENDENCY: Final[Rule] = {
    "rule": "!has(self.dependencies) || !(self.name in self.dependencies)",
    "messageExpression": "'node \"' + self.name + '\" cannot depend on itself'",
    "message": "a node cannot depend on itself",
    "fieldPath": ".dependencies",
}

EXACTLY_ONE_CREDENTIAL: Final[Rule] = {
    "rule": "has(self.tokenSecretRef) != has(self.basicSecretRef)",
    "message": "auth needs exactly one of tokenSecretRef and basicSecretRef",
}

DAG_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "": tuple(_frozen_after_start(field, presence) for field, presence in GRAPH_FIELDS.items()),
    "spec.nodes[]": (EXACTLY_ONE_JOB, NO_SELF_DEPENDENCY),
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
