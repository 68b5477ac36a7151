from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.formats.selection import choose
from agents.recovery.decisions import NO_OPTIONS, JobPatch, RecoveryAction, RecoveryOptions, applied
from agents.recovery.retry_policy import PAGES_READ
from agents.recovery.strategies import QUALITIES, other_egresses, remedy
from schemas.commands import OptionChanges
from schemas.errors import ErrorCode
from schemas.failure import Failure
from schemas.job import Attempt, PageUse, Strategy
from schemas.request import Options
from tests.unit.agents.builders import WRITTEN_AT, make_failure, make_job, selected
from tests.unit.agents.recovery.cases import (
    ACCOUNTS,
    FORMATS,
    failed,
    failed_download,
    format_of,
    means,
)

API = ErrorCode.RATE_LIMIT_API
GEO = ErrorCode.CONTENT_GEO_BLOCKED
LOGIN = ErrorCode.CONTENT_LOGIN_REQUIRED
NO_FORMATS = ErrorCode.CONTENT_NO_FORMATS
EXPIRED = ErrorCode.CONTENT_LINK_EXPIRED
TIMEOUT = ErrorCode.NETWORK_TIMEOUT


def found(
    strategy: Strategy, failure: Failure, given: RecoveryOptions = NO_OPTIONS
) -> RecoveryAction:
    what = remedy(strategy, failure, given)
    assert what is not None
    assert what.strategy == strategy
    return what


@pytest.mark.parametrize("strategy", ["backoff", "wait", "give_up"])
def test_what_changes_nothing_is_no_remedy(strategy: Strategy) -> None:
    assert remedy(strategy, failed(API), means("b", accounts=ACCOUNTS, formats=FORMATS)) is None


# Other ways out

OTHERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "none": ((), (), ()),
    "only the one that failed": (("a",), (), ()),
    "one": (("a", "b"), (), ("b",)),
    "one that is avoided": (("a", "b"), ("b",), ()),
    "one of two avoided": (("c", "b", "a"), ("c",), ("b",)),
    "two": (("b", "c"), (), ("b", "c")),
}


@pytest.mark.parametrize(("usable", "avoided", "others"), OTHERS.values(), ids=OTHERS.keys())
def test_other_ways_out_are_open_and_not_avoided(
    usable: tuple[str, ...], avoided: tuple[str, ...], others: tuple[str, ...]
) -> None:
    failure = failed(API, avoid_egress=avoided)
    assert other_egresses(failure, means(*usable)) == others
    assert (remedy("other_egress", failure, means(*usable)) is not None) is bool(others)


def test_another_way_out_is_taken_at_the_step_that_failed() -> None:
    assert found("other_egress", failed(API), means("b")) == RecoveryAction(
        strategy="other_egress",
        changes=JobPatch(avoid_egress=("a",), changed={"egress": "a -> another"}),
        restart="step",
    )


def test_what_is_withheld_in_a_region_is_read_anew_elsewhere() -> None:
    assert found("other_egress", failed(GEO), means("b")) == RecoveryAction(
        strategy="other_egress",
        changes=JobPatch(fresh_page=True, avoid_egress=("a",), changed={"egress": "a -> another"}),
        restart="extraction",
    )


def test_what_was_not_about_the_network_has_no_other_way_out() -> None:
    assert other_egresses(failed(API, place=False), means("b")) == ()
    assert remedy("other_egress", failed(API, place=False), means("b")) is None


# Logging in


def test_an_account_is_used_where_there_is_one() -> None:
    changes = JobPatch(
        fresh_page=True, authenticate=True, changed={"account": "none -> the platform's"}
    )
    expected = RecoveryAction(strategy="authenticate", changes=changes, restart="extraction")
    assert found("authenticate", failed(LOGIN), means(accounts=ACCOUNTS)) == expected


def test_one_logs_in_once() -> None:
    given = means(accounts=ACCOUNTS)
    assert remedy("authenticate", failed(LOGIN), means()) is None
    assert remedy("authenticate", failed(LOGIN, authenticate=True), given) is None
    assert remedy("authenticate", failed(LOGIN, account="main"), given) is None


