"""Logins: the cookie that opens ``members`` and ``adults``, and the file that carries it."""

from pathlib import Path

from tests.standin.wire import Request

SESSION_COOKIE = "sessionid"
SESSION = "5e551004c0ffee5e551004c0ffee5e55"
# The end of 2099, in Unix seconds.
_EXPIRES = 4_102_444_799


def is_logged_in(request: Request) -> bool:
    """Whether a request carries the session."""
    return request.cookies.get(SESSION_COOKIE) == SESSION


def session_cookies_file(path: Path, value: str = SESSION) -> Path:
    """Write a Netscape cookie file with a session, by default the one that is good; return it."""
    fields = (".tiktok.com", "TRUE", "/", "TRUE", str(_EXPIRES), SESSION_COOKIE, value)
    path.write_text("# Netscape HTTP Cookie File\n" + "\t".join(fields) + "\n")
    return path
