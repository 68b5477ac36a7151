"""`clipmill refresh`: invalidate the cache entries of a video."""

import asyncio

import click

from schemas.commands import Refresh
from schemas.signals import REFRESH
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings, operator
from streams.cli.waiting import wait_applied
from streams.client import Client
from streams.cluster.shared_state import open_shared_state
from streams.new_requests import new_id
from streams.settings import KafkaSettings


@click.command()
@click.argument("video")
@bootstrap_option
def refresh(video: str, bootstrap: str | None) -> None:
    """Invalidate the cache entries of VIDEO, a link or PLATFORM:ID.

    The next request for it reads the page and downloads the file again.
    """
    kafka = client_settings(bootstrap).kafka
    with readable_errors():
        keys = asyncio.run(_refresh(kafka, Refresh(id=new_id(), video=video, by=operator())))
    click.echo(f"invalidated: {', '.join(sorted(keys))}")


async def _refresh(kafka: KafkaSettings, command: Refresh) -> set[str]:
    assert command.id is not None
    async with Client(kafka) as client, open_shared_state(kafka) as shared_state:
        before = dict(shared_state.items(REFRESH))

        def invalidated() -> set[str]:
            items = shared_state.items(REFRESH)
            return {key.removeprefix(REFRESH) for key, at in items if before.get(key) != at}

        await client.send_command(command)
        await wait_applied(client, command.id, lambda: bool(invalidated()))
        return invalidated()
