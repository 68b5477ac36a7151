"""Options that several commands have."""

import click

from streams.settings import Settings, load_settings

bootstrap_option = click.option("--bootstrap", help="HOST:PORT of Kafka; default: the settings'.")


def client_settings(bootstrap: str | None) -> Settings:
    """Return the settings, with the cluster that was named on the command line."""
    return load_settings(**({"kafka": {"bootstrap": bootstrap}} if bootstrap else {}))
