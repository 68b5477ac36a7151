"""Configuration of Sphinx; `make docs` builds the site in `build/docs`.

The pages are plain Markdown, so that they can be read in the repository too: navigation and links
to source files are added by `docs.sphinx`, not by markup.
"""

from importlib import metadata

project = "clipmill"
release = metadata.version("clipmill")
html_title = f"clipmill {release}"

extensions = ["myst_parser", "docs.sphinx.navigation", "docs.sphinx.source_pages"]
source_suffix = {".md": "markdown"}
root_doc = "index"

myst_heading_anchors = 4
myst_url_schemes = {"http": None, "https": None, "mailto": None, "source": None}

# Furo contains its fonts and scripts: the site loads nothing from another host.
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
