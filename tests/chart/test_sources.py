"""What the chart repeats of the rest of the project is the same there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller import __version__
from controller.settings import Settings
from tests.support.chart import CHART

ROOT = CHART.parent.parent

SET_BY_THE_CHART = {"namespaces", "lease_name"}
LEFT_ALONE = {"http_address", "http_port", "identity", "lease_enabled", "lease_namespace"}
"""Settings that make no sense in a Pod, or that the Pod knows by itself."""


def snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def schema() -> dict[str, Any]:
    return dict(json.loads((CHART / "values.schema.json").read_text()))


def test_the_resource_definitions_are_those_of_the_project() -> None:
    def contents(folder: Path) -> dict[str, str]:
        return {file.name: file.read_text() for file in folder.glob("*.yaml")}

    ours, project = contents(CHART / "files" / "crds"), contents(ROOT / "crds")
    assert ours == project, "run `make crds`"


def test_the_version_is_that_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__


def test_every_setting_of_the_operator_is_decided_upon() -> None:
    offered = {snake_case(name) for name in schema()["properties"]["settings"]["properties"]}
    assert offered | SET_BY_THE_CHART | LEFT_ALONE == set(Settings.model_fields)


@pytest.mark.parametrize("name", ["log_level", "log_format"])
def test_a_choice_offers_what_the_operator_accepts(name: str) -> None:
    properties = schema()["properties"]["settings"]["properties"]
    (offered,) = (found["enum"] for key, found in properties.items() if snake_case(key) == name)
    annotation = Settings.model_fields[name].annotation
    assert offered == list(annotation.__args__)  # type: ignore[union-attr]
