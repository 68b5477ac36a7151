"""Calls of attackers and of broken clients, by name, each with the status of its answer."""

from urllib.parse import quote

from tests.unit.streams.console.consoles import HOSTILE, TOKEN
from tests.unit.streams.console.raw_calls import call

FORM = "application/x-www-form-urlencoded"
OWN = "same-origin"
DIGITS = "9" * 5_000
NESTED = b"[" * 200_000

Case = tuple[bytes, int | tuple[int, ...]]
"""A call, and the status, or statuses, of its answer."""

OPEN_CALLS: dict[str, Case] = {
    # Another host or origin.
    "rebinding host": (call(Host="evil.example"), 403),
    "rebinding host with port": (call("/api/v1/counts", Host="evil.example:8090"), 403),
    "host that begins like loopback": (call(Host="127.0.0.1.evil.example"), 403),
    "host with octets": (call(Host=b"\xff\xfe"), 403),
    "no host": (call(Host=None), (400, 403)),
    "absolute target of another host": (call("http://evil.example/", Host="evil.example"), 403),
    "form of another origin": (
        call("/cancel", "POST", b"id=done", Content_Type=FORM, Origin="https://evil.example"),
        403,
    ),
    "form of a sibling site": (
        call("/cancel", "POST", b"id=done", Content_Type=FORM, Sec_Fetch_Site="same-site"),
        403,
    ),
    "form of a sandboxed frame": (
        call("/cancel", "POST", b"id=done", Content_Type=FORM, Origin="null"),
        403,
    ),
    "form without origin": (call("/cancel", "POST", b"id=done", Content_Type=FORM), 403),
    "multipart without origin": (
        call("/submit", "POST", b"--x--", Content_Type="multipart/form-data; boundary=x"),
        403,
    ),
    "text that is JSON": (
        call("/api/v1/requests", "POST", b"{}", Content_Type="text/plain;application/json"),
        403,
    ),
    "log-out of another origin": (
        call("/logout", "POST", Origin="https://evil.example", Content_Length="0"),
        403,
    ),
    "log-in of another origin": (
        call("/login", "POST", b"token=x", Content_Type=FORM, Origin="https://evil.example"),
        403,
    ),
    # Methods.
    "unknown method": (call("/", "BREW", Sec_Fetch_Site=OWN), (400, 405)),
    "PUT": (call("/api/v1/requests", "PUT", Sec_Fetch_Site=OWN), 405),
    "DELETE": (call("/api/v1/requests/done", "DELETE", Sec_Fetch_Site=OWN), 405),
    "TRACE": (call("/", "TRACE", Sec_Fetch_Site=OWN), 405),
    "CONNECT": (call("evil.example:443", "CONNECT", Sec_Fetch_Site=OWN), (400, 403, 404, 405)),
    "preflight of another origin": (
        call("/api/v1/requests", "OPTIONS", Origin="https://evil.example"),
        403,
    ),
    "method override": (
        call("/cancel?_method=POST&id=done", X_HTTP_Method_Override="POST"),
        200,
    ),
    "GET that would change": (call("/logout"), 405),
    # Paths.
    "parent directory": (call("/static/../server.py"), 404),
    "encoded parent directory": (call("/static/..%2fserver.py"), 404),
    "twice encoded parent directory": (call("/static/%252e%252e%252fserver.py"), 404),
    "encoded dots": (call("/static/%2e%2e/server.py"), 404),
    "back-slashes": (call("/static/..%5cserver.py"), 404),
    "absolute path below static": (call("/static//etc/passwd"), 404),
    "directory": (call("/static/"), 403),
    "NUL in a path": (call("/static/%00"), 404),
    "NUL in an id": (call("/api/v1/requests/a%00b"), 404),
    "host in a path": (call("//evil.example/%2e%2e"), 404),
    "octets in a path": (call(b"/\xff\xfe"), (400, 404)),
    "octets in an API path": (call(b"/api/v1/\xff\xfe"), (400, 404)),
    "octets in an id": (call(b"/api/v1/requests/\xff\xfe"), (400, 404)),
    "encoded octets in an id": (call("/api/v1/requests/%ff%fe"), 404),
    "surrogate in an id": (call("/api/v1/requests/%ed%a0%80"), 404),
    "very long path": (call("/" + "a" * 100_000), 400),
    "very long id": (call("/request?id=" + "a" * 8_000), 404),
    "very long header": (call(X_Long="a" * 100_000), 400),
    "many headers": (call(X_Many="a" + "\r\nX-Many: a" * 5_000), (200, 400)),
    # Parameters.
    "limit beyond the largest": (call("/api/v1/requests?limit=000000001999999"), 400),
    "limit of digits": (call(f"/api/v1/requests?limit={DIGITS}"), 400),
    "limit of foreign digits": (call("/api/v1/requests?limit=" + quote("\u0663")), 400),
    "file number of digits": (call(f"/file?id=done&n=000000000{DIGITS}"), 404),
    "file number below zero": (call("/file?id=done&n=-1"), 404),
    "forged cursor": (call("/api/v1/requests?after=" + "A" * 2_000), 400),
    "moment beyond all calendars": (call(f"/?since={DIGITS[:4000]}d"), 400),
    "octets in a filter": (call("/?url=%ff%fe%00"), 200),
    "SQL in a filter": (call("/?batch=" + quote("x' OR 1=1 --")), 200),
    "wildcards in a filter": (call("/?url=" + "%25" * 2_000), 200),
    "script in a filter": (call("/?url=" + quote(HOSTILE)), 200),
    "line break in an id": (call("/request?id=a%0d%0aSet-Cookie:%20a=b&ordered=submit"), 200),
    "script in an id": (call("/request?id=" + quote(HOSTILE)), 200),
    "script in a shared link": (call("/submit?text=" + quote("https://" + HOSTILE)), 200),
    "shared link that is a script": (call("/submit?url=javascript:alert(1)"), 200),
    # Bodies.
    "body of another charset": (
        call(
            "/cancel", "POST", b"id=a", Content_Type=f"{FORM}; charset=x-none", Sec_Fetch_Site=OWN
        ),
        400,
    ),
    "octets in a form": (
        call("/cancel", "POST", b"id=\xff\xfe", Content_Type=FORM, Sec_Fetch_Site=OWN),
        400,
    ),
    "octets in a submitted text": (
        call("/submit", "POST", b"text=https://\xff", Content_Type=FORM, Sec_Fetch_Site=OWN),
        400,
    ),
    "multipart without boundary": (
        call("/cancel", "POST", b"id=a", Content_Type="multipart/form-data", Sec_Fetch_Site=OWN),
        400,
    ),
    "broken multipart": (
        call(
            "/cancel",
            "POST",
            b"--x\r\nnonsense\r\n\r\n",
            Content_Type="multipart/form-data; boundary=x",
            Sec_Fetch_Site=OWN,
        ),
        400,
    ),
    "number of too many digits": (
        call(
            "/retry",
            "POST",
            f"id=done&max_bytes={DIGITS}".encode(),
            Content_Type=FORM,
            Sec_Fetch_Site=OWN,
        ),
        400,
    ),
    "JSON where a form belongs": (
        call("/cancel", "POST", b'{"id":"done"}', Content_Type="application/json"),
        400,
    ),
    "form where JSON belongs": (
        call("/api/v1/requests", "POST", b"url=x", Content_Type=FORM, Sec_Fetch_Site=OWN),
        415,
    ),
    "octets in a content type": (
        call("/api/v1/requests", "POST", b"x", Content_Type=b"\xff/\xfe", Sec_Fetch_Site=OWN),
        415,
    ),
    "nested JSON": (
        call("/api/v1/requests", "POST", NESTED, Content_Type="application/json"),
        400,
    ),
    "nested options": (
        call(
            "/api/v1/requests/done/retry",
            "POST",
            b'{"options":' + NESTED,
            Content_Type="application/json",
        ),
        400,
    ),
    "surrogate in JSON": (
        call("/api/v1/requests", "POST", b'{"url":"\\ud800"}', Content_Type="application/json"),
        400,
    ),
    "octets in lines": (
        call(
            "/api/v1/requests", "POST", b"\xff\xfe", Content_Type="text/plain", Sec_Fetch_Site=OWN
        ),
        400,
    ),
    "empty body": (call("/api/v1/requests", "POST", Content_Type="application/json"), 400),
    "unknown field": (
        call("/api/v1/requests", "POST", b'{"exec":"x"}', Content_Type="application/json"),
        400,
    ),
    "command of another type": (
        call(
            "/api/v1/requests/a/retry",
            "POST",
            b'{"options":{},"by":"root"}',
            Content_Type="application/json",
        ),
        400,
    ),
    "announced oversized body": (
        call("/submit", "POST", b"x", Content_Length="999999999999", Sec_Fetch_Site=OWN),
        413,
    ),
    "two lengths": (
        call("/api/v1/requests", "POST", b"{}", Transfer_Encoding="chunked"),
        400,
    ),
    "length below zero": (call("/submit", "POST", Content_Length="-1", Sec_Fetch_Site=OWN), 400),
    "compressed body": (
        call(
            "/api/v1/requests",
            "POST",
            b"\x1f\x8bnonsense",
            Content_Type="application/json",
            Content_Encoding="gzip",
        ),
        400,
    ),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
}

