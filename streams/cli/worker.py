"""`clipmill worker`: run selected stages on one of several hosts."""

import click
import orjson
import uvloop

from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, http_option
from streams.cli.service import run_stages
from streams.observability.logs import configure_logging
from streams.settings import Settings, load_settings
from streams.stage import load_stages


@click.command()
@click.argument("stages", nargs=-1, required=True)
@bootstrap_option
@http_option
def worker(stages: tuple[str, ...], bootstrap: str | None, http: str | None) -> None:
    """Run STAGES (or `all`); prints one line of JSON when ready."""
    given = {"kafka": {"bootstrap": bootstrap} if bootstrap else None, "http": http}
    settings = load_settings(**{name: value for name, value in given.items() if value})
    configure_logging(settings)
    with readable_errors():
        uvloop.run(_run(() if stages == ("all",) else stages, settings))


async def _run(names: tuple[str, ...], settings: Settings) -> None:
    stages = load_stages(names)
    started = [stage.name for stage in stages]

    def announce(http: str) -> None:
        click.echo(orjson.dumps({"ready": True, "stages": started, "http": http}))

    await run_stages(stages, settings, announce)
