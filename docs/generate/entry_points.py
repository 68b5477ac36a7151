"""Page of the plug-in interfaces: entry-point groups with their protocols."""

import inspect
import tomllib
from typing import Any

import click
import msgspec
from aiokafka.abc import AbstractTokenProvider

import agents.accounts.registry
import agents.platforms.registry
import agents.plugins
import agents.recovery.error_handlers
import streams.cli
import streams.cluster.oauth
import streams.console.handlers.files
import streams.stage
from agents.accounts.interface import Authenticator
from agents.caching import interface as caching
from agents.platforms.interface import Platform
from agents.plugins import HOOKS
from agents.recovery.error_handlers import ErrorHandler
from docs.generate.markdown import PROJECT, code, codes, head, page, source, table
from streams.stage import Stage


class Interface(msgspec.Struct, frozen=True):
    """A kind of plug-in.

    Attributes:
        group: entry-point group.
        what: what an entry point refers to, and when it is used.
        classes: shown in full; the first one is what a plug-in implements.
        guide: link to the page that explains it.
    """

    group: str
    what: str
    classes: tuple[type, ...]
    guide: str


INTERFACES = (
    Interface(
        streams.stage.GROUP,
        "A `Stage` object. `clipmill up` runs all installed stages, `clipmill worker NAME` one.",
        (Stage,),
        "[a stage](../extending.md#a-stage)",
    ),
    Interface(
        agents.platforms.registry.GROUP,
        "A class without constructor arguments that implements `Platform`.",
        (Platform,),
        "[a platform](../extending.md#a-platform)",
    ),
    Interface(
        agents.plugins.GROUP,
        "A class, or any callable without arguments, that returns an object with at least one of "
        f"the hooks {codes(HOOKS)}.",
        (),
        "[plug-ins](../plugins.md)",
    ),
    Interface(
        agents.recovery.error_handlers.GROUP,
        "A class without constructor arguments that implements `ErrorHandler`.",
        (ErrorHandler,),
        "[an error handler](../extending.md#an-error-handler)",
    ),
    Interface(
        agents.accounts.registry.GROUP,
        "A class that is constructed with `LoginSettings` and implements `Authenticator`. "
        "`auth.authenticator` names the entry point in use.",
        (Authenticator,),
        "[accounts](../accounts.md)",
    ),
    Interface(
        caching.GROUP,
        "A function `OpenBackend`, which opens a `CacheBackend`. `cache.backend` names the entry "
        "point in use.",
        (caching.OpenBackend, caching.CacheBackend),
        "[caches](../caching.md)",
    ),
    Interface(
        streams.cluster.oauth.GROUP,
        f"A subclass of aiokafka's `{AbstractTokenProvider.__name__}`, constructed with "
        "`kafka.token_provider_options`. `kafka.token_provider` names the entry point in use.",
        (),
        "[OAUTHBEARER](../operations.md#oauthbearer)",
    ),
    Interface(
        streams.cli.GROUP,
        f"A click `{click.Command.__name__}`; the name of the entry point is that of the command.",
        (),
        "[a command](../extending.md#a-command)",
    ),
    Interface(
        streams.console.handlers.files.GROUP,
        "A function of the settings and a file's URI that returns a link for the console, or None; "
        "the first link is used.",
        (),
        "[links to files](../storage.md#links-to-files)",
    ),
)


def page_of_entry_points() -> str:
    """Return the page."""
    introduction = (
        "Plug-ins are [entry points](https://packaging.python.org/specifications/entry-points/) of "
        "installed packages. Each group with the interface that its plug-ins implement, and the "
        "entry points of clipmill itself."
    )
    project: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return page(
        head("Plug-in interfaces", introduction),
        *(_section(each, project["entry-points"].get(each.group, {})) for each in INTERFACES),
    )


def _section(interface: Interface, registered: dict[str, str]) -> str:
    parts = [f"## {interface.group}", f"{interface.what} Guide: {interface.guide}."]
    if registered:
        rows = [(code(name), code(target)) for name, target in registered.items()]
        parts.append(table(("entry point", "object"), rows))
    if interface.classes:
        parts.append(f"From {source(interface.classes[0])}:")
    parts += [f"```python\n{inspect.getsource(each).strip()}\n```" for each in interface.classes]
    return "\n\n".join(parts)
