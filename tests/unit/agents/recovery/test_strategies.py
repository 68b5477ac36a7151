from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.formats.selection import choose
from agents.recovery.decisions import (
    NO_OPTIONS,
    JobPatch,
    RecoveryAction,
    RecoveryOptions,
    apply_patch,
)
from agents.recovery.retry_policy import PAGE_READS_MAX
from agents.recovery.strategies import QUALITIES, other_egresses, propose
from schemas.commands import OptionChanges
from schemas.errors import ErrorCode
from schemas.events import Failure
from schemas.job import Attempt, PageUse, Strategy
from schemas.request import Options
from tests.unit.agents.builders import WRITTEN_AT, make_failure, make_job, selected
from tests.unit.agents.recovery.cases import (
    ACCOUNTS,
    FORMATS,
    download_failure,
    extraction_failure,
    format_of,
    recovery_options,
)

API = ErrorCode.RATE_LIMIT_API
GEO = ErrorCode.CONTENT_GEO_BLOCKED
LOGIN = ErrorCode.CONTENT_LOGIN_REQUIRED
NO_FORMATS = ErrorCode.CONTENT_NO_FORMATS
EXPIRED = ErrorCode.CONTENT_LINK_EXPIRED
TIMEOUT = ErrorCode.NETWORK_TIMEOUT


def proposed_action(
    strategy: Strategy, failure: Failure, available: RecoveryOptions = NO_OPTIONS
) -> RecoveryAction:
    action = propose(strategy, failure, available)
    assert action is not None
    assert action.strategy == strategy
    return action


@pytest.mark.parametrize("strategy", ["backoff", "wait", "give_up"])
def test_strategies_that_change_nothing_propose_no_action(strategy: Strategy) -> None:
    assert (
        propose(
            strategy,
            extraction_failure(API),
            recovery_options("b", accounts=ACCOUNTS, formats=FORMATS),
        )
        is None
    )


# Other egresses

OTHER_EGRESSES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "none": ((), (), ()),
    "only the one that failed": (("a",), (), ()),
    "one": (("a", "b"), (), ("b",)),
    "one that is avoided": (("a", "b"), ("b",), ()),
    "one of two avoided": (("c", "b", "a"), ("c",), ("b",)),
    "two": (("b", "c"), (), ("b", "c")),
}


@pytest.mark.parametrize(
    ("usable", "avoided", "others"), OTHER_EGRESSES.values(), ids=OTHER_EGRESSES.keys()
)
def test_other_egresses_are_usable_and_not_avoided(
    usable: tuple[str, ...], avoided: tuple[str, ...], others: tuple[str, ...]
) -> None:
    failure = extraction_failure(API, avoid_egress=avoided)
    assert other_egresses(failure, recovery_options(*usable)) == others
    assert (propose("other_egress", failure, recovery_options(*usable)) is not None) is bool(others)


def test_other_egress_restarts_the_step_that_failed() -> None:
    assert proposed_action(
        "other_egress", extraction_failure(API), recovery_options("b")
    ) == RecoveryAction(
        strategy="other_egress",
        changes=JobPatch(avoid_egress=("a",), changed={"egress": "a -> another"}),
        restart="step",
    )


def test_geo_block_rereads_the_page_over_another_egress() -> None:
    assert proposed_action(
        "other_egress", extraction_failure(GEO), recovery_options("b")
    ) == RecoveryAction(
        strategy="other_egress",
        changes=JobPatch(fresh_page=True, avoid_egress=("a",), changed={"egress": "a -> another"}),
        restart="extraction",
    )


def test_failure_without_an_endpoint_has_no_other_egress() -> None:
    assert other_egresses(extraction_failure(API, has_endpoint=False), recovery_options("b")) == ()
    assert (
        propose("other_egress", extraction_failure(API, has_endpoint=False), recovery_options("b"))
        is None
    )


# Accounts


def test_login_required_uses_an_available_account() -> None:
    changes = JobPatch(
        fresh_page=True, authenticate=True, changed={"account": "none -> the platform's"}
    )
    expected = RecoveryAction(strategy="authenticate", changes=changes, restart="extraction")
    assert (
        proposed_action(
            "authenticate", extraction_failure(LOGIN), recovery_options(accounts=ACCOUNTS)
        )
        == expected
    )


