"""The API server is found where kubectl looks, and tokens that change are noticed."""

import asyncio
from pathlib import Path

import pytest
import yaml
from kubernetes.aio.config import ConfigException

from controller.kube import client
from controller.kube.client import Cluster


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a Pod nor a kubeconfig."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first")
    return path


@pytest.fixture
def kubeconfig(tmp_path: Path, token_file: Path) -> Path:
    return write_kubeconfig(tmp_path / "config", user={"tokenFile": str(token_file)})


def write_kubeconfig(path: Path, *, server: str = "http://one", user: dict[str, str]) -> Path:
    contexts = [
        {"name": "lab", "context": {"cluster": "c", "user": "u", "namespace": "jobs"}},
        {"name": "bare", "context": {"cluster": "c", "user": "u"}},
    ]
    config = {
        "current-context": "lab",
        "contexts": contexts,
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return path


async def test_a_named_kubeconfig_comes_first(
    monkeypatch: pytest.MonkeyPatch, kubeconfig: Path, tmp_path: Path
) -> None:
    other = write_kubeconfig(tmp_path / "other", server="http://two", user={"token": "t"})
    monkeypatch.setenv("KUBECONFIG", str(other))
    cluster = await Cluster.connect(kubeconfig)
    assert cluster.client.configuration.host == "http://one"
    assert cluster.namespace == "jobs"


async def test_kubeconfig_from_the_environment_comes_before_the_pod(
    monkeypatch: pytest.MonkeyPatch, kubeconfig: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    cluster = await Cluster.connect()
    assert cluster.client.configuration.host == "http://one"


async def test_the_users_own_kubeconfig_comes_last(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    write_kubeconfig(tmp_path / "home" / ".kube" / "config", server="http://home", user={"token": "t"})
    cluster = await Cluster.connect()
    assert cluster.client.configuration.host == "http://home"


async def test_a_context_can_be_chosen(kubeconfig: Path) -> None:
    cluster = await Cluster.connect(kubeconfig, context="bare")
    assert cluster.namespace == "default"


async def test_without_any_it_says_what_to_do() -> None:
    with pytest.raises(ConfigException, match="KUBECONFIG"):
        await Cluster.connect()


async def test_kopf_gets_the_same(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "config", user={"token": "secret"})
    info = await (await Cluster.connect(kubeconfig)).login(logger=None, settings=None)
    assert info.server == "http://one"
    assert info.default_namespace == "jobs"
    assert info.as_http_headers() == {"Authorization": "Bearer secret"}


async def test_kopf_gets_basic_credentials_too(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "config", user={"username": "u", "password": "p"})
    info = await (await Cluster.connect(kubeconfig)).login()
    assert info.as_http_headers() == {"Authorization": "Basic dTpw"}


async def test_a_token_is_looked_up_again_once_it_is_old(
    monkeypatch: pytest.MonkeyPatch, kubeconfig: Path, token_file: Path
) -> None:
    cluster = await Cluster.connect(kubeconfig)
    await asyncio.to_thread(token_file.write_text, "second")
    assert (await cluster.login()).token == "first"
    monkeypatch.setattr(client, "TOKEN_LIFE", -1.0)
    assert (await cluster.login()).token == "second"


async def test_in_a_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from kubernetes.aio.config import incluster_config

    (tmp_path / "namespace").write_text("operators\n")
    (tmp_path / "token").write_text("pod-token")
    (tmp_path / "ca.crt").write_text(_authority())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(client, "_POD_NAMESPACE", tmp_path / "namespace")
    cluster = await Cluster.connect()
    info = await cluster.login()
    assert cluster.namespace == "operators"
    assert info.server == "https://10.0.0.1:443"
    assert info.ca_path == str(tmp_path / "ca.crt")
    assert info.token == "pod-token"


def _authority() -> str:
    import certifi

    return Path(certifi.where()).read_text()
