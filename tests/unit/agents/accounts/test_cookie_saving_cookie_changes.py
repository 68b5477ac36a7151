import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accounts.cookie_saving import SAME_EXPIRY_SECONDS, changed_cookies, login_expires_at
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import LATER, cookie

FAR, NEAR = LATER + SAME_EXPIRY_SECONDS + 1, LATER + SAME_EXPIRY_SECONDS
OTHER = Cookie(name="sessionid", value="s3cret", domain="www.tiktok.com", expires_at=LATER)

CASES = {
    "the same": (cookie(), False),
    "another value": (cookie(value="new"), True),
    "a little longer": (cookie(expires_at=NEAR), False),
    "much longer": (cookie(expires_at=FAR), True),
    "expired": (cookie(expires_at=1.0), True),
    "without expiry": (cookie(expires_at=None), False),
    "another value without expiry": (cookie(value="new", expires_at=None), True),
    "another name": (cookie("other"), True),
    "another domain": (OTHER, True),
}


@pytest.mark.parametrize(("after", "is_new"), CASES.values(), ids=CASES)
def test_changed_cookie_is_found(after: Cookie, is_new: bool) -> None:
    assert changed_cookies([cookie()], [after]) == ((after,) if is_new else ())


def test_added_expiry_is_a_change() -> None:
    assert changed_cookies([cookie(expires_at=None)], [cookie()]) == (cookie(),)


@given(st.lists(st.sampled_from([cookie(), cookie("b"), OTHER])))
def test_unchanged_cookies_are_not_returned(cookies: list[Cookie]) -> None:
    assert changed_cookies(cookies, cookies) == ()
    assert changed_cookies(cookies, []) == ()


EXPIRIES: dict[str, tuple[list[Cookie], float | None]] = {
    "none": ([], None),
    "the session cookie": ([cookie("sid", expires_at=5.0), cookie("b")], 5.0),
    "the first of two session cookies": (
        [cookie("sid", expires_at=5.0), cookie("sid2", expires_at=4.0)],
        4.0,
    ),
    "a session cookie without expiry": ([cookie("sid", expires_at=None), cookie("b")], None),
    "one of two without expiry": (
        [cookie("sid", expires_at=None), cookie("sid2", expires_at=4.0)],
        4.0,
    ),
    "no session cookie": ([cookie("a", expires_at=5.0), cookie("b", expires_at=6.0)], 6.0),
    "no session cookie, one without expiry": (
        [cookie("a", expires_at=5.0), cookie("b", "", None)],
        None,
    ),
}


@pytest.mark.parametrize(("cookies", "expected"), EXPIRIES.values(), ids=EXPIRIES)
def test_login_expires_with_its_session_cookie(
    cookies: list[Cookie], expected: float | None
) -> None:
    assert login_expires_at(cookies, ("sid", "sid2")) == expected
