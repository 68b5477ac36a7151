"""`clipmill config`: print the effective settings and the source of each value."""

import click

from streams.settings import UnknownSettingError, load_settings, setting_paths
from streams.settings.effective import effective_settings


@click.command()
def config() -> None:
    """Print every setting: value, source, meaning. Secrets are masked.

    An unknown setting is reported after a list of all names.
    """
    try:
        settings = load_settings()
    except UnknownSettingError:
        for path, description in setting_paths():
            click.echo(f"{'.'.join(path)}  # {description}")
        raise
    for each in effective_settings(settings):
        click.echo(f"{each.name} = {each.value}  # {each.source}; {each.description}")
