"""The commands for people: `python -m dev tools | up | status | down | demo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dev import background, toolchain
from dev.background import PlaneError, PlaneState
from dev.plane import TOOLS
from dev.servers.process import ServerError

HEALTH_STYLES = {"ready": "green", "not ready": "yellow", "ended": "red"}

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Runs one command; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dev", description="A local control plane of real servers."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (command, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary, description=summary).set_defaults(command=command)
    commands.add_parser("supervise").set_defaults(command=background.supervise)
    run: Callable[[], int] = parser.parse_args().command
    try:
        return run()
    except (toolchain.ToolchainError, ServerError, PlaneError) as error:
        console.print(Text(str(error), style="red"))
        return 1


def tools() -> int:
    """Builds what is missing, and says where every tool is."""
    found = toolchain.find_all(toolchain.TOOLS)
    for name, path in found.items():
        console.print(f"{name:<24} {toolchain.TOOLS[name].version:<8} {path}")
    return 0


def up() -> int:
    """Starts a plane in the background."""
    already = background.running_plane()
    if already is None:
        toolchain.find_all(TOOLS)
        with console.status("Starting the servers …"):
            state = background.up()
    else:
        state = already
        console.print("The plane is running already.\n")
    show(state)
    show_next_steps()
    return 0


def status() -> int:
    """Shows the plane in the background; 3 if there is none, as service managers have it."""
    state = background.running_plane()
    if state is None:
        console.print("No plane is running. Start one with `make up`.")
        return 3
    show(state)
    return 0 if all(server.health == "ready" for server in state.servers) else 1


def down() -> int:
    """Ends the plane in the background."""
    ended = background.down()
    console.print("The plane has ended, and its data is gone." if ended else "No plane was running.")
    return 0


def demo() -> int:
    """Runs the word-count example from nothing to its result."""
    from dev import demo  # it brings the operator's own libraries, which no other command needs

    return demo.main()


COMMANDS: dict[str, tuple[Callable[[], int], str]] = {
    "tools": (tools, "Build the servers and command line tools that are missing."),
    "up": (up, "Start a control plane in the background."),
    "status": (status, "Show the control plane in the background."),
    "down": (down, "End the control plane in the background, and remove its data."),
    "demo": (demo, "Run the word-count example on servers of its own, from nothing to its result."),
}


def show(state: PlaneState) -> None:
    """Each server with its health, then what a person copies into a configuration."""
    table = Table("server", "health", "pid", "url", box=None, header_style="bold", pad_edge=False)
    for server in state.servers:
        health = Text(server.health, style=HEALTH_STYLES[server.health])
        table.add_row(server.name, health, str(server.pid or ""), server.url)
    console.print(table)
    for server in state.servers:
        if server.health != "ready":
            console.print(f"The log of {server.name}: {server.log}", style="yellow")
    console.print()
    show_pairs(
        {
            "kubeconfig": state.kubeconfig,
            "Bacalhau": state.url_of("bacalhau"),
            "IPFS gateway": f"{state.ipfs_gateway}/ipfs/<cid>",
            "S3": state.url_of("s3"),
        }
    )


def show_next_steps() -> None:
    """What to type now."""
    console.print("\nNext:")
    show_pairs(
        {
            f"source {_relative(background.ENVIRONMENT)}": "kubectl, bacalhau, ipfs and S3 clients then talk to this plane",
            ".venv/bin/python -m controller": "runs the operator; Ctrl-C ends it",
            "kubectl apply -f examples/hello/dag.yaml": "in another terminal",
            "kubectl get bdag --watch": "shows it advance",
            "make down": "ends all that was started here",
        }
    )


def show_pairs(pairs: Mapping[str, str]) -> None:
    """Two columns, never folded, so that what is in them can be copied."""
    width = max(map(len, pairs))
    for left, right in pairs.items():
        console.print(Text.assemble((left.ljust(width), "bold"), "  ", right))


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
