"""What a request has changed about cookies, and when a login ends. Pure."""

from collections.abc import Collection, Iterable, Sequence

from agents.accounts.cookie_text import key_of
from schemas.video import Cookie

SAME_EXPIRY_SECONDS = 3_600.0
"""A cookie whose expiry moves by less is the same: with many platforms it moves with every page."""


def changed(before: Iterable[Cookie], after: Iterable[Cookie]) -> tuple[Cookie, ...]:
    """Return the cookies that were set anew between two moments."""
    known = {key_of(each): each for each in before}
    return tuple(each for each in after if _is_new(known.get(key_of(each)), each))


def login_ends_at(cookies: Sequence[Cookie], carriers: Collection[str]) -> float | None:
    """Return the epoch second at which a login ends, None when that is not known.

    Args:
        cookies: of the account.
        carriers: names of the cookies that carry the login; it ends with the first of them. When
            there are none of these names, it ends with the last of all cookies.
    """
    named = [each.expires_at for each in cookies if each.name in carriers]
    if named:
        return min((end for end in named if end is not None), default=None)
    ends = [each.expires_at for each in cookies]
    return None if None in ends else max((end for end in ends if end is not None), default=None)


def _is_new(before: Cookie | None, after: Cookie) -> bool:
    if before is None or before.value != after.value:
        return True
    if after.expires_at is None:
        return False
    return abs(after.expires_at - (before.expires_at or 0.0)) > SAME_EXPIRY_SECONDS