def test_authentication_is_proposed_once() -> None:
    available = recovery_options(accounts=ACCOUNTS)
    assert propose("authenticate", extraction_failure(LOGIN), recovery_options()) is None
    assert propose("authenticate", extraction_failure(LOGIN, authenticate=True), available) is None
    assert propose("authenticate", extraction_failure(LOGIN, account="main"), available) is None


OTHER_ACCOUNTS: dict[str, tuple[str | None, tuple[str, ...], tuple[str, ...], bool]] = {
    "another one": ("main", (), ("main", "spare"), True),
    "only this one": ("main", (), ("main",), False),
    "no account": ("main", (), (), False),
    "the other is avoided": ("main", ("spare",), ("main", "spare"), False),
    "one of two others is avoided": ("main", ("spare",), ("main", "spare", "third"), True),
    "none was used": (None, (), ("main", "spare"), False),
    "the used one is unknown": ("other", (), ("main",), True),
    "the accounts are unknown": ("main", (), ("*",), True),
}


@pytest.mark.parametrize(
    ("used", "avoided", "accounts", "changes"), OTHER_ACCOUNTS.values(), ids=OTHER_ACCOUNTS
)
def test_other_account_is_proposed_when_available(
    used: str | None, avoided: tuple[str, ...], accounts: tuple[str, ...], changes: bool
) -> None:
    failure = extraction_failure(LOGIN, account=used, avoid_accounts=avoided)
    assert (
        propose("other_account", failure, recovery_options(accounts=accounts)) is not None
    ) is changes


@pytest.mark.parametrize("code", [LOGIN, ErrorCode.RATE_LIMIT_ACCOUNT])
def test_other_account_rereads_the_page(code: ErrorCode) -> None:
    changes = JobPatch(
        fresh_page=True,
        avoid_accounts=("main",),
        authenticate=True,
        changed={"account": "main -> another"},
    )
    expected = RecoveryAction(strategy="other_account", changes=changes, restart="extraction")
    assert (
        proposed_action(
            "other_account",
            extraction_failure(code, account="main"),
            recovery_options(accounts=ACCOUNTS),
        )
        == expected
    )


def test_avoided_account_is_not_listed_twice() -> None:
    failure = extraction_failure(LOGIN, account="main", avoid_accounts=("main",))
    assert (
        proposed_action(
            "other_account", failure, recovery_options(accounts=ACCOUNTS)
        ).changes.avoid_accounts
        == ()
    )


# Links


def test_fresh_extraction_is_proposed_once_for_all_files() -> None:
    changes = JobPatch(fresh_page=True, changed={"page": "read again"})
    expected = RecoveryAction(strategy="fresh_extraction", changes=changes, restart="extraction")
    assert proposed_action("fresh_extraction", download_failure()) == expected
    assert propose("fresh_extraction", download_failure(page_reread=True), NO_OPTIONS) is None
    damaged = download_failure(ErrorCode.CONTENT_DAMAGED, "low", page_reread=True)
    assert propose("fresh_extraction", damaged, NO_OPTIONS) is None


def test_other_format_names_the_replacement() -> None:
    changes = JobPatch(avoid_formats=("high",), changed={"format": "high -> middle"})
    expected = RecoveryAction(strategy="other_format", changes=changes, restart="extraction")
    assert (
        proposed_action("other_format", download_failure(), recovery_options(formats=FORMATS))
        == expected
    )


@pytest.mark.parametrize("strategy", ["fresh_extraction", "other_format"])
def test_page_reads_are_bounded(strategy: Strategy) -> None:
    for reads, changes in ((PAGE_READS_MAX - 1, True), (PAGE_READS_MAX, False)):
        failure = download_failure(page=PageUse(read_at=WRITTEN_AT, reads=reads))
        assert (
            propose(strategy, failure, recovery_options(formats=FORMATS)) is not None
        ) is changes


def test_failure_of_an_avoided_format_proposes_no_other() -> None:
    failure = download_failure(avoid_formats=("high",))
    assert propose("other_format", failure, recovery_options(formats=FORMATS)) is None
    silent = download_failure(ErrorCode.CONTENT_NO_SOUND, silent_formats=("high",))
    assert propose("other_format", silent, recovery_options(formats=FORMATS)) is None


