"""Puts the programs of examples into their manifests: `python -m dev.programs`, or `make examples`.

A manifest whose program is inline carries it assembled, as a data: URL, so that it can be applied with nothing to build or to upload. The module
`/tool.wasm` of a job is `tool.wat` assembled, which is in one of the folders.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

import wasmtime

EXAMPLES = Path(__file__).parent.parent / "examples"

_PROGRAM = re.compile(r"(?<=data:application/wasm;base64,)[^\"]*")
_NAME = re.compile(r"EntryModule: /(\w+)\.wasm")


def main() -> None:
    """Brings every manifest up to date."""
    for manifest, source in manifests():
        manifest.write_text(with_program(manifest.read_text(), source))


def manifests() -> list[tuple[Path, Path]]:
    """Every manifest that carries a program, with the source of the program."""
    sources = {source.stem: source for source in EXAMPLES.rglob("*.wat")}
    carriers = (file for file in sorted(EXAMPLES.rglob("*.yaml")) if _PROGRAM.search(file.read_text()))
    return [(file, sources[_NAME.findall(file.read_text())[0]]) for file in carriers]


def with_program(text: str, source: Path) -> str:
    """A manifest with the program as its source is now. The names stay in it: Bacalhau does not load a module without them."""
    module = base64.b64encode(wasmtime.wat2wasm(source.read_text())).decode()
    return _PROGRAM.sub(module, text)


if __name__ == "__main__":
    main()
