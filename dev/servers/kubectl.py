"""kubectl against one plane, for tests and for the commands a person types."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dev import toolchain


class KubectlError(Exception):
    """kubectl refused; the message is what it printed."""


class Kubectl:
    """Runs kubectl with one kubeconfig: `kubectl("get", "pods", "-o", "name")` returns what it prints."""

    def __init__(self, kubeconfig: Path, *, home: Path) -> None:
        self.kubeconfig = kubeconfig
        self._home = home  # its discovery cache goes there, not into the user's own

    def __call__(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 60) -> str:
        """What kubectl prints on standard output, `stdin` being its input.

        Raises KubectlError if it exits with another code than 0, and subprocess.TimeoutExpired after `timeout` seconds.
        """
        command = [str(toolchain.find("kubectl")), f"--kubeconfig={self.kubeconfig}", *map(str, arguments)]
        environment = {"HOME": str(self._home), "PATH": ""}
        finished = subprocess.run(
            command,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            check=False,
        )
        if finished.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(map(str, arguments))}: {finished.stderr.strip()}")
        return finished.stdout
