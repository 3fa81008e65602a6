"""The operator's image: it is what a cluster runs, with the restrictions under which its chart runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from controller import __version__
from dev.containers import ContainerEngine
from dev.plane import ControlPlane
from dev.servers.process import ServerError, free_port
from tests.support.chart import grant_rights, render
from tests.support.dags import manifest, step
from tests.support.workspace import Workspace

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent.parent

MOUNTED_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

RESTRICTED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none")


@pytest.fixture(scope="module")
def image(engine: ContainerEngine) -> str:
    """The operator's image."""
    return engine.build(ROOT, name="bacalhau-dag-operator")


def run(engine: ContainerEngine, *arguments: str) -> str:
    return engine.docker("run", "--rm", *RESTRICTED, *arguments, timeout=60)


def test_the_operator_starts_as_a_numeric_user(engine: ContainerEngine, image: str) -> None:
    assert run(engine, image, "--version") == f"{__version__}\n"
    assert run(engine, "--entrypoint=python", image, "-c", "import os; print(os.getuid())") == "65532\n"


def test_every_module_of_the_operator_can_be_imported(engine: ContainerEngine, image: str) -> None:
    import_all = (
        "import controller, importlib, pkgutil;"
        "names = [m.name for m in pkgutil.walk_packages(controller.__path__, 'controller.')];"
        "print(len([importlib.import_module(name) for name in names if not name.endswith('__main__')]) > 20)"
    )
    assert run(engine, "--entrypoint=python", image, "-W", "error", "-c", import_all) == "True\n"


def test_without_a_cluster_it_says_what_is_missing(engine: ContainerEngine, image: str) -> None:
    with pytest.raises(ServerError, match="The Kubernetes API cannot be used"):
        run(engine, image)


def test_the_image_holds_the_operator_and_nothing_else_of_the_project(
    engine: ContainerEngine, image: str
) -> None:
    assert run(engine, "--entrypoint=ls", image, "/opt/operator/src") == "controller\n"


@pytest.fixture
def account(own_plane: ControlPlane, tmp_path: Path) -> Path:
    """What the kubelet mounts into a Pod: the token of the chart's service account, the authority and the namespace."""
    own_plane.kubectl("create", "namespace", "operator")
    kubeconfig = yaml.safe_load(grant_rights(own_plane, "operator").read_text())
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text(kubeconfig["users"][0]["user"]["token"])
    (folder / "namespace").write_text("operator")
    (folder / "ca.crt").write_bytes(own_plane.kubernetes.certificate.authority.read_bytes())
    return folder


@pytest.fixture
def operator(engine: ContainerEngine, image: str, account: Path, own_plane: ControlPlane) -> Iterator[str]:
    """The id of a container that runs the operator as a Pod of the chart would, on this machine's network."""
    (deployment,) = (found for found in render(namespace="operator") if found["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    address = own_plane.kubernetes.url.removeprefix("https://").partition(":")
    environment = {
        **{variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]},
        "KUBERNETES_SERVICE_HOST": address[0],
        "KUBERNETES_SERVICE_PORT": address[2],
        "BACALHAU_DAG_HTTP_PORT": str(free_port()),
    }
    user = f"--user={pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    variables = [f"--env={name}={value}" for name, value in environment.items()]
    mount = f"--volume={account}:{MOUNTED_ACCOUNT}:ro"
    restricted = [option for option in RESTRICTED if option != "--network=none"]
    # A terminal has one stream, so that the log, on standard error, is in what docker prints of it.
    options = ["--detach", "--tty", "--network=host", *restricted, user, *variables, mount]
    container = engine.docker("run", *options, image).strip()
    yield container
    print(engine.docker("logs", container))
    engine.docker("rm", "--force", container)


async def test_the_operator_runs_dags_from_within_a_pod(
    engine: ContainerEngine, operator: str, own_plane: ControlPlane
) -> None:
    own_plane.kubectl("create", "namespace", "users")
    workspace = Workspace(own_plane, "users")
    workspace.connect()
    workspace.apply(manifest("greeting", step("greet", "stdout", "hello")))

    await workspace.succeeded("greeting")

    engine.docker("stop", "--time=30", operator)
    assert engine.docker("inspect", "--format={{.State.ExitCode}}", operator) == "0\n"
    assert "Traceback" not in engine.docker("logs", operator)
