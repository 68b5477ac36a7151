"""`python -m docs.generate` writes the reference pages and `openapi.json`.

With `--check` it only compares.
"""

from pathlib import Path

import click

from docs.generate import alerts, cli, entry_points, errors, metrics, settings, topics
from schemas.contract.json_schema import render_json
from streams.console.handlers import OPERATIONS
from streams.console.openapi import openapi

DOCS = Path(__file__).resolve().parents[1]


def pages() -> dict[str, str]:
    """Return the text of every page by the name of its file."""
    return {
        "alerts.md": alerts.page_of_alerts(),
        "cli.md": cli.page_of_commands(),
        "entry-points.md": entry_points.page_of_entry_points(),
        "errors.md": errors.page_of_errors(),
        "metrics.md": metrics.page_of_metrics(),
        "settings.md": settings.page_of_settings(),
        "topics.md": topics.page_of_topics(),
    }


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; fail if a page is outdated.")
def main(*, check: bool) -> None:
    """Write the reference pages and the OpenAPI document."""
    folder, document = DOCS / "reference", DOCS / "openapi.json"
    wanted = {folder / name: text for name, text in pages().items()}
    wanted[document] = render_json(openapi(OPERATIONS))
    present = [path for path in (*folder.glob("*.md"), document) if path.exists()]
    found = {path: path.read_text() for path in present}
    outdated = sorted(
        path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path)
    )
    if check and outdated:
        names = ", ".join(path.name for path in outdated)
        raise click.ClickException(f"{names}: outdated; run `python -m docs.generate`")
    folder.mkdir(exist_ok=True)
    for path in outdated:
        if path in wanted:
            path.write_text(wanted[path])
        else:
            path.unlink()


if __name__ == "__main__":
    main()
