"""`clipmill topics`: create and check the topics, and print their ACLs."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args

import click

from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cluster.acls import Acl, kafka_acls_commands
from streams.cluster.topic_admin import apply_topics, check_topics
from streams.contract.role_acls import (
    Role,
    admin_acls,
    client_acls,
    console_acls,
    operator_acls,
    worker_acls,
)
from streams.settings import KafkaSettings
from streams.stage import Stage, load_stages, topics_of


@click.group()
def topics() -> None:
    """Create or check the topics, or print the ACLs for them."""


@topics.command()
@bootstrap_option
def apply(bootstrap: str | None) -> None:
    """Create missing topics, including changelogs; existing topics are never changed."""
    kafka = client_settings(bootstrap).kafka
    with readable_errors():
        created = asyncio.run(apply_topics(kafka, topics_of(load_stages(), kafka.reply_topics)))
    click.echo("\n".join(f"created {name}" for name in created) or "all topics exist")


@topics.command()
@bootstrap_option
def check(bootstrap: str | None) -> None:
    """List topics that are missing or misconfigured."""
    kafka = client_settings(bootstrap).kafka
    with readable_errors():
        asyncio.run(check_topics(kafka, topics_of(load_stages(), kafka.reply_topics)))
    click.echo("all topics are configured as required")


@topics.command()
@click.argument("role", type=click.Choice(get_args(Role)))
@click.option(
    "--principal", required=True, help="Principal that gets the rights, such as User:NAME."
)
@click.option(
    "--stage", "stages", multiple=True, help="Stage of the worker; default: all installed stages."
)
@click.option("--group", "groups", multiple=True, help="Consumer group of the client.")
@click.option("--json", "as_json", is_flag=True, help="One ACL per line instead of commands.")
@bootstrap_option
def acls(
    *,
    role: Role,
    principal: str,
    stages: tuple[str, ...],
    groups: tuple[str, ...],
    as_json: bool,
    bootstrap: str | None,
) -> None:
    """Print the ACLs that a ROLE needs, as commands of kafka-acls.sh.

    worker: runs stages. client: publishes requests and commands, reads results.
    operator: `clipmill deadletters`. admin: `clipmill topics apply` and `check`.
    """
    kafka = client_settings(bootstrap).kafka
    with readable_errors():
        needed = _required_acls(role, load_stages(stages), kafka, groups)
    if as_json:
        for acl in needed:
            click.echo(json.dumps({"principal": principal, **asdict(acl)}))
    else:
        click.echo("\n".join(kafka_acls_commands(needed, principal, kafka.bootstrap)))


def _required_acls(
    role: Role, stages: Sequence[Stage], kafka: KafkaSettings, groups: Sequence[str]
) -> list[Acl]:
    prefix, replies = kafka.topic_prefix, kafka.reply_topics
    match role:
        case "worker":
            return worker_acls(stages, prefix, replies)
        case "client":
            return client_acls(prefix, groups)
        case "operator":
            return operator_acls(prefix)
        case "console":
            return console_acls(stages, prefix)
        case "admin":
            return admin_acls(stages, prefix, replies)
