"""The site, built from small pages with the configuration of the project."""

import re
import subprocess
import sys
from pathlib import Path

from tests.unit.docs.markdown_pages import DOCS, PROJECT

INDEX = "# Site\n\n## Pages\n\n[page](page.md)\n"
PAGE = """# Page

[runtime](../streams/runtime), [stage](../streams/stage.py), [part](#part)

## Part
"""


def build(folder: Path, **pages: str) -> subprocess.CompletedProcess[str]:
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)
    command = [sys.executable, "-m", "sphinx", "--nitpicky", "--fail-on-warning", "--keep-going"]
    paths = ["--conf-dir", str(DOCS / "sphinx"), str(folder), str(folder / "site")]
    return subprocess.run(
        [*command, *paths], capture_output=True, text=True, check=False, cwd=PROJECT
    )


def test_links_to_source_files_lead_to_pages_of_the_site_and_nothing_is_loaded_from_elsewhere(
    tmp_path: Path,
) -> None:
    done = build(tmp_path, index=INDEX, page=PAGE)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "site" / "page.html").read_text()
    assert 'href="source/streams/stage.py.html"' in text
    listing = (tmp_path / "site" / "source" / "streams" / "runtime.html").read_text()
    assert 'href="runtime/worker.py.html"' in listing
    source = (tmp_path / "site" / "source" / "streams" / "runtime" / "worker.py.html").read_text()
    assert 'href="../../../_static/pygments.css"' in source
    for file in (tmp_path / "site").rglob("*.html"):
        for tag in re.findall(r"<(?:link|script|img)\b[^>]*>", file.read_text()):
            assert "//" not in tag


def test_broken_link_anchor_and_source_link_and_a_page_without_entry_fail_the_build(
    tmp_path: Path,
) -> None:
    broken = "# Page\n\n[a](missing.md), [b](index.md#missing), [c](../streams/missing.py)\n"
    done = build(tmp_path, index=INDEX, page=broken, orphan="# Orphan\n")
    assert done.returncode == 1
    assert "target not found: 'missing.md'" in done.stderr
    assert "'missing'" in done.stderr
    assert "link to streams/missing.py, which does not exist" in done.stderr
    assert "orphan.md: WARNING: document isn't included in any toctree" in done.stderr
