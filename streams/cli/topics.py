"""`clipmill topics`: create and check the topics."""

import asyncio

import click

from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.topic_admin import apply_topics, check_topics


@click.group()
def topics() -> None:
    """Create or check the topics."""


@topics.command()
@bootstrap_option
def apply(bootstrap: str | None) -> None:
    """Create missing topics; existing ones are never changed."""
    kafka = client_settings(bootstrap).kafka
    with readable_errors():
        created = asyncio.run(apply_topics(kafka))
    click.echo("\n".join(f"created {name}" for name in created) or "nothing to do")


@topics.command()
@bootstrap_option
def check(bootstrap: str | None) -> None:
    """Say which topics are missing or wrong."""
    kafka = client_settings(bootstrap).kafka
    with readable_errors():
        asyncio.run(check_topics(kafka))
    click.echo("all topics are as they must be")