COPIES = (
    format_of("high-0", 1080, bytes=9),
    format_of("high-1", 1080, bytes=9),
    *FORMATS[1:],
)


def test_silent_file_is_silent_at_every_host() -> None:
    failure = download_failure(ErrorCode.CONTENT_NO_SOUND, "high-0")
    action = proposed_action("other_format", failure, recovery_options(formats=COPIES))
    assert action.changes.silent_formats == ("high-0", "high-1")
    assert action.changes.changed == {"format": "high-0 -> high-0+low"}
    without_sizes = tuple(msgspec.structs.replace(each, bytes=None) for each in COPIES)
    action = proposed_action("other_format", failure, recovery_options(formats=without_sizes))
    assert action.changes.silent_formats == ("high-0",)
    assert action.changes.changed == {"format": "high-0 -> high-1"}


def test_unreachable_host_changes_the_host_only() -> None:
    failure = download_failure(ErrorCode.NETWORK_DNS, "high-0")
    action = proposed_action("other_format", failure, recovery_options(formats=COPIES))
    assert action.changes.changed == {"format": "high-0 -> high-1"}
    last = download_failure(ErrorCode.NETWORK_DNS, "high-1", avoid_formats=("high-0",))
    assert propose("other_format", last, recovery_options(formats=COPIES)) is None


def test_formats_not_smaller_than_the_too_large_one_are_avoided() -> None:
    formats = (
        format_of("1080", 1080, bits_per_second=9),
        format_of("1080-h265", 1080, bits_per_second=5, video_codec="h265"),
        format_of("720", 720, bits_per_second=9),
        format_of("540", 540),
    )
    failure = download_failure(ErrorCode.REQUEST_TOO_LARGE, "1080")
    action = proposed_action("other_format", failure, recovery_options(formats=formats))
    assert action.changes.avoid_formats == ("1080", "720")
    assert action.changes.changed == {"format": "1080 -> 1080-h265"}


def test_geo_block_changes_the_egress_once() -> None:
    changed = Attempt(step="extraction", code=GEO, at=WRITTEN_AT, strategy="other_egress")
    assert (
        propose(
            "other_egress", extraction_failure(GEO, attempts=(changed,)), recovery_options("b", "c")
        )
        is None
    )
    assert (
        propose(
            "other_egress", extraction_failure(API, attempts=(changed,)), recovery_options("b", "c")
        )
        is not None
    )


@pytest.mark.parametrize("code", [ErrorCode.PLATFORM_CHANGED, ErrorCode.CONTENT_UNSUPPORTED, GEO])
def test_failure_unrelated_to_a_file_has_no_other_format(code: ErrorCode) -> None:
    failure = extraction_failure(code, has_endpoint=False, options=Options(codec="h265"))
    assert propose("other_format", failure, recovery_options(formats=FORMATS)) is None


NO_OTHER: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "no formats are known": ({}, ()),
    "a single format": ({}, FORMATS[:1]),
    "the others failed too": ({"avoid_formats": ("middle", "low")}, FORMATS),
    "the others have another codec": (
        {"options": Options(codec="h264", degrade=False)},
        (FORMATS[0], format_of("new", 720, video_codec="h265")),
    ),
    "the others are watermarked": (
        {},
        (FORMATS[0], format_of("marked", 720, watermarked=True)),
    ),
    "the others are below the requested quality": (
        {"options": Options(quality="1080p", degrade=False)},
        FORMATS,
    ),
}


@pytest.mark.parametrize(("changes", "formats"), NO_OTHER.values(), ids=NO_OTHER.keys())
def test_no_other_format_when_selection_would_choose_none(
    changes: dict[str, Any], formats: tuple[Any, ...]
) -> None:
    failure = download_failure(page_reread=True, **changes)
    assert propose("other_format", failure, recovery_options(formats=formats)) is None


def test_equal_format_is_used_even_without_degrade() -> None:
    failure = download_failure(page_reread=True, options=Options(quality="1080p", degrade=False))
    twin = format_of("twin", 1080)
    assert propose("other_format", failure, recovery_options(formats=(*FORMATS, twin))) is not None


