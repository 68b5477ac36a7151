"""What may help after a failure: what there is to try, and what is otherwise in the next try."""

from typing import Literal

import msgspec

from schemas.commands import OptionChanges
from schemas.job import Job, Strategy
from schemas.video import VideoFormat

Restart = Literal["step", "extraction"]
"""Where the next try begins: at the step that failed, or by reading the page."""


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to try.

    Attributes:
        egresses: ways out that are open to this platform and operation now.
        accounts: names of the platform's accounts.
        formats: what the video's page offered; empty when that is not known.
    """

    egresses: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    formats: tuple[VideoFormat, ...] = ()


NO_MEANS = Means()


class JobChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What is otherwise in the next try of a job.

    Attributes:
        options: options with other values.
        fresh_page: the page that was used is not used again.
        avoid_egress: ways out not to be taken again.
        avoid_formats: formats not to be chosen again.
        silent_formats: formats that were found to have no sound.
        avoid_accounts: accounts not to be used again.
        authenticate: log in.
        changed: the same in words, for the result: ``{"quality": "best -> 720p"}``.
    """

    options: OptionChanges = OptionChanges()
    fresh_page: bool = False
    avoid_egress: tuple[str, ...] = ()
    avoid_formats: tuple[str, ...] = ()
    silent_formats: tuple[str, ...] = ()
    avoid_accounts: tuple[str, ...] = ()
    authenticate: bool = False
    changed: dict[str, str] = {}


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """A change that may help."""

    strategy: Strategy
    changes: JobChanges
    restart: Restart


def applied(changes: JobChanges, job: Job) -> Job:
    """Return the job with the changes made."""
    new = {
        name: value
        for name, value in msgspec.structs.asdict(changes.options).items()
        if value is not msgspec.UNSET
    }
    return msgspec.structs.replace(
        job,
        options=msgspec.structs.replace(job.options, **new),
        page=msgspec.structs.replace(job.page, outdated=True) if changes.fresh_page else job.page,
        avoid_egress=(*job.avoid_egress, *changes.avoid_egress),
        avoid_formats=(*job.avoid_formats, *changes.avoid_formats),
        silent_formats=(*job.silent_formats, *changes.silent_formats),
        avoid_accounts=(*job.avoid_accounts, *changes.avoid_accounts),
        authenticate=job.authenticate or changes.authenticate,
    )
