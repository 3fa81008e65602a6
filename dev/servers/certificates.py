"""A certificate authority for one plane, and certificates for servers on loopback."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """A server's certificate chain and key, and the authority that clients must trust."""

    chain: Path
    key: Path
    authority: Path

    @property
    def trust(self) -> ssl.SSLContext:
        """What makes a client trust exactly this authority."""
        return ssl.create_default_context(cafile=self.authority)


def issue_certificate(directory: Path, *, name: str = "server") -> Certificate:
    """A certificate for 127.0.0.1 and localhost, from an authority made for it."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    certificate = Certificate(
        chain=directory / f"{name}.crt", key=directory / f"{name}.key", authority=directory / f"{name}-ca.crt"
    )
    certificate.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    certificate.key.write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(certificate.authority))
    return certificate
