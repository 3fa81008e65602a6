"""The Kubernetes API server and the controllers of Kubernetes' own that an operator leans on.

There is no kubelet and no scheduler: nothing here runs Pods. The controller manager collects garbage, empties deleted
namespaces and gives each namespace its default service account, so that owner references and TokenRequest work.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import yaml
from typing_extensions import override

from dev import toolchain
from dev.servers.certificates import Certificate, issue_certificate
from dev.servers.etcd import Etcd
from dev.servers.process import Server, free_port, loopback_client

TOKEN_LIFETIME = 24 * 3600
"""Seconds for which a service account's token is valid; a plane does not live longer."""


class KubeAPIServer(Server):
    """An API server over TLS with RBAC; clients use the admin's kubeconfig or one of a service account."""

    name = "kube-apiserver"
    stop_timeout = 2.0  # with watches open it would take its full minute

    def __init__(self, directory: Path, etcd: Etcd) -> None:
        super().__init__(directory)
        self._etcd = etcd
        self._port = free_port()
        self.admin_token = secrets.token_urlsafe(24)
        self.certificate: Certificate = issue_certificate(directory)
        self.kubeconfig = self._write_kubeconfig("admin", self.admin_token)
        self._http = loopback_client(
            self.url,
            trust=self.certificate.trust,
            headers={"Authorization": f"Bearer {self.admin_token}"},
        )

    @property
    @override
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @override
    def prepare(self) -> None:
        super().prepare()
        (self.directory / "tokens.csv").write_text(f'{self.admin_token},admin,admin,"system:masters"\n')

    @override
    def command(self) -> list[str]:
        key = str(self.certificate.key)
        return [
            str(toolchain.find("kube-apiserver")),
            f"--etcd-servers={self._etcd.url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # the `kubernetes` service may not point to loopback
            f"--secure-port={self._port}",
            f"--cert-dir={self.directory}",
            f"--tls-cert-file={self.certificate.chain}",
            f"--tls-private-key-file={key}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--profiling=false",
        ]

    @override
    def ready(self) -> bool:
        return self._http.get("/readyz").status_code == 200

    def kubeconfig_for(self, service_account: str, *, namespace: str) -> Path:
        """A kubeconfig that acts as an existing service account, through a token that the API server issues."""
        response = self._http.post(
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token",
            json={"spec": {"expirationSeconds": TOKEN_LIFETIME}},
        )
        token = response.raise_for_status().json()["status"]["token"]
        return self._write_kubeconfig(f"{namespace}-{service_account}", token, namespace=namespace)

    def _write_kubeconfig(self, user: str, token: str, *, namespace: str = "default") -> Path:
        path = self.directory / f"{user}.kubeconfig"
        path.write_text(yaml.safe_dump(self._kubeconfig(user, token, namespace)))
        path.chmod(0o600)
        return path

    def _kubeconfig(self, user: str, token: str, namespace: str) -> Mapping[str, object]:
        cluster = {"server": self.url, "certificate-authority": str(self.certificate.authority)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "plane", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [
                {"name": user, "context": {"cluster": "plane", "user": user, "namespace": namespace}}
            ],
            "current-context": user,
        }


class KubeControllerManager(Server):
    """The controllers that namespaces, owner references and service accounts need."""

    name = "kube-controller-manager"

    CONTROLLERS = (
        "garbage-collector-controller",
        "namespace-controller",
        "serviceaccount-controller",
        "root-ca-certificate-publisher-controller",
        "clusterrole-aggregation-controller",
    )

    def __init__(self, directory: Path, api_server: KubeAPIServer) -> None:
        super().__init__(directory)
        self._api_server = api_server
        self._port = free_port()
        self._http = loopback_client(self.url)  # it certifies itself anew at each start

    @property
    @override
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @override
    def command(self) -> list[str]:
        kubeconfig = str(self._api_server.kubeconfig)
        return [
            str(toolchain.find("kube-controller-manager")),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self.directory}",
            f"--root-ca-file={self._api_server.certificate.authority}",
            f"--controllers={','.join(self.CONTROLLERS)}",
            "--leader-elect=false",
            "--profiling=false",
        ]

    @override
    def ready(self) -> bool:
        return self._http.get("/healthz").status_code == 200
