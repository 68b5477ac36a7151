"""The public surface: what plug-in authors import, the documentation and the examples included."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRONT_DOORS = (
    "schemas",
    "streams",
    "agents.access",
    "agents.accounts",
    "agents.caching",
    "agents.pipeline",
    "agents.platforms",
    "agents.plugins",
    "agents.recovery",
    "agents.storage",
)
PACKAGES = {"schemas", "streams", "agents"}
PAGES = [ROOT / "docs" / name for name in ("extending.md", "plugins.md", "clients.md")]
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))

_CODE_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_IMPORT = re.compile(r"^(?:from|import) .*?(?:\([^)]*\))?$", re.MULTILINE)


def imports_of(code: str) -> Iterator[tuple[str, str]]:
    """Yield module and name of each import of this project's packages."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            found = [(node.module or "", each.name) for each in node.names]
        elif isinstance(node, ast.Import):
            found = [(each.name, "") for each in node.names]
        else:
            continue
        yield from (each for each in found if each[0].partition(".")[0] in PACKAGES)


def assert_only_front_doors(code: str, origin: str) -> None:
    for module, name in imports_of(code):
        assert module in FRONT_DOORS, f"{origin} imports {module}, which is no front door"
        assert name in import_module(module).__all__, f"{origin}: {module} promises no {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documented_code_imports_front_doors_only(page: Path) -> None:
    for block in _CODE_BLOCK.findall(page.read_text()):
        assert_only_front_doors("\n".join(_IMPORT.findall(block)), page.name)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_import_front_doors_only(example: Path) -> None:
    assert_only_front_doors(example.read_text(), example.name)


@pytest.mark.parametrize("name", FRONT_DOORS)
def test_front_door_has_every_name_that_it_promises(name: str) -> None:
    module = import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, each) for each in module.__all__)


@pytest.mark.parametrize("name", ["schemas", "streams"])
def test_unknown_name_of_a_lazy_front_door_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        _ = import_module(name).nothing


def test_lazy_front_doors_import_nothing_before_a_name_is_used() -> None:
    code = "import sys, schemas, streams; print('msgspec' in sys.modules or 'faust' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "False\n"
