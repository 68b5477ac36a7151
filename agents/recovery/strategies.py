"""What can be changed about a job so that its next try goes better. Pure.

A strategy is asked about one failure and answers with what it would change, or with None when it
can change nothing (any more).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from agents.formats.refusals import PICTURES_ONLY
from agents.formats.selection import Choice, choose, choose_files, is_copy
from agents.recovery.decisions import JobPatch, RecoveryAction, RecoveryOptions, applied
from agents.recovery.retry_policy import PAGES_READ
from schemas.commands import OptionChanges
from schemas.errors import ClipmillError, ErrorCode
from schemas.failure import Failure
from schemas.job import Job, Strategy
from schemas.request import Options, Quality
from schemas.video import JOIN, VideoFormat

QUALITIES: tuple[Quality, ...] = ("best", "1080p", "720p", "480p", "360p", "worst")
"""From the highest to the lowest."""

_AT_ANOTHER_HOST = frozenset(
    {ErrorCode.NETWORK_DNS, ErrorCode.NETWORK_CONNECTION, ErrorCode.NETWORK_SERVER}
)
"""Codes of a host: the same file is taken at another one, but no other file."""


def remedy(strategy: Strategy, failure: Failure, means: RecoveryOptions) -> RecoveryAction | None:
    """Return what a strategy would change after a failure, None when it can change nothing."""
    find = _STRATEGIES.get(strategy)
    return None if find is None else find(failure, means)


def other_egresses(failure: Failure, means: RecoveryOptions) -> tuple[str, ...]:
    """Return the ways out that are open and that the job has no reason to avoid.

    None when it was not by a way out that it failed.
    """
    if failure.egress is None:
        return ()
    left_out = {*failure.job.avoid_egress, failure.egress}
    return tuple(name for name in means.egresses if name not in left_out)


def _other_egress(failure: Failure, means: RecoveryOptions) -> RecoveryAction | None:
    if failure.egress is None or not other_egresses(failure, means):
        return None
    # What was read by the way out that is refused by region leads to files of that region.
    regional = failure.error.error_type is ErrorCode.CONTENT_GEO_BLOCKED
    if regional and _was_tried("other_egress", failure):
        return None
    changes = JobPatch(
        fresh_page=regional,
        avoid_egress=(failure.egress,),
        changed={"egress": f"{failure.egress} -> another"},
    )
    return RecoveryAction(
        strategy="other_egress", changes=changes, restart="extraction" if regional else "step"
    )


def _authenticate(failure: Failure, means: RecoveryOptions) -> RecoveryAction | None:
    if failure.job.authenticate or failure.account is not None or not means.accounts:
        return None
    changes = JobPatch(
        fresh_page=True, authenticate=True, changed={"account": "none -> the platform's"}
    )
    return RecoveryAction(strategy="authenticate", changes=changes, restart="extraction")


def _other_account(failure: Failure, means: RecoveryOptions) -> RecoveryAction | None:
    """Leave out the account that was used; which of the others is best is known where they are."""
    used = failure.account
    if used is None or not {*means.accounts} - {*failure.job.avoid_accounts, used}:
        return None
    changes = JobPatch(
        fresh_page=True,
        avoid_accounts=() if used in failure.job.avoid_accounts else (used,),
        authenticate=True,
        changed={"account": f"{used} -> another"},
    )
    return RecoveryAction(strategy="other_account", changes=changes, restart="extraction")


def _was_tried(strategy: Strategy, failure: Failure) -> bool:
    """Return whether this was done about such a failure at this step before."""
    return any(
        (attempt.strategy, attempt.step, attempt.code)
        == (strategy, failure.step, failure.error.error_type)
        for attempt in failure.job.attempts
    )


# A file cannot be had: a fresh link, then the other files of the post, each at most once


def _fresh_extraction(failure: Failure, _means: RecoveryOptions) -> RecoveryAction | None:
    """Read the page anew, once for all files of a request: links may have been too old."""
    job = failure.job
    again = any(attempt.strategy == "fresh_extraction" for attempt in job.attempts)
    if again or job.page.reads >= PAGES_READ:
        return None
    changes = JobPatch(fresh_page=True, changed={"page": "read anew"})
    return RecoveryAction(strategy="fresh_extraction", changes=changes, restart="extraction")


def _other_format(failure: Failure, means: RecoveryOptions) -> RecoveryAction | None:
    if failure.format_id is None:
        return _other_kind(failure)
    job, code = failure.job, failure.error.error_type
    known = job.silent_formats if code is ErrorCode.CONTENT_NO_SOUND else job.avoid_formats
    # What was left out before and failed again is no matter of formats.
    if job.page.reads >= PAGES_READ or failure.format_id in known:
        return None
    without = _without(failure.format_id, code, means)
    for changes in (without, *_of_other_kinds(without, job.options)):
        taken = _taken(failure, changes, means)
        if taken is not None:
            words = {**changes.changed, "format": f"{failure.format_id} -> {taken}"}
            found = msgspec.structs.replace(changes, changed=words)
            return RecoveryAction(strategy="other_format", changes=found, restart="extraction")
    return None


def _without(format_id: str, code: ErrorCode, means: RecoveryOptions) -> JobPatch:
    """Return what is not to be chosen after a failure, or not for its sound."""
    failed = [each for each in means.formats if each.format_id == format_id]
    others = [each for each in means.formats if each.format_id != format_id]
    if code is ErrorCode.CONTENT_NO_SOUND:
        # Copies of one size at several hosts are one file.
        same = [it for it in others if it.bytes and any(is_copy(it, each) for each in failed)]
        return JobPatch(silent_formats=(format_id, *(each.format_id for each in same)))
    too_large = code is ErrorCode.REQUEST_TOO_LARGE
    same = [it for it in others if too_large and any(_is_larger(it, each) for each in failed)]
    return JobPatch(avoid_formats=(format_id, *(each.format_id for each in same)))


def _is_larger(each: VideoFormat, than: VideoFormat) -> bool:
    """Return whether one video is surely not smaller than another of the same post."""
    rates = each.bits_per_second, than.bits_per_second
    told = each.video_codec is not None and rates[0] is not None and rates[1] is not None
    return is_copy(each, than) or (told and (rates[0] or 0) >= (rates[1] or 0))


def _of_other_kinds(changes: JobPatch, options: Options) -> Iterator[JobPatch]:
    """Yield the changes with another codec as well, then with another container."""
    words: dict[str, str] = {}
    wanted = OptionChanges()
    for name in ("codec", "container") if options.degrade else ():
        before = getattr(options, name)
        if before != "any":
            words[name] = f"{before} -> any"
            wanted = msgspec.structs.replace(wanted, **{name: "any"})
            yield msgspec.structs.replace(changes, options=wanted, changed={**words})


def _taken(failure: Failure, changes: JobPatch, means: RecoveryOptions) -> str | None:
    """Return the ids of what would be fetched in place of what has failed, None when nothing."""
    before = _chosen_files(failure.job, means) or ()
    after = _chosen_files(applied(changes, failure.job), means)
    if after is None:
        return None
    new = [each for each in after if each not in before]
    if failure.error.error_type in _AT_ANOTHER_HOST and not _is_elsewhere(failure, new, means):
        return None
    return " ".join(each.format_id for each in new) or "none"


def _is_elsewhere(failure: Failure, new: Sequence[Choice], means: RecoveryOptions) -> bool:
    """Return whether the new files are the one that has failed, at another host."""
    failed = [each for each in means.formats if each.format_id == failure.format_id]
    return bool(new) and all(is_copy(each.format, it) for each in new for it in failed)


def _chosen_files(job: Job, means: RecoveryOptions) -> tuple[Choice, ...] | None:
    """Return what selection would choose for a job, None when nothing."""
    try:
        return choose_files(
            means.formats, job.options, job.avoid_formats, silent=job.silent_formats
        )
    except ClipmillError:
        return None


def _other_kind(failure: Failure) -> RecoveryAction | None:
    """Another codec, then another container, when nothing fits the options.

    A page that offers nothing at all is no matter of options, and pictures are no other container
    of the video that was asked for.
    """
    unfit = failure.error.error_type is ErrorCode.CONTENT_NO_FORMATS and failure.operation is None
    kinds = _of_other_kinds(JobPatch(), failure.job.options) if unfit else iter(())
    changes = next(kinds, None)
    if changes is None or ("container" in changes.changed and _has_only_pictures(failure)):
        return None
    return RecoveryAction(strategy="other_format", changes=changes, restart="step")


def _has_only_pictures(failure: Failure) -> bool:
    return failure.error.technical_details.get("failure") == PICTURES_ONLY


# Lower quality


def _lower_quality(failure: Failure, means: RecoveryOptions) -> RecoveryAction | None:
    """Return the next tier for which a smaller picture than that of the failed file is chosen."""
    job = failure.job
    side = _side(failure.format_id, means)
    if side == 0 or not job.options.degrade:
        return None
    for quality in QUALITIES[QUALITIES.index(job.options.quality) + 1 :]:
        lower = msgspec.structs.replace(job.options, quality=quality)
        chosen = _chosen(lower, job, means)
        if chosen is not None and 0 < chosen.smaller_side < side:
            return _of_quality(quality, job.options)
    return None


def _of_quality(quality: Quality, before: Options) -> RecoveryAction:
    changes = JobPatch(
        options=OptionChanges(quality=quality),
        changed={"quality": f"{before.quality} -> {quality}"},
    )
    return RecoveryAction(strategy="lower_quality", changes=changes, restart="extraction")


def _side(format_id: str | None, means: RecoveryOptions) -> int:
    picture = (format_id or "").partition(JOIN)[0]
    return next((each.smaller_side for each in means.formats if each.format_id == picture), 0)


def _chosen(options: Options, job: Job, means: RecoveryOptions) -> VideoFormat | None:
    """Return what selection would choose, None when nothing."""
    try:
        chosen = choose(means.formats, options, job.avoid_formats, job.silent_formats)
    except ClipmillError:
        return None
    return chosen.format


_STRATEGIES: Mapping[Strategy, Callable[[Failure, RecoveryOptions], RecoveryAction | None]] = {
    "other_egress": _other_egress,
    "authenticate": _authenticate,
    "other_account": _other_account,
    "fresh_extraction": _fresh_extraction,
    "other_format": _other_format,
    "lower_quality": _lower_quality,
}