RELAXED_OPTIONS: dict[str, tuple[Options, tuple[Any, ...], dict[str, str]]] = {
    "codec": (
        Options(codec="h264"),
        (FORMATS[0], format_of("new", 720, video_codec="h265")),
        {"codec": "h264 -> any", "format": "high -> new"},
    ),
    "container": (
        Options(container="mp4"),
        (FORMATS[0], format_of("web", 720, container="webm")),
        {"container": "mp4 -> any", "format": "high -> web"},
    ),
    "codec and container": (
        Options(codec="h264", container="mp4"),
        (FORMATS[0], format_of("web", 720, container="webm", video_codec="vp9")),
        {"codec": "h264 -> any", "container": "mp4 -> any", "format": "high -> web"},
    ),
}


@pytest.mark.parametrize(
    ("options", "formats", "changed"), RELAXED_OPTIONS.values(), ids=RELAXED_OPTIONS
)
def test_codec_and_container_are_relaxed_when_all_matching_formats_failed(
    options: Options, formats: tuple[Any, ...], changed: dict[str, str]
) -> None:
    action = proposed_action(
        "other_format", download_failure(options=options), recovery_options(formats=formats)
    )
    assert action.changes.changed == changed
    job = apply_patch(action.changes, make_job(options=options))
    assert choose(formats, job.options, job.avoid_formats).format_id == changed["format"][8:]


# No format matches the options

UNMATCHED_OPTIONS: dict[str, tuple[Options, OptionChanges, dict[str, str]]] = {
    "codec": (Options(codec="h265"), OptionChanges(codec="any"), {"codec": "h265 -> any"}),
    "codec first": (
        Options(codec="h264", container="webm"),
        OptionChanges(codec="any"),
        {"codec": "h264 -> any"},
    ),
    "container": (
        Options(container="webm"),
        OptionChanges(container="any"),
        {"container": "webm -> any"},
    ),
}


@pytest.mark.parametrize(
    ("options", "changes", "changed"), UNMATCHED_OPTIONS.values(), ids=UNMATCHED_OPTIONS.keys()
)
def test_unmatched_codec_or_container_is_relaxed(
    options: Options, changes: OptionChanges, changed: dict[str, str]
) -> None:
    failure = extraction_failure(NO_FORMATS, options=options, has_endpoint=False, step="selection")
    assert proposed_action("other_format", failure) == RecoveryAction(
        strategy="other_format",
        changes=JobPatch(options=changes, changed=changed),
        restart="step",
    )


def test_strict_options_are_not_relaxed() -> None:
    strict = Options(codec="h265", container="webm", degrade=False)
    assert (
        propose(
            "other_format",
            extraction_failure(NO_FORMATS, options=strict, has_endpoint=False),
            recovery_options(),
        )
        is None
    )
    plain = Options(watermark="avoid", quality="480p")
    assert (
        propose(
            "other_format",
            extraction_failure(NO_FORMATS, options=plain, has_endpoint=False),
            recovery_options(),
        )
        is None
    )


def test_picture_post_does_not_relax_the_container() -> None:
    failure = extraction_failure(
        NO_FORMATS, options=Options(container="mp4"), has_endpoint=False, step="selection"
    )
    error = msgspec.structs.replace(failure.error, technical_details={"failure": "pictures_only"})
    pictures_only = msgspec.structs.replace(failure, error=error)
    assert propose("other_format", pictures_only, recovery_options()) is None


def test_page_without_formats_does_not_relax_the_options() -> None:
    failure = extraction_failure(NO_FORMATS, options=Options(codec="h265"))
    assert failure.operation == "extract"
    assert propose("other_format", failure, recovery_options(formats=FORMATS)) is None


# Lower quality

LOWER = [
    ("best", "high", FORMATS, "720p"),
    ("best", "middle", FORMATS, "480p"),
    ("best", "low", FORMATS, None),
    ("1080p", "high", FORMATS, "720p"),
    ("720p", "middle", FORMATS, "480p"),
    ("480p", "low", FORMATS, None),
    ("worst", "low", FORMATS, None),
    ("worst", "high", FORMATS, None),
    ("best", "high", FORMATS[:1], None),
    ("best", "high", (), None),
    ("best", "gone", FORMATS, None),
    ("best", "high", (format_of("high", 1920), FORMATS[0]), "1080p"),
    ("best", "high", (FORMATS[0], format_of("small", 240)), "720p"),
    ("360p", "high", (format_of("high", 360), format_of("small", 240)), "worst"),
    ("best", "high", (FORMATS[0], format_of("like it", 1080)), None),
    ("best", "high", (FORMATS[0], format_of("unknown", 0)), None),
    ("best", "high", (format_of("high", 0), FORMATS[1]), None),
]


