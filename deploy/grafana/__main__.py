"""`python -m deploy.grafana` writes the boards, with `--check` it only compares."""

import json
from pathlib import Path

import click

from deploy.grafana.board_list import BOARDS
from deploy.grafana.grafana_json import as_json

FOLDER = Path(__file__).with_name("boards")


def texts() -> dict[str, str]:
    """Return the text of every board by the name of its file."""
    return {
        f"clipmill-{board.name}.json": json.dumps(as_json(board), indent=1) + "\n"
        for board in BOARDS
    }


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; fail if a board is outdated.")
def main(*, check: bool) -> None:
    """Write the boards as Grafana reads them."""
    wanted = texts()
    found = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    outdated = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if check and outdated:
        raise click.ClickException(
            f"{', '.join(outdated)}: outdated; run `python -m deploy.grafana`"
        )
    for name in outdated:
        if name in wanted:
            (FOLDER / name).write_text(wanted[name])
        else:
            (FOLDER / name).unlink()


if __name__ == "__main__":
    main()
