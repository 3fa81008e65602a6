"""Puts the programs of examples into their manifests: `python -m dev.programs`, or `make examples`.

A folder of examples whose program is WebAssembly text has it as one `.wat` file. Its manifests carry that program assembled, as a data: URL,
so that they can be applied with nothing to build or to upload.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

import wasmtime

EXAMPLES = Path(__file__).parent.parent / "examples"

_PROGRAM = re.compile(r"(?<=data:application/wasm;base64,)[^\"]*")


def main() -> None:
    """Brings every manifest up to date."""
    for manifest, source in manifests():
        manifest.write_text(with_program(manifest.read_text(), source))


def manifests() -> list[tuple[Path, Path]]:
    """Every manifest that carries a program, with the source of the program."""
    sources = sorted(EXAMPLES.rglob("*.wat"))
    beside = ((file, source) for source in sources for file in sorted(source.parent.glob("*.yaml")))
    return [(file, source) for file, source in beside if _PROGRAM.search(file.read_text())]


def with_program(text: str, source: Path) -> str:
    """A manifest with the program as its source is now. The names stay in it: Bacalhau does not load a module without them."""
    module = base64.b64encode(wasmtime.wat2wasm(source.read_text())).decode()
    return _PROGRAM.sub(module, text)


if __name__ == "__main__":
    main()