OTHER_ACCOUNTS: dict[str, tuple[str | None, tuple[str, ...], tuple[str, ...], bool]] = {
    "there is another": ("main", (), ("main", "spare"), True),
    "there is only this one": ("main", (), ("main",), False),
    "there is none": ("main", (), (), False),
    "the other is avoided": ("main", ("spare",), ("main", "spare"), False),
    "one of two others is avoided": ("main", ("spare",), ("main", "spare", "third"), True),
    "none was used": (None, (), ("main", "spare"), False),
    "it is not known here": ("other", (), ("main",), True),
    "who there is is not known here": ("main", (), ("*",), True),
}


@pytest.mark.parametrize(
    ("used", "avoided", "accounts", "changes"), OTHER_ACCOUNTS.values(), ids=OTHER_ACCOUNTS
)
def test_another_account_is_used_where_there_is_one(
    used: str | None, avoided: tuple[str, ...], accounts: tuple[str, ...], changes: bool
) -> None:
    failure = failed(LOGIN, account=used, avoid_accounts=avoided)
    assert (remedy("other_account", failure, means(accounts=accounts)) is not None) is changes


@pytest.mark.parametrize("code", [LOGIN, ErrorCode.RATE_LIMIT_ACCOUNT])
def test_the_page_is_read_anew_with_another_account(code: ErrorCode) -> None:
    changes = JobPatch(
        fresh_page=True,
        avoid_accounts=("main",),
        authenticate=True,
        changed={"account": "main -> another"},
    )
    expected = RecoveryAction(strategy="other_account", changes=changes, restart="extraction")
    assert (
        found("other_account", failed(code, account="main"), means(accounts=ACCOUNTS)) == expected
    )


def test_an_account_that_was_avoided_in_vain_is_avoided_once() -> None:
    failure = failed(LOGIN, account="main", avoid_accounts=("main",))
    assert found("other_account", failure, means(accounts=ACCOUNTS)).changes.avoid_accounts == ()


# Links


def test_a_fresh_page_is_read_once_for_all_files() -> None:
    changes = JobPatch(fresh_page=True, changed={"page": "read anew"})
    expected = RecoveryAction(strategy="fresh_extraction", changes=changes, restart="extraction")
    assert found("fresh_extraction", failed_download()) == expected
    assert remedy("fresh_extraction", failed_download(read_anew=True), NO_OPTIONS) is None
    damaged = failed_download(ErrorCode.CONTENT_DAMAGED, "low", read_anew=True)
    assert remedy("fresh_extraction", damaged, NO_OPTIONS) is None


def test_another_format_is_named() -> None:
    changes = JobPatch(avoid_formats=("high",), changed={"format": "high -> middle"})
    expected = RecoveryAction(strategy="other_format", changes=changes, restart="extraction")
    assert found("other_format", failed_download(), means(formats=FORMATS)) == expected


@pytest.mark.parametrize("strategy", ["fresh_extraction", "other_format"])
def test_no_more_pages_are_read_than_allowed(strategy: Strategy) -> None:
    for reads, changes in ((PAGES_READ - 1, True), (PAGES_READ, False)):
        failure = failed_download(page=PageUse(read_at=WRITTEN_AT, reads=reads))
        assert (remedy(strategy, failure, means(formats=FORMATS)) is not None) is changes


def test_a_format_that_failed_although_it_is_avoided_is_no_reason() -> None:
    failure = failed_download(avoid_formats=("high",))
    assert remedy("other_format", failure, means(formats=FORMATS)) is None
    silent = failed_download(ErrorCode.CONTENT_NO_SOUND, silent_formats=("high",))
    assert remedy("other_format", silent, means(formats=FORMATS)) is None


COPIES = (
    format_of("high-0", 1080, bytes=9),
    format_of("high-1", 1080, bytes=9),
    *FORMATS[1:],
)


def test_a_file_without_sound_is_so_at_every_host() -> None:
    failure = failed_download(ErrorCode.CONTENT_NO_SOUND, "high-0")
    what = found("other_format", failure, means(formats=COPIES))
    assert what.changes.silent_formats == ("high-0", "high-1")
    assert what.changes.changed == {"format": "high-0 -> high-0+low"}
    untold = tuple(msgspec.structs.replace(each, bytes=None) for each in COPIES)
    what = found("other_format", failure, means(formats=untold))
    assert what.changes.silent_formats == ("high-0",)
    assert what.changes.changed == {"format": "high-0 -> high-1"}