@pytest.mark.parametrize(("requested", "format_id", "formats", "quality"), LOWER)
def test_lower_quality_is_the_next_that_yields_a_smaller_file(
    requested: Any, format_id: str, formats: tuple[Any, ...], quality: Any
) -> None:
    failure = download_failure(TIMEOUT, format_id, options=Options(quality=requested))
    action = propose("lower_quality", failure, recovery_options(formats=formats))
    if quality is None:
        assert action is None
        return
    assert action == RecoveryAction(
        strategy="lower_quality",
        changes=JobPatch(
            options=OptionChanges(quality=quality), changed={"quality": f"{requested} -> {quality}"}
        ),
        restart="extraction",
    )


def test_lower_quality_requires_degrade() -> None:
    failure = download_failure(TIMEOUT, options=Options(degrade=False))
    assert propose("lower_quality", failure, recovery_options(formats=FORMATS)) is None


def test_lower_quality_skips_failed_formats() -> None:
    failure = download_failure(TIMEOUT, avoid_formats=("middle",))
    assert proposed_action(
        "lower_quality", failure, recovery_options(formats=FORMATS)
    ).changes.changed == {"quality": "best -> 720p"}
    failure = download_failure(TIMEOUT, avoid_formats=("middle", "low"))
    assert propose("lower_quality", failure, recovery_options(formats=FORMATS)) is None


def test_lower_quality_applies_to_downloads_only() -> None:
    assert (
        propose("lower_quality", extraction_failure(TIMEOUT), recovery_options(formats=FORMATS))
        is None
    )


@given(
    requested=st.sampled_from(QUALITIES),
    sides=st.lists(st.integers(0, 2_000), min_size=1, max_size=5),
)
def test_lower_qualities_terminate_and_shrink_the_file(requested: Any, sides: list[int]) -> None:
    formats = tuple(format_of(str(number), side) for number, side in enumerate(sides))
    options, seen = Options(quality=requested), []
    while True:
        chosen = choose(formats, options)
        seen.append(chosen.format.smaller_side)
        failure = download_failure(TIMEOUT, chosen.format_id, options=options)
        action = propose("lower_quality", failure, recovery_options(formats=formats))
        if action is None:
            break
        options = apply_patch(action.changes, make_job(options=options)).options
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) <= len(QUALITIES)


# Applying a patch


def test_patch_is_added_to_earlier_changes() -> None:
    job = make_job(
        avoid_egress=("a",),
        avoid_formats=("x",),
        silent_formats=("s",),
        page=PageUse(reads=1),
        avoid_accounts=("first",),
        options=Options(codec="h265"),
    )
    changes = JobPatch(
        options=OptionChanges(quality="480p", refresh=True),
        avoid_egress=("b",),
        avoid_formats=("y",),
        silent_formats=("t",),
        fresh_page=True,
        avoid_accounts=("second",),
        authenticate=True,
        changed={"a": "b"},
    )
    assert apply_patch(changes, job) == make_job(
        avoid_egress=("a", "b"),
        avoid_formats=("x", "y"),
        silent_formats=("s", "t"),
        page=PageUse(reads=1, outdated=True),
        avoid_accounts=("first", "second"),
        authenticate=True,
        options=Options(codec="h265", quality="480p", refresh=True),
    )


def test_empty_patch_changes_nothing() -> None:
    job = make_job(authenticate=True, avoid_egress=("a",), options=Options(max_bytes=5))
    assert apply_patch(JobPatch(), job) == job


def test_patch_can_remove_a_limit() -> None:
    job = make_job(options=Options(max_bytes=5))
    changes = JobPatch(options=OptionChanges(max_bytes=None))
    assert apply_patch(changes, job).options == Options()


def test_default_options_propose_nothing() -> None:
    assert RecoveryOptions(egresses=(), accounts=(), formats=()) == NO_OPTIONS
    failure = make_failure(API, selected())
    assert other_egresses(failure, NO_OPTIONS) == ()
