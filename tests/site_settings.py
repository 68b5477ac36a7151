"""The settings blocks of platforms in their pages of the documentation."""

import re
import tomllib
from pathlib import Path

from streams.settings.platforms import ConfiguredSite

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```toml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def settings_of(site: str) -> ConfiguredSite:
    """The first block of the site's page."""
    block = _BLOCK.search((DOCS / f"{site}.md").read_text())
    assert block is not None, f"docs/{site}.md has no settings"
    return ConfiguredSite.model_validate(tomllib.loads(block[1])["platforms"][site])
