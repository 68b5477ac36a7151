"""What can be changed about a job so that its next try goes better. Pure.

A strategy is asked about one failure and answers with what it would change, or with None when it
can change nothing (any more).
"""

from collections.abc import Callable, Mapping

import msgspec

from agents.platforms.choice import choose, choose_files
from agents.resilience.remedies import JobChanges, Means, Remedy
from schemas.commands import OptionChanges
from schemas.errors import ClipmillError, ErrorCode
from schemas.failure import Failure
from schemas.job import Job, Strategy
from schemas.request import Options, Quality
from schemas.video import VideoFormat

QUALITIES: tuple[Quality, ...] = ("best", "1080p", "720p", "480p", "360p", "worst")
"""From the highest to the lowest."""

_FRESH = OptionChanges(refresh=True)


def remedy(strategy: Strategy, failure: Failure, means: Means) -> Remedy | None:
    """Return what a strategy would change after a failure, None when it can change nothing."""
    find = _STRATEGIES.get(strategy)
    return None if find is None else find(failure, means)


def other_egresses(failure: Failure, means: Means) -> tuple[str, ...]:
    """Return the ways out that are open and that the job has no reason to avoid.

    None when it was not by a way out that it failed.
    """
    if failure.egress is None:
        return ()
    left_out = {*failure.job.avoid_egress, failure.egress}
    return tuple(name for name in means.egresses if name not in left_out)


def _other_egress(failure: Failure, means: Means) -> Remedy | None:
    if failure.egress is None or not other_egresses(failure, means):
        return None
    # What was read by the way out that is refused by region leads to files of that region.
    regional = failure.error.error_type is ErrorCode.CONTENT_GEO_BLOCKED
    changes = JobChanges(
        options=_FRESH if regional else OptionChanges(),
        avoid_egress=(failure.egress,),
        changed={"egress": f"{failure.egress} -> another"},
    )
    return Remedy(
        strategy="other_egress", changes=changes, restart="extraction" if regional else "step"
    )


def _authenticate(failure: Failure, means: Means) -> Remedy | None:
    if failure.job.authenticate or failure.account is not None or not means.accounts:
        return None
    changes = JobChanges(
        options=_FRESH, authenticate=True, changed={"account": "none -> the platform's"}
    )
    return Remedy(strategy="authenticate", changes=changes, restart="extraction")


def _other_account(failure: Failure, means: Means) -> Remedy | None:
    """Leave out the account that was used; which of the others is best is known where they are."""
    used = failure.account
    if used is None or not {*means.accounts} - {*failure.job.avoid_accounts, used}:
        return None
    changes = JobChanges(
        options=_FRESH,
        avoid_accounts=() if used in failure.job.avoid_accounts else (used,),
        authenticate=True,
        changed={"account": f"{used} -> another"},
    )
    return Remedy(strategy="other_account", changes=changes, restart="extraction")


def _fresh_extraction(_failure: Failure, _means: Means) -> Remedy | None:
    changes = JobChanges(options=_FRESH, changed={"page": "read anew"})
    return Remedy(strategy="fresh_extraction", changes=changes, restart="extraction")


def _other_format(failure: Failure, means: Means) -> Remedy | None:
    if failure.format_id is None:
        return _other_kind(failure)
    # The first time the link may just have been too old.
    if not _was_read_anew(failure) or not _is_replaceable(failure.format_id, failure.job, means):
        return None
    changes = JobChanges(
        options=_FRESH,
        avoid_formats=(failure.format_id,),
        changed={"format": f"{failure.format_id} -> another"},
    )
    return Remedy(strategy="other_format", changes=changes, restart="extraction")


def _was_read_anew(failure: Failure) -> bool:
    return any(
        attempt.strategy == "fresh_extraction" and attempt.code == failure.error.error_type
        for attempt in failure.job.attempts
    )


def _is_replaceable(format_id: str, job: Job, means: Means) -> bool:
    """Return whether there is a choice without the file; a photo post's may be had elsewhere."""
    try:
        choose_files(means.formats, job.options, {*job.avoid_formats, format_id})
    except ClipmillError:
        return False
    return True


def _other_kind(failure: Failure) -> Remedy | None:
    """Another codec, then another container, when nothing fits the options.

    A page that offers nothing at all is no matter of options.
    """
    options = failure.job.options
    if failure.operation is not None or not options.degrade:
        return None
    if options.codec != "any":
        changes = JobChanges(
            options=OptionChanges(codec="any"), changed={"codec": f"{options.codec} -> any"}
        )
    elif options.container != "any":
        changes = JobChanges(
            options=OptionChanges(container="any"),
            changed={"container": f"{options.container} -> any"},
        )
    else:
        return None
    return Remedy(strategy="other_format", changes=changes, restart="step")


def _lower_quality(failure: Failure, means: Means) -> Remedy | None:
    """Return the next tier for which a smaller picture than that of the failed file is chosen."""
    job = failure.job
    side = _side(failure.format_id, means)
    if side == 0 or not job.options.degrade:
        return None
    for quality in QUALITIES[QUALITIES.index(job.options.quality) + 1 :]:
        lower = msgspec.structs.replace(job.options, quality=quality)
        chosen = _chosen(lower, {*job.avoid_formats}, means)
        if chosen is not None and 0 < chosen.smaller_side < side:
            return _of_quality(quality, job.options)
    return None


def _of_quality(quality: Quality, before: Options) -> Remedy:
    changes = JobChanges(
        options=OptionChanges(quality=quality),
        changed={"quality": f"{before.quality} -> {quality}"},
    )
    return Remedy(strategy="lower_quality", changes=changes, restart="extraction")


def _side(format_id: str | None, means: Means) -> int:
    return next((each.smaller_side for each in means.formats if each.format_id == format_id), 0)


def _chosen(options: Options, left_out: set[str], means: Means) -> VideoFormat | None:
    """Return what selection would choose, None when nothing."""
    try:
        return choose([each for each in means.formats if each.format_id not in left_out], options)
    except ClipmillError:
        return None


_STRATEGIES: Mapping[Strategy, Callable[[Failure, Means], Remedy | None]] = {
    "other_egress": _other_egress,
    "authenticate": _authenticate,
    "other_account": _other_account,
    "fresh_extraction": _fresh_extraction,
    "other_format": _other_format,
    "lower_quality": _lower_quality,
}
