import os
from pathlib import Path

import pytest


@pytest.fixture
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Isolate the test from the machine's settings: environment and working directory."""
    for name in list(os.environ):
        if name.upper().startswith("CLIPMILL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
