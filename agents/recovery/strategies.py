"""Strategies: changes to a job that may let its next attempt succeed. Pure.

A strategy returns the action that it proposes after a failure, or None when it has none (left).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from agents.formats.selection import Choice, choose, choose_files, is_mirror
from agents.formats.selection_errors import PICTURES_ONLY
from agents.recovery.decisions import JobPatch, RecoveryAction, RecoveryOptions, apply_patch
from agents.recovery.retry_policy import PAGE_READS_MAX
from schemas.commands import OptionChanges
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import Failure
from schemas.job import Job, Strategy
from schemas.request import Options, Quality
from schemas.video import JOIN, VideoFormat

QUALITIES: tuple[Quality, ...] = ("best", "1080p", "720p", "480p", "360p", "worst")
"""From the highest to the lowest."""

_HOST_FAILURES = frozenset(
    {ErrorCode.NETWORK_DNS, ErrorCode.NETWORK_CONNECTION, ErrorCode.NETWORK_SERVER}
)
"""Codes of a host: the same file is fetched from another host, but no other file."""


def propose(
    strategy: Strategy, failure: Failure, available: RecoveryOptions
) -> RecoveryAction | None:
    """Return the action that a strategy proposes after a failure, None when it has none."""
    find = _STRATEGIES.get(strategy)
    return None if find is None else find(failure, available)


def other_egresses(failure: Failure, available: RecoveryOptions) -> tuple[str, ...]:
    """Return the permitted egresses that the job does not avoid.

    Empty if the failed operation used no egress.
    """
    if failure.egress is None:
        return ()
    excluded = {*failure.job.avoid_egress, failure.egress}
    return tuple(name for name in available.egresses if name not in excluded)


def _other_egress(failure: Failure, available: RecoveryOptions) -> RecoveryAction | None:
    if failure.egress is None or not other_egresses(failure, available):
        return None
    # A page read over the egress of a blocked region leads to files of that region.
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


def _authenticate(failure: Failure, available: RecoveryOptions) -> RecoveryAction | None:
    if failure.job.authenticate or failure.account is not None or not available.accounts:
        return None
    changes = JobPatch(
        fresh_page=True, authenticate=True, changed={"account": "none -> the platform's"}
    )
    return RecoveryAction(strategy="authenticate", changes=changes, restart="extraction")


def _other_account(failure: Failure, available: RecoveryOptions) -> RecoveryAction | None:
    """Avoid the account that was used; the authenticator chooses the best of the others."""
    used = failure.account
    if used is None or not {*available.accounts} - {*failure.job.avoid_accounts, used}:
        return None
    changes = JobPatch(
        fresh_page=True,
        avoid_accounts=() if used in failure.job.avoid_accounts else (used,),
        authenticate=True,
        changed={"account": f"{used} -> another"},
    )
    return RecoveryAction(strategy="other_account", changes=changes, restart="extraction")


def _was_tried(strategy: Strategy, failure: Failure) -> bool:
    """Return whether the strategy was applied to this code at this step before."""
    return any(
        (attempt.strategy, attempt.step, attempt.code)
        == (strategy, failure.step, failure.error.error_type)
        for attempt in failure.job.attempts
    )


# A file is unavailable: a fresh link, then the other files of the post, each at most once


def _fresh_extraction(failure: Failure, _available: RecoveryOptions) -> RecoveryAction | None:
    """Read the page again, once per request: the links may have expired."""
    job = failure.job
    was_tried = any(attempt.strategy == "fresh_extraction" for attempt in job.attempts)
    if was_tried or job.page.reads >= PAGE_READS_MAX:
        return None
    changes = JobPatch(fresh_page=True, changed={"page": "read again"})
    return RecoveryAction(strategy="fresh_extraction", changes=changes, restart="extraction")


def _other_format(failure: Failure, available: RecoveryOptions) -> RecoveryAction | None:
    if failure.format_id is None:
        return _relax_options(failure)
    job, code = failure.job, failure.error.error_type
    known = job.silent_formats if code is ErrorCode.CONTENT_NO_SOUND else job.avoid_formats
    # A format that was excluded and failed again: the format is not the cause.
    if job.page.reads >= PAGE_READS_MAX or failure.format_id in known:
        return None
    patch = _patch_avoiding(failure.format_id, code, available)
    for changes in (patch, *_relaxed(patch, job.options)):
        replacement = _replacement(failure, changes, available)
        if replacement is not None:
            changed = {**changes.changed, "format": f"{failure.format_id} -> {replacement}"}
            described = msgspec.structs.replace(changes, changed=changed)
            return RecoveryAction(strategy="other_format", changes=described, restart="extraction")
    return None


def _patch_avoiding(format_id: str, code: ErrorCode, available: RecoveryOptions) -> JobPatch:
    """Return the patch that excludes the failed format and its equals, or only their sound."""
    failed = [each for each in available.formats if each.format_id == format_id]
    others = [each for each in available.formats if each.format_id != format_id]
    if code is ErrorCode.CONTENT_NO_SOUND:
        # Mirrors of one size are the same file.
        same = [it for it in others if it.bytes and any(is_mirror(it, each) for each in failed)]
        return JobPatch(silent_formats=(format_id, *(each.format_id for each in same)))
    too_large = code is ErrorCode.REQUEST_TOO_LARGE
    same = [it for it in others if too_large and any(_is_no_smaller(it, each) for each in failed)]
    return JobPatch(avoid_formats=(format_id, *(each.format_id for each in same)))


def _is_no_smaller(video: VideoFormat, other: VideoFormat) -> bool:
    """Return whether a video is certainly not smaller than another of its post."""
    rates = video.bits_per_second, other.bits_per_second
    comparable = video.video_codec is not None and rates[0] is not None and rates[1] is not None
    return is_mirror(video, other) or (comparable and (rates[0] or 0) >= (rates[1] or 0))


def _relaxed(changes: JobPatch, options: Options) -> Iterator[JobPatch]:
    """Yield the patch with any codec as well, then with any container too."""
    changed: dict[str, str] = {}
    wanted = OptionChanges()
    for name in ("codec", "container") if options.degrade else ():
        before = getattr(options, name)
        if before != "any":
            changed[name] = f"{before} -> any"
            wanted = msgspec.structs.replace(wanted, **{name: "any"})
            yield msgspec.structs.replace(changes, options=wanted, changed={**changed})


def _replacement(failure: Failure, changes: JobPatch, available: RecoveryOptions) -> str | None:
    """Return the ids of the files to be fetched in place of the failed one, None without any."""
    before = _chosen_files(failure.job, available) or ()
    after = _chosen_files(apply_patch(changes, failure.job), available)
    if after is None:
        return None
    new = [each for each in after if each not in before]
    if failure.error.error_type in _HOST_FAILURES and not _is_mirrored(failure, new, available):
        return None
    return " ".join(each.format_id for each in new) or "none"


def _is_mirrored(failure: Failure, new: Sequence[Choice], available: RecoveryOptions) -> bool:
    """Return whether the new files are mirrors of the failed one."""
    failed = [each for each in available.formats if each.format_id == failure.format_id]
    return bool(new) and all(is_mirror(each.format, it) for each in new for it in failed)


def _chosen_files(job: Job, available: RecoveryOptions) -> tuple[Choice, ...] | None:
    """Return the files that selection would choose for a job, None when there are none."""
    try:
        return choose_files(
            available.formats, job.options, job.avoid_formats, silent=job.silent_formats
        )
    except ClipmillError:
        return None


def _relax_options(failure: Failure) -> RecoveryAction | None:
    """Propose another codec, then another container, if no format fits the options.

    A page without any format fits no options; and pictures do not replace the requested video.
    """
    may_relax = (
        failure.error.error_type is ErrorCode.CONTENT_NO_FORMATS and failure.operation is None
    )
    patches = _relaxed(JobPatch(), failure.job.options) if may_relax else iter(())
    changes = next(patches, None)
    if changes is None or ("container" in changes.changed and _has_only_pictures(failure)):
        return None
    return RecoveryAction(strategy="other_format", changes=changes, restart="step")


def _has_only_pictures(failure: Failure) -> bool:
    return failure.error.technical_details.get("failure") == PICTURES_ONLY


# Lower quality


def _lower_quality(failure: Failure, available: RecoveryOptions) -> RecoveryAction | None:
    """Propose the next lower quality for which selection chooses a smaller picture."""
    job = failure.job
    side = _side(failure.format_id, available)
    if side == 0 or not job.options.degrade:
        return None
    for quality in QUALITIES[QUALITIES.index(job.options.quality) + 1 :]:
        lower = msgspec.structs.replace(job.options, quality=quality)
        chosen = _chosen(lower, job, available)
        if chosen is not None and 0 < chosen.smaller_side < side:
            return _quality_action(quality, job.options)
    return None


def _quality_action(quality: Quality, before: Options) -> RecoveryAction:
    changes = JobPatch(
        options=OptionChanges(quality=quality),
        changed={"quality": f"{before.quality} -> {quality}"},
    )
    return RecoveryAction(strategy="lower_quality", changes=changes, restart="extraction")


def _side(format_id: str | None, available: RecoveryOptions) -> int:
    picture = (format_id or "").partition(JOIN)[0]
    return next((each.smaller_side for each in available.formats if each.format_id == picture), 0)


def _chosen(options: Options, job: Job, available: RecoveryOptions) -> VideoFormat | None:
    """Return the format that selection would choose, None when there is none."""
    try:
        chosen = choose(available.formats, options, job.avoid_formats, job.silent_formats)
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
