"""The documents of the contract as files: one JSON Schema per message, and AsyncAPI.

`python -m streams.documents` writes them, with `--check` it only compares.
"""

import difflib
from pathlib import Path

import click

from schemas.documents import as_text, schema_files
from streams.asyncapi import asyncapi

SCHEMAS = Path("schemas/json")
ASYNCAPI = Path("docs/asyncapi.json")
ROOT = Path(__file__).resolve().parents[1]


def documents() -> dict[Path, str]:
    """Return the text of every document by its path in the project."""
    schemas = {SCHEMAS / name: text for name, text in schema_files().items()}
    return schemas | {ASYNCAPI: as_text(asyncapi())}


def differences(root: Path) -> str:
    """Return a unified diff from the files under a folder to what they should be, "" if none."""
    wanted = {str(path): text for path, text in documents().items()}
    found = _read(root)
    return "".join(
        _diff(path, found.get(path, ""), wanted.get(path, ""))
        for path in sorted(wanted.keys() | found.keys())
    )


def _read(root: Path) -> dict[str, str]:
    """Return the documents that are there, also those that no message has any more."""
    paths = {*documents(), *_present(root)}
    return {str(path): (root / path).read_text() for path in paths if (root / path).is_file()}


def _present(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in (root / SCHEMAS).glob("*.json")}


def _diff(path: str, found: str, wanted: str) -> str:
    lines = difflib.unified_diff(
        found.splitlines(keepends=True), wanted.splitlines(keepends=True), path, f"{path} (new)"
    )
    return "".join(lines)


def write(root: Path) -> None:
    """Write every document under a folder; delete the schemas of messages that are no more."""
    wanted = documents()
    for path in _present(root) - wanted.keys():
        (root / path).unlink()
    for path, text in wanted.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; fail with a diff if one is outdated.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=ROOT,
    help="The project's folder.",
)
def main(*, check: bool, root: Path) -> None:
    """Write the JSON Schemas and the AsyncAPI document of the contract."""
    if not check:
        write(root)
        return
    if difference := differences(root):
        click.echo(difference, nl=False)
        raise click.ClickException("documents are outdated; run `python -m streams.documents`")


if __name__ == "__main__":
    main()
