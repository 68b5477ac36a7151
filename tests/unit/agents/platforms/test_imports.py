"""A platform imports the interface of the tools, and no other platform."""

import ast
from pathlib import Path

import pytest

import agents.platforms

PERMITTED = (
    "agents.accounts.interface",
    "agents.engine.interface",
    "agents.engine.javascript",
    "agents.network.addresses",
    "agents.network.download",
    "agents.platforms",
    "schemas",
)
"""Packages of clipmill that a platform may import."""

SITES = (
    *(
        "bluesky",
        "douyin",
        "facebook",
        "instagram",
        "reddit",
        "streamable",
        "vimeo",
        "x",
        "youtube",
    ),
    *("douyin_extractor", "instagram_extractor", "x_extractor", "youtube_extractor"),
)
FOLDER = Path(agents.platforms.__file__).parent


def imported_by(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    named = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return named | {
        each.name for node in nodes if isinstance(node, ast.Import) for each in node.names
    }


@pytest.mark.parametrize("site", SITES)
def test_only_permitted_packages_are_imported(site: str) -> None:
    names = imported_by(FOLDER / f"{site}.py")
    ours = {name for name in names if name.partition(".")[0] in {"agents", "streams"}}
    forbidden = {
        name for name in ours if not any(f"{name}.".startswith(f"{each}.") for each in PERMITTED)
    }
    assert not forbidden
    others = {*SITES, "tiktok", "configured"}
    assert not any(name.split(".")[2:3] == [other] for name in ours for other in others)


def test_all_sites_are_checked() -> None:
    with_links = {
        file.stem for file in FOLDER.glob("*.py") if "LINKS = SiteLinks(" in file.read_text()
    }
    extractors = {file.stem for file in FOLDER.glob("*_extractor.py")}
    assert with_links | extractors == set(SITES)
