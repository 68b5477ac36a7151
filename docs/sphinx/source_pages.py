"""Sphinx extension: links to source files of the project lead to pages with their text.

In the repository such a link (``../streams/stage.py``) leads to the file itself. The site contains
a page for every linked file, and for every linked folder a page that lists its files.
"""

import html
import posixpath
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

PROJECT = Path(__file__).resolve().parents[2]
DOCS = "docs"
SCHEME = "source:"
"""Marks a link to a source file from the reading of a page to its writing."""

PAGES = "source"
"""Folder of the site that contains the pages of source files."""

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(#[^)]*)?\)")

LEXERS = {"Dockerfile": "docker", ".py": "python", ".sh": "sh", ".c": "c", ".java": "java"} | {
    ".json": "json",
    ".yml": "yaml",
    ".toml": "toml",
}

BYTES_MAX = 200_000
"""A larger file is shown up to here."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="{root}_static/pygments.css">
</head>
<body>
<p><a href="{root}index.html">clipmill</a></p>
<h1>{title}</h1>
{body}
</body>
</html>
"""

log = logging.getLogger(__name__)


def marked(page: str, text: str) -> tuple[str, list[str], list[str]]:
    """Return a page's text with its links to source files marked, these files, and missing ones."""
    folder = posixpath.dirname(f"{DOCS}/{page}")
    found: list[str] = []
    missing: list[str] = []

    def mark(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[1]))
        if path.startswith(f"{DOCS}/") and not (PROJECT / path).is_dir():
            return link[0]
        (found if (PROJECT / path).exists() else missing).append(path)
        return f"]({SCHEME}{path})"

    return LINK.sub(mark, text), found, missing


def _mark(app: Sphinx, page: str, content: list[str]) -> None:
    content[0], found, missing = marked(page, content[0])
    for path in missing:
        log.warning("link to %s, which does not exist", path, location=page)
    _linked(app).update(found)


def _linked(app: Sphinx) -> set[str]:
    """Return the source files linked so far. Every build reads all pages (``--fresh-env``)."""
    paths: set[str] | None = getattr(app, "clipmill_source_files", None)
    if paths is None:
        paths = set()
        app.clipmill_source_files = paths  # type: ignore[attr-defined]
    return paths


def _resolve(app: Sphinx, doctree: nodes.document, page: str) -> None:
    for link in doctree.findall(nodes.reference):
        target: str = link.get("refuri", "")
        if target.startswith(SCHEME):
            name = f"{PAGES}/{target.removeprefix(SCHEME)}"
            link["refuri"] = app.builder.get_relative_uri(page, name)
            link["internal"] = True


def _write(app: Sphinx, exception: Exception | None) -> None:
    """Write the pages, without the theme: its navigation would take most of the build's time."""
    if exception is not None:
        return
    files: set[str] = set()
    for path in sorted(_linked(app)):
        if (PROJECT / path).is_dir():
            names = _text_files(PROJECT / path)
            files |= {f"{path}/{name}" for name in names}
            _write_page(app, path, _listing(posixpath.basename(path), names))
        else:
            files.add(path)
    for path in sorted(files):
        _write_page(app, path, _highlighted(app, PROJECT / path))


def _text_files(folder: Path) -> list[str]:
    files = (each for each in sorted(folder.iterdir()) if each.is_file())
    return [each.name for each in files if b"\0" not in each.read_bytes()]


def _write_page(app: Sphinx, path: str, body: str) -> None:
    file = Path(app.outdir, PAGES, f"{path}.html")
    file.parent.mkdir(parents=True, exist_ok=True)
    root = "../" * (path.count("/") + 1)
    file.write_text(PAGE.format(title=html.escape(path), root=root, body=body))


def _listing(folder: str, names: list[str]) -> str:
    items = (f'<li><a href="{folder}/{name}.html">{html.escape(name)}</a></li>' for name in names)
    return f"<ul>{''.join(items)}</ul>"


def _highlighted(app: Sphinx, file: Path) -> str:
    text = file.read_bytes()[:BYTES_MAX].decode(errors="replace")
    lexer = LEXERS.get(file.suffix) or LEXERS.get(file.name, "text")
    highlighter = app.builder.highlighter  # type: ignore[attr-defined]
    highlighted: str = highlighter.highlight_block(text, lexer, force=True)
    return highlighted


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("source-read", _mark)
    app.connect("doctree-resolved", _resolve)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
