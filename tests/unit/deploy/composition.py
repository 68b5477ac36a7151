"""The services of docker-compose.yml."""

from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[3]
IMAGE = "clipmill"


def composition() -> dict[str, Any]:
    """Return docker-compose.yml, anchors resolved."""
    text = (PROJECT / "docker-compose.yml").read_text()
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def services() -> dict[str, dict[str, Any]]:
    """Return the services that run clipmill, by name."""
    found: dict[str, dict[str, Any]] = composition()["services"]
    return {name: each for name, each in found.items() if each["image"] == IMAGE}


def workers() -> dict[str, dict[str, Any]]:
    """Return the services that run stages."""
    return {name: each for name, each in services().items() if each["command"][0] == "worker"}
