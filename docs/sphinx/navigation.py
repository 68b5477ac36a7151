"""Sphinx extension: the navigation is the links of the index pages.

A page that no index page links to is in no table of contents, about which Sphinx warns.
"""

import posixpath
import re

from sphinx.application import Sphinx

INDEX_PAGES = {
    "index": "",
    "decisions/README": "decisions/",
    "reference/alerts": "runbooks/",
}
"""Pages whose links are the navigation, each with the first part of the names of its children."""

LINK = re.compile(r"\]\((?!\w+:)([^)#]+)\.md\)")
"""A link to a whole page, relative to the page."""

DEPTH = 2


def linked_pages(page: str, text: str) -> list[str]:
    """Return the pages that an index page links to, once each, in their order."""
    folder = posixpath.dirname(page)
    found = (posixpath.normpath(posixpath.join(folder, target)) for target in LINK.findall(text))
    first = INDEX_PAGES[page]
    return [name for name in dict.fromkeys(found) if name.startswith(first) and name[:2] != ".."]


def with_navigation(page: str, text: str) -> str:
    """Return the text of an index page with a hidden table of contents below each section."""
    sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    seen: set[str] = set()
    parts: list[str] = []
    for section in sections:
        pages = [name for name in linked_pages(page, section) if name not in seen]
        seen.update(pages)
        parts.append(section.rstrip() + "\n")
        if pages:
            parts.append(_toctree(_caption(section) if page == "index" else "", pages))
    return "\n".join(parts)


def _caption(section: str) -> str:
    first, _, _ = section.partition("\n")
    return first.removeprefix("## ") if first.startswith("## ") else ""


def _toctree(caption: str, pages: list[str]) -> str:
    options = [":hidden:", f":maxdepth: {DEPTH}", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["```{toctree}", *options, "", *(f"/{name}" for name in pages), "```", ""])


def _add(_app: Sphinx, page: str, content: list[str]) -> None:
    if page in INDEX_PAGES:
        content[0] = with_navigation(page, content[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("source-read", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
