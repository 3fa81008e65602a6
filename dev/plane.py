"""The local control plane: Kubernetes' API, Bacalhau, IPFS and S3 as real servers on loopback, without containers.

    with ControlPlane() as plane:
        plane.install_crds()
        plane.kubectl("apply", "-f", "dag.yaml")

What it offers:

- `plane.kubeconfig`: the administrator's kubeconfig; `plane.kubectl(*arguments, stdin=None)` returns what kubectl prints.
- `plane.kubernetes` (API server): `.url`, and `.kubeconfig_for("controller", namespace="operator")`, which acts as a
  service account and so under its RBAC rules. `plane.controller_manager` and `plane.etcd` stand behind it.
- `plane.bacalhau`: `.url`; orchestrator and compute in one process, WebAssembly engine, publishers `ipfs`, `s3`, `local`.
- `plane.ipfs`: `.api_url`, `.gateway_url`, `.add(bytes)`, `.add_directory({path: bytes})`, `.add_path(Path)`, `.cat(path)`,
  `.ls(path)`, `.read_directory(cid)`.
- `plane.s3`: `.endpoint`, `.access_key`, `.secret_key`, `.region`, `.create_bucket`, `.put`, `.get`, `.keys`.
- `plane.install_crds()`, and `plane.create_connection(namespace=...)` for the BacalhauConnection `default` to all of these.
- `plane.start_bacalhau(name, BacalhauOptions(...))`: a further node: an orchestrator only, a compute node that joins one,
  one that asks for an API key or serves TLS (`plane.issue_certificate(name)`), or any with extra `config`.

Every server has `start()`, `stop()`, `kill()` (SIGKILL), `restart()`, `running`, `pid`, `log` and `log_tail()`; it keeps its
ports and data from start to start. All of them end when the plane is closed, and with the process that owns it.
Any number of planes can run at once.
"""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from dev import toolchain
from dev.servers.bacalhau import BacalhauOptions, BacalhauServer
from dev.servers.certificates import Certificate, issue_certificate
from dev.servers.etcd import Etcd
from dev.servers.kubectl import Kubectl
from dev.servers.kubernetes import KubeAPIServer, KubeControllerManager
from dev.servers.kubo import Kubo
from dev.servers.process import Server
from dev.servers.s3 import S3

CRDS = Path(__file__).parent.parent / "crds"

TOOLS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "ipfs", "bacalhau", "versitygw")
"""The binaries that a plane runs."""


class ControlPlane:
    """All the servers below one folder, started and ended together."""

    def __init__(self, directory: Path | None = None) -> None:
        """A plane that is not started yet, below `directory` or else a temporary folder that goes when it is closed."""
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="control-plane-")
            directory = Path(self._temporary.name)
        self.directory = directory.resolve()  # each server runs in a folder of its own
        self.etcd = Etcd(self.directory / "etcd")
        self.kubernetes = KubeAPIServer(self.directory / "kube-apiserver", self.etcd)
        self.controller_manager = KubeControllerManager(
            self.directory / "kube-controller-manager", self.kubernetes
        )
        self.ipfs = Kubo(self.directory / "kubo")
        self.s3 = S3(self.directory / "s3")
        self.bacalhau = self._bacalhau("bacalhau", BacalhauOptions(), folder="bacalhau")
        self.kubectl = Kubectl(self.kubeconfig, home=self.directory)
        self._further: list[Server] = []

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.kubernetes.kubeconfig

    @property
    def servers(self) -> list[Server]:
        """Every server of the plane, in the order in which they depend on each other."""
        return [
            self.etcd,
            self.kubernetes,
            self.controller_manager,
            self.ipfs,
            self.s3,
            self.bacalhau,
            *self._further,
        ]

    def start(self) -> None:
        """Builds what is missing, and returns when every server is ready.

        Raises ToolchainError or ServerError; what had been started is ended first.
        """
        toolchain.find_all(TOOLS)
        chains = [[self.etcd, self.kubernetes, self.controller_manager], [self.s3, self.ipfs, self.bacalhau]]
        try:
            with ThreadPoolExecutor(len(chains)) as pool:
                list(pool.map(_start_in_order, chains))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends every server at once: nothing of a plane is kept, so none has anything to put in order."""
        for server in reversed(self.servers):
            server.kill()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def install_crds(self) -> list[str]:
        """Applies the resources' definitions from `crds/`, if there are any, and waits until they are served."""
        if not any(CRDS.glob("*.yaml")):
            return []
        applied = self.kubectl("apply", "--server-side", "-f", CRDS, "-o", "name").split()
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *applied)
        return applied

    def create_connection(self, *, namespace: str, name: str = "default") -> None:
        """Creates a BacalhauConnection to the plane's Bacalhau and IPFS node, or makes it what it should be."""
        connection = {
            "apiVersion": "bacalhau.org/v1alpha1",
            "kind": "BacalhauConnection",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"endpoint": self.bacalhau.url, "ipfs": {"apiURL": self.ipfs.api_url}},
        }
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(connection))

    def start_bacalhau(self, name: str, options: BacalhauOptions) -> BacalhauServer:
        """Starts one more Bacalhau node, which ends with the plane; returns when it is ready.

        Its folder is its own, even where an earlier node had the same name: Bacalhau locks its data.
        """
        node = self._bacalhau(name, options, folder=f"{name}-{len(self._further) + 1}")
        self._further.append(node)
        node.start()
        return node

    def issue_certificate(self, name: str) -> Certificate:
        """A certificate for a server on loopback, from an authority of its own."""
        return issue_certificate(self.directory / "certificates" / name)

    def _bacalhau(self, name: str, options: BacalhauOptions, *, folder: str) -> BacalhauServer:
        return BacalhauServer(self.directory / folder, kubo=self.ipfs, s3=self.s3, name=name, options=options)


def _start_in_order(servers: list[Server]) -> None:
    for server in servers:
        server.start()
