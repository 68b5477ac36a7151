"""`python -m docs.generate` writes the reference pages, with `--check` it only compares."""

from pathlib import Path

import click

from docs.generate import alerts, cli, entry_points, errors, metrics, settings, topics

FOLDER = Path(__file__).resolve().parents[1] / "reference"


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
    """Write the reference pages."""
    wanted = pages()
    found = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    outdated = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if check and outdated:
        raise click.ClickException(
            f"{', '.join(outdated)}: outdated; run `python -m docs.generate`"
        )
    FOLDER.mkdir(exist_ok=True)
    for name in outdated:
        if name in wanted:
            (FOLDER / name).write_text(wanted[name])
        else:
            (FOLDER / name).unlink()


if __name__ == "__main__":
    main()
