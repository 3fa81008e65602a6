"""Values of Secrets: the engine handles placeholders, and lets them get into the environment of jobs and nowhere else."""

from typing import Any

import pytest

from controller.api.bacalhau import META_SPEC_HASH
from controller.api.dag import DAGSpec
from controller.engine import Graph, InvalidDAG, SubmitJob
from controller.engine.secrets import MARK, placeholder
from tests.support.builders import Json, Play, completed, dag, job, node

TOKEN: Json = {"name": "token", "valueFrom": {"secretKeyRef": {"name": "login", "key": "token"}}}
PLAIN: Json = {"name": "plain", "default": "x"}


def secretive(*nodes: Json, **fields: Any) -> DAGSpec:
    """A DAG with a parameter from a Secret."""
    return dag(*nodes, parameters=[TOKEN, PLAIN], **fields)


def env(value: str, **more: Any) -> Json:
    """A node whose job has one environment variable."""
    return node("a", job=job(Env={"TOKEN": value}), **more)


def template(*names: str, **task: Any) -> Json:
    """The job template ``tool``."""
    return {"name": "tool", "parameters": [{"name": name} for name in names], "job": job(**task)}


def problems(spec: DAGSpec) -> list[str]:
    """What is wrong with a DAG."""
    with pytest.raises(InvalidDAG) as caught:
        Graph.compile(spec)
    return [str(problem) for problem in caught.value.problems]


def submitted(play: Play) -> SubmitJob:
    """The one job that the latest advance submitted."""
    (effect,) = [effect for effect in play.effects if isinstance(effect, SubmitJob)]
    return effect


ALLOWED: dict[str, tuple[DAGSpec, str]] = {
    "alone": (secretive(env("${{ params.token }}")), f"{placeholder('token')}"),
    "within text": (
        secretive(env("Bearer ${{ params.token }}.")),
        f"Bearer {placeholder('token')}.",
    ),
    "spelled otherwise": (secretive(env('${{ params["token"] }}')), placeholder("token")),
    "beside another": (
        secretive(env("${{ params.plain }}:${{ params.token }}")),
        f"x:{placeholder('token')}",
    ),
    "passed to a template": (
        secretive(
            node("a", template="tool", arguments={"key": "Bearer ${{ params.token }}"}),
            jobTemplates=[template("key", Env={"TOKEN": "<${{ inputs.key }}>"})],
        ),
        f"<Bearer {placeholder('token')}>",
    ),
    "read by a template": (
        secretive(
            node("a", template="tool"),
            jobTemplates=[template(Env={"TOKEN": "${{ params.token }}"})],
        ),
        placeholder("token"),
    ),
}


@pytest.mark.parametrize(("spec", "value"), ALLOWED.values(), ids=ALLOWED)
def test_a_placeholder_gets_into_the_environment(spec: DAGSpec, value: str) -> None:
    effect = submitted(Play(spec).go())
    assert effect.job["Tasks"][0]["Env"] == {"TOKEN": value}
    assert {name: (ref.name, ref.key) for name, ref in effect.secrets.items()} == {
        "token": ("login", "token")
    }


def test_a_job_without_secrets_needs_none() -> None:
    assert submitted(Play(secretive(node("a"))).go()).secrets == {}


NOT_HERE = "params.token comes from a Secret, and only Env of a job may hold it."
EXPOSED: dict[str, tuple[DAGSpec, str]] = {
    "argument of the program": (
        secretive(
            node("a", job=job(Engine={"Type": "wasm", "Params": {"Parameters": ["${{ params.token }}"]}}))
        ),
        f"spec.nodes[a].job.Tasks[0].Engine.Params.Parameters[0]: {NOT_HERE}",
    ),
    "label": (
        secretive(node("a", job=job() | {"Labels": {"Env": "${{ params.token }}"}})),
        f"spec.nodes[a].job.Labels.Env: {NOT_HERE}",
    ),
    "metadata": (
        secretive(node("a", job=job() | {"Meta": {"k": "${{ params.token }}"}})),
        f"spec.nodes[a].job.Meta.k: {NOT_HERE}",
    ),
    "name that looks like the environment": (
        secretive(node("a", job=job() | {"Meta": {"x.job.Tasks[0].Env.y": "${{ params.token }}"}})),
        f"spec.nodes[a].job.Meta.x.job.Tasks[0].Env.y: {NOT_HERE}",
    ),
    "condition": (
        secretive(node("a", when='params.token == "x"')),
        f"spec.nodes[a].when: {NOT_HERE}",
    ),
    "condition of finally": (
        secretive(node("b"), **{"finally": [node("a", when='params.token == "x"')]}),
        f"spec.finally[a].when: {NOT_HERE}",
    ),
    "condition of a retry": (
        secretive(node("a", retry={"limit": 1, "condition": "last.stdout == params.token"})),
        f"spec.nodes[a].retry.condition: {NOT_HERE}",
    ),
    "condition on all parameters": (
        secretive(node("a", when="size(params) > 1")),
        "spec.nodes[a].when: params comes from a Secret, and only Env of a job may hold it.",
    ),
    "items": (
        secretive(node("a", forEach={"items": ["${{ params.token }}"]})),
        f"spec.nodes[a].forEach: {NOT_HERE}",
    ),
    "part of a result": (
        secretive(node("b"), node("a", inputs=[{"from": "b", "output": "${{ params.token }}"}])),
        f"spec.nodes[a].inputs: {NOT_HERE}",
    ),
    "job of a template": (
        secretive(
            node("a", template="tool"),
            node("b", template="tool"),
            jobTemplates=[template(Publisher={"Type": "s3", "Params": {"Key": "${{ params.token }}"}})],
        ),
        f"spec.jobTemplates[tool].job.Tasks[0].Publisher.Params.Key: {NOT_HERE}",
    ),
    "argument of a template": (
        secretive(
            node("a", template="tool", arguments={"key": "${{ params.token }}"}),
            jobTemplates=[
                template("key", Engine={"Type": "wasm", "Params": {"Parameters": ["${{ inputs.key }}"]}})
            ],
        ),
        "spec.jobTemplates[tool].job.Tasks[0].Engine.Params.Parameters[0]: inputs.key comes from a Secret, and only Env of "
        "a job may hold it.",
    ),
}