LOGIN_CALLS: dict[str, Case] = {
    "no token": (call("/api/v1/counts"), 401),
    "page without session": (call("/request?id=done"), 303),
    "forged token": (call("/api/v1/counts", Authorization="Bearer x"), 401),
    "token of octets": (call("/api/v1/counts", Authorization=b"Bearer \xff\xfe"), 401),
    "token of another scheme": (call("/api/v1/counts", Authorization=f"Basic {TOKEN}"), 401),
    "forged cookie": (call("/api/v1/counts", Cookie="clipmill_session=9999999999.00"), 401),
    "cookie of octets": (call("/api/v1/counts", Cookie=b"clipmill_session=\xff.\xfe"), 401),
    "cookie without end": (call("/api/v1/counts", Cookie='clipmill_session="'), 401),
    "named user without proxy": (call("/api/v1/counts", X_User="ann"), 401),
    "static prefix before the API": (call("/static/../api/v1/counts"), (401, 404)),
    "encoded static prefix": (call("/static/%2e%2e/api/v1/counts"), (401, 404)),
    "log-in before the API": (call("/login/../api/v1/counts"), (303, 401)),
    "encoded log-in": (call("/%6cogin/%2e%2e/api/v1/counts"), (303, 401)),
    "wrong log-in of octets": (
        call("/login", "POST", b"token=%ff%fe", Content_Type=FORM, Sec_Fetch_Site=OWN),
        401,
    ),
    "large log-in": (
        call("/login", "POST", b"token=" + b"x" * 100_000, Content_Type=FORM, Sec_Fetch_Site=OWN),
        413,
    ),
    "change without session": (
        call("/cancel", "POST", b"id=done", Content_Type=FORM, Sec_Fetch_Site=OWN),
        303,
    ),
}
