"""`clipmill resume`: resume the intake of a stage that its dead letters have paused."""

import asyncio

import click

from schemas.commands import ResumeStage
from schemas.signals import INTAKE, IntakeSignal
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings, operator
from streams.cli.waiting import wait_applied
from streams.client import Client
from streams.cluster.shared_state import open_shared_state
from streams.new_requests import new_id
from streams.settings import KafkaSettings


@click.command()
@click.argument("stage")
@bootstrap_option
def resume(stage: str, bootstrap: str | None) -> None:
    """Resume the intake of STAGE after the dead-letter limit has paused it."""
    kafka = client_settings(bootstrap).kafka
    command = ResumeStage(id=new_id(), stage=stage, by=operator())
    with readable_errors():
        asyncio.run(_resume(kafka, command))
    click.echo(f"the intake of {stage} is resumed")


async def _resume(kafka: KafkaSettings, command: ResumeStage) -> None:
    assert command.id is not None
    key = f"{INTAKE}{command.stage}"
    async with Client(kafka) as client, open_shared_state(kafka) as shared_state:
        before = shared_state.get(key)

        def resumed() -> bool:
            signal = shared_state.read(key, IntakeSignal)
            return signal is not None and shared_state.get(key) != before and not signal.paused

        await client.send_command(command)
        await wait_applied(client, command.id, resumed)
