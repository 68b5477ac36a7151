"""One name, one type: a search for a class or an alias of a type leads to one definition."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "streams", "agents")


def type_names(module: ast.Module) -> Iterator[str]:
    """Yield the public classes and aliases that a module defines; constants are in capitals."""
    for node in module.body:
        match node:
            case ast.ClassDef(name=name):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if name.isupper():
                    continue
            case _:
                continue
        if name[0].isupper():
            yield name


def test_no_two_modules_define_a_type_of_the_same_name() -> None:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(each for package in PACKAGES for each in (ROOT / package).rglob("*.py")):
        for name in type_names(ast.parse(path.read_text())):
            found[name].append(str(path.relative_to(ROOT)))
    assert len(found) > 500
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}
