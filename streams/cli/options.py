"""Options shared by several commands."""

import getpass

import click

from streams.settings import Settings, load_settings

bootstrap_option = click.option(
    "--bootstrap", help="HOST:PORT of Kafka; default: the setting kafka.bootstrap."
)

http_option = click.option(
    "--http",
    help="HOST:PORT of health and metrics; port 0: any free one. Default: the setting http, else"
    " 127.0.0.1:8080, or a free port if that one is in use.",
)


def client_settings(bootstrap: str | None) -> Settings:
    """Load the settings, with the cluster given on the command line."""
    return load_settings(**({"kafka": {"bootstrap": bootstrap}} if bootstrap else {}))


def operator() -> str:
    """Return the author of a command: the user of the operating system, "" if it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