@pytest.mark.parametrize(("spec", "problem"), EXPOSED.values(), ids=EXPOSED)
def test_a_placeholder_gets_nowhere_else(spec: DAGSpec, problem: str) -> None:
    assert problems(spec) == [problem]


def computes(expression: str) -> str:
    return (
        f'the expression "{expression}" computes with a value from a Secret, which only the job gets to know. '
        "Pass it on as it is, and write other text around ${{ … }}."
    )


@pytest.mark.parametrize(
    "expression",
    [
        "params.token + params.plain",
        "size(params.token)",
        "params.token.upperAscii()",
        "params.plain == params.token",
        "params[params.plain]",
        "params",
        "[params.token]",
    ],
)
def test_nothing_is_computed_with_a_placeholder(expression: str) -> None:
    spec = secretive(env(f"${{{{ {expression} }}}}"))
    assert problems(spec) == [f"spec.nodes[a].job.Tasks[0].Env.TOKEN: {computes(expression)}"]


def test_nothing_is_computed_with_an_argument_that_holds_a_placeholder() -> None:
    tool = template("key", Env={"TOKEN": "${{ inputs.key.upperAscii() }}"})
    spec = secretive(
        node("a", template="tool", arguments={"key": "${{ params.token }}"}), jobTemplates=[tool]
    )
    (problem,) = problems(spec)
    assert problem.startswith(
        f"spec.jobTemplates[tool].job.Tasks[0].Env.TOKEN: {computes('inputs.key.upperAscii()')[:60]}"
    )


def test_whoever_reads_no_secret_computes_as_ever() -> None:
    spec = secretive(env("${{ params.plain.upperAscii() }}", when="size(params.plain) == 1"))
    assert submitted(Play(spec).go()).job["Tasks"][0]["Env"] == {"TOKEN": "X"}


def test_what_a_program_prints_is_never_taken_for_a_placeholder() -> None:
    forger = node("forger")
    reader = node("a", job=job(Env={"TOKEN": "${{ params.token }}", "SAID": "${{ nodes.forger.stdout }}"}))
    play = Play(secretive(forger, reader)).go().see(forger=completed(stdout=placeholder("token")))
    environment = submitted(play).job["Tasks"][0]["Env"]
    assert environment["TOKEN"] == placeholder("token")
    assert MARK not in environment["SAID"]


def test_each_item_of_a_fan_out_gets_the_value() -> None:
    environment = {"TOKEN": "${{ params.token }}", "ITEM": "${{ item }}"}
    play = Play(
        secretive(node("a", forEach={"items": ["x", placeholder("token")]}, job=job(Env=environment)))
    )
    effects = [effect for effect in play.go().effects if isinstance(effect, SubmitJob)]
    assert [list(effect.secrets) for effect in effects] == [["token"], ["token"]]
    environments = [effect.job["Tasks"][0]["Env"] for effect in effects]
    assert [found["TOKEN"] for found in environments] == [placeholder("token")] * 2
    assert environments[0]["ITEM"] == "x"
    assert MARK not in environments[1]["ITEM"]


def test_a_value_of_a_config_map_is_never_taken_for_a_placeholder() -> None:
    parameters = [TOKEN, {"name": "p", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "p"}}}]
    graph = Graph.compile(dag(node("a"), parameters=parameters)).with_values({"p": placeholder("token")})
    assert graph.params["token"] == placeholder("token")
    assert MARK not in graph.params["p"]


def test_the_hash_of_a_job_is_that_of_its_placeholders() -> None:
    first, again = (submitted(Play(secretive(env("${{ params.token }}"))).go()) for _ in range(2))
    assert first.job == again.job
    assert first.job["Meta"][META_SPEC_HASH] == again.job["Meta"][META_SPEC_HASH]
