"""The Markdown files of the project: their links, anchors and fenced blocks."""

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

PROJECT = Path(__file__).resolve().parents[3]
DOCS = PROJECT / "docs"

PAGES = sorted(DOCS.rglob("*.md"))
"""Pages of the site."""

DOCUMENTS = sorted([*PAGES, *PROJECT.glob("*.md"), *(PROJECT / ".github").rglob("*.md")])
"""All Markdown files of the project."""

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: file and line of its fence, language, text."""

    file: Path
    line: int
    language: str
    text: str


def named(file: Path) -> str:
    return file.relative_to(PROJECT).as_posix()


every_document = pytest.mark.parametrize("file", DOCUMENTS, ids=map(named, DOCUMENTS))
every_page = pytest.mark.parametrize("file", PAGES, ids=map(named, PAGES))


def blocks(language: str) -> list[Block]:
    """Return all blocks of a language."""
    return [
        Block(file, text[: found.start()].count("\n") + 1, found[2], dedent(found[3]))
        for file in DOCUMENTS
        for text in [file.read_text()]
        for found in _FENCE.finditer(text)
        if found[2] == language
    ]


def languages() -> set[str]:
    """Return the languages of all blocks."""
    return {found[2] for file in DOCUMENTS for found in _FENCE.finditer(file.read_text())}


def every_block(language: str) -> pytest.MarkDecorator:
    """Parametrize a test with all blocks of a language."""
    found = blocks(language)
    names = [f"{named(each.file)}:{each.line}" for each in found]
    return pytest.mark.parametrize("block", found, ids=names)


def prose(text: str) -> str:
    """Return a text without its fenced blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Return the targets of the links and images of a text."""
    return _LINK.findall(_INLINE.sub("", prose(text)))


def file_links(text: str) -> list[tuple[str, str]]:
    """Return (text, target) of the links whose text is the name of a file, as inline code."""
    return re.findall(r"\[`([\w./-]+\.\w+)`\]\(([^)#\s]+)\)", prose(text))


def inline_codes(text: str) -> list[str]:
    return _INLINE.findall(prose(text))


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a text, as forges and MyST name them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(text), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        copies = (f"{slug}-{number}" if number else slug for number in range(100))
        found.add(next(each for each in copies if each not in found))
    return found