def test_a_host_that_is_away_is_changed_and_the_file_is_not() -> None:
    failure = failed_download(ErrorCode.NETWORK_DNS, "high-0")
    what = found("other_format", failure, means(formats=COPIES))
    assert what.changes.changed == {"format": "high-0 -> high-1"}
    last = failed_download(ErrorCode.NETWORK_DNS, "high-1", avoid_formats=("high-0",))
    assert remedy("other_format", last, means(formats=COPIES)) is None


def test_what_is_not_smaller_than_what_was_too_large_is_left_out() -> None:
    formats = (
        format_of("1080", 1080, bits_per_second=9),
        format_of("1080-h265", 1080, bits_per_second=5, video_codec="h265"),
        format_of("720", 720, bits_per_second=9),
        format_of("540", 540),
    )
    failure = failed_download(ErrorCode.REQUEST_TOO_LARGE, "1080")
    what = found("other_format", failure, means(formats=formats))
    assert what.changes.avoid_formats == ("1080", "720")
    assert what.changes.changed == {"format": "1080 -> 1080-h265"}


def test_a_region_is_changed_once() -> None:
    changed = Attempt(step="extraction", code=GEO, at=WRITTEN_AT, strategy="other_egress")
    assert remedy("other_egress", failed(GEO, attempts=(changed,)), means("b", "c")) is None
    assert remedy("other_egress", failed(API, attempts=(changed,)), means("b", "c")) is not None


@pytest.mark.parametrize("code", [ErrorCode.PLATFORM_CHANGED, ErrorCode.CONTENT_UNSUPPORTED, GEO])
def test_what_is_no_matter_of_a_file_has_no_other_format(code: ErrorCode) -> None:
    failure = failed(code, place=False, options=Options(codec="h265"))
    assert remedy("other_format", failure, means(formats=FORMATS)) is None


NO_OTHER: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "none is known": ({}, ()),
    "there is one only": ({}, FORMATS[:1]),
    "the others failed too": ({"avoid_formats": ("middle", "low")}, FORMATS),
    "the others are of other kinds": (
        {"options": Options(codec="h264", degrade=False)},
        (FORMATS[0], format_of("new", 720, video_codec="h265")),
    ),
    "the others are marked": (
        {},
        (FORMATS[0], format_of("marked", 720, watermarked=True)),
    ),
    "the others are smaller than wanted": (
        {"options": Options(quality="1080p", degrade=False)},
        FORMATS,
    ),
}


@pytest.mark.parametrize(("changes", "formats"), NO_OTHER.values(), ids=NO_OTHER.keys())
def test_no_other_format_is_taken_when_selection_would_choose_none(
    changes: dict[str, Any], formats: tuple[Any, ...]
) -> None:
    failure = failed_download(read_anew=True, **changes)
    assert remedy("other_format", failure, means(formats=formats)) is None


def test_a_format_like_it_is_taken_though_nothing_may_be_degraded() -> None:
    failure = failed_download(read_anew=True, options=Options(quality="1080p", degrade=False))
    twin = format_of("twin", 1080)
    assert remedy("other_format", failure, means(formats=(*FORMATS, twin))) is not None


