"""`python -m controller.api [--check] [DIRECTORY]`: write the CRD manifests, or check that they are current."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from controller.api.crds import KINDS, file_name, manifest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give its exit status, 1 if `--check` found a difference."""
    options = _parser().parse_args(arguments)
    manifests = {options.directory / file_name(kind): manifest(kind) for kind in KINDS}
    if options.check:
        return _check(manifests)
    options.directory.mkdir(parents=True, exist_ok=True)
    for path, text in manifests.items():
        path.write_text(text, encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m controller.api", description="Write the CRD manifests.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail with a diff if one is stale"
    )
    parser.add_argument("directory", nargs="?", type=Path, default=Path("crds"), help="default: crds")
    return parser


def _check(manifests: dict[Path, str]) -> int:
    difference = "".join(line for path, text in manifests.items() for line in _difference(path, text))
    if not difference:
        return 0
    sys.stdout.write(difference)
    sys.stderr.write(
        "The CRD manifests are not what the models say. Run `make crds` and commit the result.\n"
    )
    return 1


def _difference(path: Path, expected: str) -> Iterator[str]:
    present = path.read_text(encoding="utf-8") if path.exists() else ""
    return difflib.unified_diff(
        present.splitlines(keepends=True), expected.splitlines(keepends=True), str(path), f"{path} (expected)"
    )


if __name__ == "__main__":
    sys.exit(main())
