"""An S3 server (versitygw over a plain folder), and the few signed requests that tests make of it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import httpx
from typing_extensions import override

from dev import toolchain
from dev.servers.process import Server, ServerError, free_port, loopback_client

_HEALTH = "/-/health"
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class S3(Server):
    """One S3 endpoint with one user, who may do everything."""

    name = "s3"
    access_key = "plane"
    secret_key = "plane-secret-key"
    region = "us-east-1"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._port = free_port()
        self._http = loopback_client(self.endpoint)

    @property
    @override
    def url(self) -> str:
        return self.endpoint

    @property
    def endpoint(self) -> str:
        """What goes into `Endpoint` of an S3 source or publisher."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def client_environment(self) -> dict[str, str]:
        """What an AWS client needs in its environment to be this server's user."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @override
    def environment(self) -> Mapping[str, str]:
        return {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}

    @override
    def prepare(self) -> None:
        super().prepare()
        (self.directory / "buckets").mkdir(exist_ok=True)
        (self.directory / "metadata").mkdir(exist_ok=True)

    @override
    def command(self) -> list[str]:
        gateway = [
            str(toolchain.find("versitygw")),
            f"--port=127.0.0.1:{self._port}",
            f"--region={self.region}",
        ]
        # Metadata beside the objects, not in extended attributes: those are missing on some temporary file systems.
        backend = ["posix", f"--sidecar={self.directory / 'metadata'}", str(self.directory / "buckets")]
        return [*gateway, f"--health={_HEALTH}", "--quiet", *backend]

    @override
    def ready(self) -> bool:
        return self._http.get(_HEALTH).status_code == 200

    def create_bucket(self, bucket: str) -> None:
        """Makes a bucket."""
        self._request("PUT", f"/{bucket}")

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Stores one object."""
        self._request("PUT", f"/{bucket}/{key}", content=content)

    def get(self, bucket: str, key: str) -> bytes:
        """The content of one object."""
        return self._request("GET", f"/{bucket}/{key}").content

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """The keys below a prefix, at most a thousand."""
        listed = self._request("GET", f"/{bucket}", query={"list-type": "2", "prefix": prefix})
        return [key.text or "" for key in ElementTree.fromstring(listed.text).iter(f"{_NAMESPACE}Key")]

    def _request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, content: bytes = b""
    ) -> httpx.Response:
        encoded_query = "&".join(
            f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in sorted((query or {}).items())
        )
        target = quote(path)
        headers = self._signed(method, target, encoded_query, content)
        response = self._http.request(method, f"{target}?{encoded_query}", headers=headers, content=content)
        if response.is_error:
            raise ServerError(f"S3 answered {response.status_code} to {method} {path}: {response.text}")
        return response

    def _signed(self, method: str, path: str, query: str, content: bytes) -> dict[str, str]:
        """The headers of a request with AWS's signature, version 4."""
        now = datetime.now(UTC)
        headers = {
            "host": f"127.0.0.1:{self._port}",
            "x-amz-content-sha256": hashlib.sha256(content).hexdigest(),
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        }
        names = ";".join(headers)
        canonical = "\n".join(
            [
                method,
                path,
                query,
                *(f"{name}:{value}" for name, value in headers.items()),
                "",
                names,
                headers["x-amz-content-sha256"],
            ]
        )
        scope = f"{now:%Y%m%d}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(
            ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()]
        )
        signature = self._signature(scope, to_sign)
        credential = f"Credential={self.access_key}/{scope}"
        return {
            **headers,
            "authorization": f"AWS4-HMAC-SHA256 {credential},SignedHeaders={names},Signature={signature}",
        }

    def _signature(self, scope: str, to_sign: str) -> str:
        key = f"AWS4{self.secret_key}".encode()
        for part in [*scope.split("/"), to_sign]:
            key = hmac.digest(key, part.encode(), "sha256")
        return key.hex()