OTHER_KINDS: dict[str, tuple[Options, tuple[Any, ...], dict[str, str]]] = {
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


@pytest.mark.parametrize(("options", "formats", "words"), OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_another_kind_is_taken_when_all_of_the_kind_have_failed(
    options: Options, formats: tuple[Any, ...], words: dict[str, str]
) -> None:
    what = found("other_format", failed_download(options=options), means(formats=formats))
    assert what.changes.changed == words
    job = applied(what.changes, make_job(options=options))
    assert choose(formats, job.options, job.avoid_formats).format_id == words["format"][8:]


# Nothing fits the options

KINDS: dict[str, tuple[Options, OptionChanges, dict[str, str]]] = {
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


@pytest.mark.parametrize(("options", "changes", "words"), KINDS.values(), ids=KINDS.keys())
def test_another_codec_or_container_is_chosen(
    options: Options, changes: OptionChanges, words: dict[str, str]
) -> None:
    failure = failed(NO_FORMATS, options=options, place=False, step="selection")
    assert found("other_format", failure) == RecoveryAction(
        strategy="other_format",
        changes=JobPatch(options=changes, changed=words),
        restart="step",
    )


def test_what_the_user_insists_on_stays() -> None:
    exact = Options(codec="h265", container="webm", degrade=False)
    assert remedy("other_format", failed(NO_FORMATS, options=exact, place=False), means()) is None
    plain = Options(watermark="avoid", quality="480p")
    assert remedy("other_format", failed(NO_FORMATS, options=plain, place=False), means()) is None


def test_pictures_are_no_other_container_of_a_video() -> None:
    failure = failed(NO_FORMATS, options=Options(container="mp4"), place=False, step="selection")
    told = msgspec.structs.replace(failure.error, technical_details={"failure": "pictures_only"})
    pictures_only = msgspec.structs.replace(failure, error=told)
    assert remedy("other_format", pictures_only, means()) is None


def test_a_page_without_any_format_is_no_matter_of_options() -> None:
    failure = failed(NO_FORMATS, options=Options(codec="h265"))
    assert failure.operation == "extract"
    assert remedy("other_format", failure, means(formats=FORMATS)) is None


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


@pytest.mark.parametrize(("asked", "format_id", "formats", "quality"), LOWER)
def test_a_lower_quality_is_the_next_that_makes_the_file_smaller(
    asked: Any, format_id: str, formats: tuple[Any, ...], quality: Any
) -> None:
    failure = failed_download(TIMEOUT, format_id, options=Options(quality=asked))
    what = remedy("lower_quality", failure, means(formats=formats))
    if quality is None:
        assert what is None
        return
    assert what == RecoveryAction(
        strategy="lower_quality",
        changes=JobPatch(
            options=OptionChanges(quality=quality), changed={"quality": f"{asked} -> {quality}"}
        ),
        restart="extraction",
    )


def test_a_lower_quality_is_not_taken_against_the_users_will() -> None:
    failure = failed_download(TIMEOUT, options=Options(degrade=False))
    assert remedy("lower_quality", failure, means(formats=FORMATS)) is None


def test_a_lower_quality_leaves_out_what_has_failed() -> None:
    failure = failed_download(TIMEOUT, avoid_formats=("middle",))
    assert found("lower_quality", failure, means(formats=FORMATS)).changes.changed == {
        "quality": "best -> 720p"
    }
    failure = failed_download(TIMEOUT, avoid_formats=("middle", "low"))
    assert remedy("lower_quality", failure, means(formats=FORMATS)) is None


def test_only_a_file_has_a_quality() -> None:
    assert remedy("lower_quality", failed(TIMEOUT), means(formats=FORMATS)) is None


@given(
    asked=st.sampled_from(QUALITIES),
    sides=st.lists(st.integers(0, 2_000), min_size=1, max_size=5),
)
def test_lower_qualities_end_and_each_makes_the_file_smaller(asked: Any, sides: list[int]) -> None:
    formats = tuple(format_of(str(number), side) for number, side in enumerate(sides))
    options, seen = Options(quality=asked), []
    while True:
        chosen = choose(formats, options)
        seen.append(chosen.format.smaller_side)
        failure = failed_download(TIMEOUT, chosen.format_id, options=options)
        what = remedy("lower_quality", failure, means(formats=formats))
        if what is None:
            break
        options = applied(what.changes, make_job(options=options)).options
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) <= len(QUALITIES)


# Making the changes


def test_changes_are_added_to_what_was_changed_before() -> None:
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
    assert applied(changes, job) == make_job(
        avoid_egress=("a", "b"),
        avoid_formats=("x", "y"),
        silent_formats=("s", "t"),
        page=PageUse(reads=1, outdated=True),
        avoid_accounts=("first", "second"),
        authenticate=True,
        options=Options(codec="h265", quality="480p", refresh=True),
    )


def test_no_changes_change_nothing() -> None:
    job = make_job(authenticate=True, avoid_egress=("a",), options=Options(max_bytes=5))
    assert applied(JobPatch(), job) == job


def test_a_limit_can_be_taken_away() -> None:
    job = make_job(options=Options(max_bytes=5))
    changes = JobPatch(options=OptionChanges(max_bytes=None))
    assert applied(changes, job).options == Options()


def test_by_default_there_is_nothing_to_try() -> None:
    assert RecoveryOptions(egresses=(), accounts=(), formats=()) == NO_OPTIONS
    failure = make_failure(API, selected())
    assert other_egresses(failure, NO_OPTIONS) == ()
