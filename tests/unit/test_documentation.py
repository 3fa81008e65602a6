"""The pages of the project: every link within it leads somewhere, and every feature is shown by an example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.examples import FOLDER, all_examples

ROOT = FOLDER.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *FOLDER.rglob("*.md")]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub links to them."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(page.read_text()))
    return {text.replace(" ", "-") for text in words}


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not leads_somewhere(page, link)] == []


@pytest.mark.parametrize("page", ["comparison.md", "control-flow.md dags.md"])
def test_the_pages_link_every_example_of_a_feature(page: str) -> None:
    text = "".join((ROOT / "docs" / name).read_text() for name in page.split())
    shown = {Path(link).stem for link in _LINK.findall(text)}
    examples = {example.file.stem for example in all_examples() if example.file.parent.name == "control-flow"}
    assert examples <= shown
