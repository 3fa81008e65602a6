"""The manifests that people apply: complete, current, and small enough for every way of applying them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.api.__main__ import main
from controller.api.crds import KINDS, Kind, custom_resource_definition, file_name, manifest
from controller.api.dag import DAGSpec
from controller.api.rules import CONTROLS, add_rules
from controller.api.schema import Schema
from controller.engine.graph import graph_hash

ROOT = Path(__file__).parents[3]
# `kubectl apply` stores a copy of the manifest in an annotation, and all annotations together have this limit.
ANNOTATION_LIMIT = 256 * 1024

every_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def version_of(kind: Kind) -> dict[str, Any]:
    (version,) = custom_resource_definition(kind)["spec"]["versions"]
    assert isinstance(version, dict)
    return version


def schema_of(kind: Kind) -> Schema:
    schema = version_of(kind)["schema"]["openAPIV3Schema"]
    assert isinstance(schema, dict)
    return schema


def test_kinds_have_the_names_that_users_type() -> None:
    names = {
        definition["metadata"]["name"]: (
            spec["scope"],
            spec["names"]["shortNames"],
            spec["names"]["categories"],
        )
        for definition in map(custom_resource_definition, KINDS)
        for spec in [definition["spec"]]
    }

    assert names == {
        "bacalhaudags.bacalhau.org": ("Namespaced", ["bdag"], ["bacalhau"]),
        "bacalhauconnections.bacalhau.org": ("Namespaced", ["bconn"], ["bacalhau"]),
    }


@every_kind
def test_the_manifest_in_the_repository_is_current(kind: Kind) -> None:
    assert (ROOT / "crds" / file_name(kind)).read_text(encoding="utf-8") == manifest(kind)


@every_kind
def test_the_manifest_says_the_same_as_the_definition(kind: Kind) -> None:
    assert yaml.safe_load(manifest(kind)) == custom_resource_definition(kind)


@every_kind
def test_plain_kubectl_apply_has_room_for_its_copy(kind: Kind) -> None:
    assert len(json.dumps(custom_resource_definition(kind))) < ANNOTATION_LIMIT
    assert len(manifest(kind).encode()) < ANNOTATION_LIMIT


@every_kind
def test_a_resource_that_the_operator_has_not_seen_does_not_look_finished(kind: Kind) -> None:
    assert schema_of(kind)["properties"]["status"]["default"] == {"observedGeneration": -1}


@every_kind
def test_status_is_written_apart_from_spec(kind: Kind) -> None:
    assert version_of(kind)["subresources"] == {"status": {}}


@every_kind
def test_no_default_is_written_into_spec(kind: Kind) -> None:
    def defaults(schema: Schema) -> list[Any]:
        here = [schema["default"]] if "default" in schema else []
        children = [
            *schema.get("properties", {}).values(),
            schema.get("items"),
            schema.get("additionalProperties"),
        ]
        return here + [default for child in children if child for default in defaults(child)]

    assert defaults(schema_of(kind)["properties"]["spec"]) == []


def test_named_lists_are_keyed_so_that_the_api_server_refuses_duplicates() -> None:
    spec = schema_of(KINDS[0])["properties"]["spec"]["properties"]

    keyed = {name for name, field in spec.items() if field.get("x-kubernetes-list-map-keys") == ["name"]}

    assert keyed == {"approvals", "nodes", "finally", "jobTemplates", "parameters", "outputs"}


def test_the_engine_follows_what_the_api_server_lets_change() -> None:
    graph = {"nodes": [{"name": "a", "job": {}}]}
    controls = {
        "approvals": [{"name": "a"}],
        "description": "Other.",
        "parallelism": 7,
        "retry": {"id": "1"},
        "shutdown": "Cancel",
        "suspend": True,
    }

    assert controls.keys() == set(CONTROLS)
    assert graph_hash(DAGSpec.model_validate(graph)) == graph_hash(DAGSpec.model_validate(graph | controls))


def test_a_started_dag_is_frozen_but_for_its_controls() -> None:
    schema = schema_of(KINDS[0])
    rules = [rule for rule in schema["x-kubernetes-validations"] if "oldSelf" in rule["rule"]]
    frozen = {rule["fieldPath"].removeprefix(".spec.") for rule in rules}

    assert frozen == schema["properties"]["spec"]["properties"].keys() - set(CONTROLS)


def test_rules_are_added_where_their_path_leads() -> None:
    item: Schema = {"type": "object", "x-kubernetes-validations": [{"rule": "a"}]}
    schema: Schema = {"properties": {"spec": {"properties": {"nodes": {"items": item}}}}}

    add_rules(schema, {"": ({"rule": "c"},), "spec.nodes[]": ({"rule": "b"},)})

    assert item["x-kubernetes-validations"] == [{"rule": "a"}, {"rule": "b"}]
    assert schema["x-kubernetes-validations"] == [{"rule": "c"}]


def test_a_rule_for_a_field_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError, match="nodes"):
        add_rules({"properties": {"spec": {"properties": {}}}}, {"spec.nodes[]": ({"rule": "a"},)})


def test_the_command_writes_what_its_check_accepts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "new" / "crds"

    assert main([str(directory)]) == 0
    assert main(["--check", str(directory)]) == 0

    assert {path.name for path in directory.iterdir()} == {file_name(kind) for kind in KINDS}
    assert capsys.readouterr().out == ""


def test_the_check_shows_what_is_stale_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(tmp_path)])
    stale = tmp_path / file_name(KINDS[0])
    edited = stale.read_text(encoding="utf-8").replace("- bdag\n", "- dag\n")
    stale.write_text(edited, encoding="utf-8")

    assert main(["--check", str(tmp_path)]) == 1

    shown = capsys.readouterr()
    assert "-    - dag\n+    - bdag\n" in shown.out
    assert "make crds" in shown.err
    assert stale.read_text(encoding="utf-8") == edited


def test_the_check_misses_no_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(tmp_path)]) == 1

    assert capsys.readouterr().out.count("(expected)") == len(KINDS)
