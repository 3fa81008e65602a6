"""Debian's packages without installing them: apt downloads, dpkg unpacks into the user's cache, the machine stays as it was.

No maintainer script runs, so no service starts and nothing outside the cache changes. Two things are made this way: programs
that this machine lacks (`unpack_programs`), and a small root file system with Python for container images (`pack_root`).

What is in the cache is named by a hash of the package names and of Debian's release. Versions are not pinned, on purpose: a
release changes by corrections alone, and its archive drops the versions they replace.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console

from dev.toolchain import cache_folder, locked

FORMAT = "1"
"""Counts changes to how things are unpacked, so that a cache of an older checkout is not taken for ours."""

LEFT_OUT = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man")
"""Folders that no program in a container reads."""

MERGED_INTO_USR = ("bin", "lib", "lib64", "sbin")
"""Links that Debian's installer makes before it unpacks anything."""

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

APT_TIMEOUT = 600.0
"""Seconds for one download."""


class DebianError(Exception):
    """Packages cannot be had; the message says why and what to do."""


def why_impossible() -> str | None:
    """Why packages cannot be unpacked here, or None if they can."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "This machine is not a Debian: apt-get and dpkg-deb are missing."
    if os.geteuid() != 0:
        return "This process is not root, so apt cannot download and files cannot keep their owners."
    return None


def unpack_programs(*packages: str) -> Path:
    """A folder that holds, of these packages and what they need, whatever is not installed on this machine.

    Raises DebianError if they cannot be downloaded.
    """
    return _cached("programs", packages, lambda target: _unpack(_download(packages, target), target))


def pack_root(*packages: str) -> Path:
    """An archive (tar) of a root file system with these packages and all that they need.

    It trusts the certificate authorities that this machine trusts, as builds behind a company's proxy must.
    Raises DebianError if the packages cannot be downloaded.
    """
    trusted = hashlib.sha256(CERTIFICATES.read_bytes()).hexdigest() if CERTIFICATES.exists() else ""
    return _cached("root", (*packages, trusted), lambda target: _build_root(packages, target)) / "root.tar"


def _build_root(packages: Iterable[str], target: Path) -> None:
    root = target / "root"
    for name in MERGED_INTO_USR:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    _unpack(_download(packages, target, onto_nothing=True), root)
    for name in ("passwd", "group"):  # what base-passwd's maintainer script does
        shutil.copy(root / "usr/share/base-passwd" / f"{name}.master", root / "etc" / name)
    if CERTIFICATES.exists():
        shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    _run("tar", "--create", "--file", target / "root.tar", "--directory", root, ".")
    shutil.rmtree(root)


def _cached(kind: str, key: Iterable[str], build: Callable[[Path], None]) -> Path:
    """The folder of the cache for this key, built in a temporary place and renamed when it is whole."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    text = "\0".join((FORMAT, release, platform.machine(), *key))
    place = cache_folder() / "debian" / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    with locked(place.with_suffix(".lock")):
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{kind}-") as folder:
                build(Path(folder) / "content")
                (Path(folder) / "content").rename(place)
    return place


def _download(packages: Iterable[str], target: Path, *, onto_nothing: bool = False) -> list[Path]:
    """Downloads packages with what they need and this machine lacks, or with all that they need."""
    archives = target.parent / "archives"
    (archives / "partial").mkdir(parents=True)
    Console(stderr=True).print(
        f"Downloading from Debian: {' '.join(packages)}", highlight=False, soft_wrap=True
    )
    options = [f"--option=Dir::Cache::archives={archives}", "--option=APT::Sandbox::User=root"]
    if onto_nothing:
        options.append("--option=Dir::State::status=/dev/null")
    command = [
        "apt-get",
        "install",
        "--download-only",
        "--no-install-recommends",
        "--yes",
        *options,
        *packages,
    ]
    try:
        _run(*command)
    except DebianError:  # the lists of packages are missing, or name versions that were replaced
        _run("apt-get", "update")
        _run(*command)
    return sorted(archives.glob("*.deb"))


def _unpack(archives: Iterable[Path], root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    excluded = [f"--exclude=./{folder}/*" for folder in LEFT_OUT]
    for archive in archives:
        content = root.parent / "content.tar"
        with content.open("wb") as file:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], stdout=file, check=True)
        _run(
            "tar", "--extract", "--keep-directory-symlink", *excluded, "--directory", root, "--file", content
        )
        content.unlink()


def _run(*command: str | Path) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    finished = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=APT_TIMEOUT,
        check=False,
    )
    if finished.returncode != 0:
        raise DebianError(
            f"{command[0]} exited with code {finished.returncode}. Check that Debian's archive is reachable and the disk is "
            f"not full, then try again. It said:\n{finished.stderr.strip()}"
        )
