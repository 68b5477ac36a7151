"""Sessions: the cookies that unlock ``members`` and ``adults``, and files that hold them.

There are four kinds of session, by their value: `SESSION` never expires; a living one, made by
`living_session`, is renewed by every page, and an old value expires after some uses; `LIMITED` is
answered 429; every other value belongs to an ended session.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.standin.wire import Reply, Request, text_reply

SESSION_COOKIE = "sessionid"
SESSION = "5e551004c0ffee5e551004c0ffee5e55"
LIMITED = "11417edc0ffee11417edc0ffee114170"
ENDED = "dead5e5510c0ffeedead5e5510c0ffee"

OLD_USES = 3
"""Number of pages for one value of a living session."""

_LIVING = "11fe5e5510a1" * 2
# The end of 2099, in Unix seconds.
_EXPIRES = 4_102_444_799


def living_session(number: int = 0, generation: int = 0) -> str:
    """The value of a living session after ``generation`` renewals."""
    return f"{_LIVING}{number:02x}{generation:06x}"


def is_logged_in(request: Request) -> bool:
    """Whether a request has the valid session cookie."""
    return request.cookies.get(SESSION_COOKIE) == SESSION


def session_cookies_file(path: Path, value: str = SESSION) -> Path:
    """Write a Netscape cookie file with a session, by default a valid one; return its path."""
    fields = (".tiktok.com", "TRUE", "/", "TRUE", str(_EXPIRES), SESSION_COOKIE, value)
    path.write_text("# Netscape HTTP Cookie File\n" + "\t".join(fields) + "\n")
    path.chmod(0o600)
    return path


class Sessions:
    """The state of living sessions: which of their values are still valid."""

    def __init__(self) -> None:
        self._pages: Counter[str] = Counter()
        self._uses: Counter[str] = Counter()

    def answer(self, request: Request, page: Callable[[Request], Reply]) -> Reply:
        """The reply to a page request, depending on its session."""
        value = request.cookies.get(SESSION_COOKIE, "")
        if value == LIMITED:
            return text_reply(429, "this account asks too often")
        if request.method == "HEAD" or not self._is_valid(value):
            return page(request)
        self._uses[value] += 1
        reply = page(_with_valid_session(request, value))
        return _with_cookie(reply, self._next(value)) if reply.status == 200 else reply

    def _is_valid(self, value: str) -> bool:
        return value.startswith(_LIVING) and self._uses[value] < OLD_USES

    def _next(self, value: str) -> str:
        number = value[len(_LIVING) :][:2]
        self._pages[number] += 1
        return living_session(int(number, 16), self._pages[number])


def _with_valid_session(request: Request, value: str) -> Request:
    cookie = request.headers["cookie"].replace(value, SESSION)
    return replace(request, headers={**request.headers, "cookie": cookie})


def _with_cookie(reply: Reply, value: str) -> Reply:
    scope = "Domain=.tiktok.com; Path=/; Secure; HttpOnly; Max-Age=15552000"
    cookie = ("Set-Cookie", f"{SESSION_COOKIE}={value}; {scope}")
    return replace(reply, headers=(*reply.headers, cookie))
