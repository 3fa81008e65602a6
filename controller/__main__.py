"""``python -m controller``: run the operator."""

import argparse
import asyncio
import gc
import sys

from kubernetes.aio.config import ConfigException
from pydantic import ValidationError

from controller import __version__, logs
from controller.operator import run
from controller.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run until told to end. Gives the exit code: 1 if the Lease was lost, 2 if the settings cannot be used."""
    parser = argparse.ArgumentParser(
        prog="bacalhau-dag-operator",
        description="Runs BacalhauDAG resources. Settings are environment variables: BACALHAU_DAG_…",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.parse_args(arguments)
    try:
        settings = Settings()
    except ValidationError as error:
        print(f"The settings cannot be used: {error}", file=sys.stderr)
        return 2
    logs.configure(level=settings.log_level, form=settings.log_format)
    gc.freeze()  # a million objects of modules that stay: no collection needs them, and the one at exit takes seconds
    try:
        return asyncio.run(run(settings))
    except ConfigException as error:
        print(f"The Kubernetes API cannot be used: {error}", file=sys.stderr)
    except OSError as error:
        print(f"Probes and metrics cannot be served at port {settings.http_port}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
