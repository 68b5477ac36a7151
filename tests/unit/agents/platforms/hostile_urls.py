"""Links that must be rejected: name, submitted value, error code.

Texts that contain links are in `link_forms.py`. The pipeline tests submit them as well: each must
be rejected with its code, without a connection.
"""

from typing import NamedTuple

from schemas.errors import ErrorCode
from schemas.request import MAX_URL_CHARACTERS

INVALID = ErrorCode.REQUEST_INVALID
TOO_LARGE = ErrorCode.REQUEST_TOO_LARGE
UNSUPPORTED = ErrorCode.CONTENT_UNSUPPORTED

VIDEO = "/@name/video/7608826249200356630"
GOOD = f"https://www.tiktok.com{VIDEO}"


class Hostile(NamedTuple):
    """One rejected link."""

    name: str
    url: object
    code: ErrorCode


_NOT_TEXT = (
    Hostile("none", None, INVALID),
    Hostile("number", 7608826249200356630, INVALID),
    Hostile("boolean", True, INVALID),
    Hostile("list", [GOOD], INVALID),
    Hostile("object", {"url": GOOD}, INVALID),
    Hostile("fraction", 1.5, INVALID),
)

_EMPTY = (
    Hostile("empty", "", INVALID),
    Hostile("one space", " ", INVALID),
    Hostile("many spaces", " " * 2_000, INVALID),
    Hostile("word", "hello", INVALID),
    Hostile("words", "hello world", INVALID),
    Hostile("bare id", "7608826249200356630", INVALID),
    Hostile("bare user", "@name", INVALID),
    Hostile("path only", VIDEO, INVALID),
    Hostile("query only", "?url=https://www.tiktok.com", INVALID),
    Hostile("fragment only", "#https://www.tiktok.com", INVALID),
)

_SIZE = (
    Hostile(
        "one character too long", GOOD + "?" + "a" * (MAX_URL_CHARACTERS - len(GOOD)), TOO_LARGE
    ),
    Hostile("a megabyte", GOOD + "?" + "a" * 1_000_000, TOO_LARGE),
    Hostile("a megabyte of spaces", " " * 1_000_000, TOO_LARGE),
    Hostile("a megabyte of host", f"https://{'a' * 1_000_000}.com", TOO_LARGE),
    Hostile("nested parentheses", "(" * 3_000, TOO_LARGE),
    Hostile("host too long", f"https://{'a.' * 150}com/", INVALID),
    Hostile("label too long", f"https://{'a' * 64}.com/", INVALID),
)

_CHARACTERS = (
    Hostile("option", "--exec=id", INVALID),
    Hostile("option before a link", f"-o {GOOD}", INVALID),
    Hostile("config option", "--config-locations=/etc/passwd", INVALID),
    Hostile("dash", f"-{GOOD}", INVALID),
    Hostile("nul", f"{GOOD}\x00.jpg", INVALID),
    Hostile("nul in the host", f"https://www.tiktok.com\x00.evil.example{VIDEO}", INVALID),
    Hostile("escape", f"\x1b[31m{GOOD}", INVALID),
    Hostile("delete", f"{GOOD}\x7f", INVALID),
    Hostile("zero width space", f"https://www.tiktok\u200b.com{VIDEO}", INVALID),
    Hostile("zero width joiner", f"https://www.tik\u200dtok.com{VIDEO}", INVALID),
    Hostile("soft hyphen", f"https://www.tik\u00adtok.com{VIDEO}", INVALID),
    Hostile("right to left override", f"https://www.tiktok.com/\u202e{VIDEO}", INVALID),
    Hostile("isolate", f"https://\u2066www.tiktok.com\u2069{VIDEO}", INVALID),
    Hostile("lone surrogate", f"{GOOD}?\ud800", INVALID),
    Hostile("private use", f"{GOOD}?\ue000", INVALID),
    Hostile("shell", f"{GOOD};`id`", INVALID),
    Hostile("script in the query", f"{GOOD}?<script>alert(1)</script>", INVALID),
)

_SCHEMES = (
    Hostile("file", "file:///etc/passwd", INVALID),
    Hostile("file with host", f"file://www.tiktok.com{VIDEO}", INVALID),
    Hostile("ftp", f"ftp://www.tiktok.com{VIDEO}", INVALID),
    Hostile("gopher", "gopher://127.0.0.1:6379/_FLUSHALL", INVALID),
    Hostile("data", "data:text/html,hello", INVALID),
    Hostile("javascript", "javascript:alert(1)", INVALID),
    Hostile("javascript with host", "javascript://www.tiktok.com/%0aalert(1)//", INVALID),
    Hostile("websocket", f"wss://www.tiktok.com{VIDEO}", INVALID),
    Hostile("rtmp", f"rtmp://www.tiktok.com{VIDEO}", INVALID),
    Hostile("yt-dlp search", "ytsearch:cats", INVALID),
    Hostile("yt-dlp user", "tiktokuser:MS4wLjABAAAA", INVALID),
    Hostile("yt-dlp page list", ":ythistory", INVALID),
    Hostile("view source", f"view-source:{GOOD}", INVALID),
    Hostile("misspelt scheme", f"htps://www.tiktok.com{VIDEO}", INVALID),
    Hostile("doubled scheme", f"https://https://www.tiktok.com{VIDEO}", INVALID),
    Hostile("fullwidth scheme", f"\uff48ttps://www.tiktok.com{VIDEO}", INVALID),
    Hostile("no scheme", f"example.com{VIDEO}", INVALID),
    Hostile("no scheme, like a known host", f"www.tiktok.com.evil.example{VIDEO}", INVALID),
    Hostile("no scheme, with a port", f"www.tiktok.com:443{VIDEO}", INVALID),
    Hostile("no scheme, credentials", "www.tiktok.com@127.0.0.1/", INVALID),
    Hostile("relative to the scheme", f"//www.tiktok.com{VIDEO}", INVALID),
    Hostile("one slash", f"https:/www.tiktok.com{VIDEO}", INVALID),
    Hostile("no slashes", f"https:www.tiktok.com{VIDEO}", INVALID),
    Hostile("three slashes", f"https:///www.tiktok.com{VIDEO}", INVALID),
    Hostile("backslashes", r"https:\\www.tiktok.com\@name\video\1", INVALID),
    Hostile("backslash before a host", f"https://www.tiktok.com\\@127.0.0.1{VIDEO}", INVALID),
    Hostile("backslash in the query", f"{GOOD}?a=\\", INVALID),
)

_CREDENTIALS = (
    Hostile("user", f"https://name@www.tiktok.com{VIDEO}", INVALID),
    Hostile("password", f"https://name:secret@www.tiktok.com{VIDEO}", INVALID),
    Hostile("host as user", f"https://www.tiktok.com@127.0.0.1{VIDEO}", INVALID),
    Hostile("host as password", f"https://www.tiktok.com:443@127.0.0.1{VIDEO}", INVALID),
    Hostile("two at signs", f"https://a@b@www.tiktok.com{VIDEO}", INVALID),
    Hostile("empty user", f"https://@www.tiktok.com{VIDEO}", INVALID),
    Hostile("encoded at sign", f"https://www.tiktok.com%40127.0.0.1{VIDEO}", INVALID),
)

_PORTS = (
    Hostile("other port", f"https://www.tiktok.com:8443{VIDEO}", INVALID),
    Hostile("port of http", f"https://www.tiktok.com:80{VIDEO}", INVALID),
    Hostile("port of https", f"http://www.tiktok.com:443{VIDEO}", INVALID),
    Hostile("port of ssh", f"https://www.tiktok.com:22{VIDEO}", INVALID),
    Hostile("port zero", f"https://www.tiktok.com:0{VIDEO}", INVALID),
    Hostile("port too high", f"https://www.tiktok.com:65979{VIDEO}", INVALID),
    Hostile("port with leading zero", f"https://www.tiktok.com:0443{VIDEO}", INVALID),
    Hostile("negative port", f"https://www.tiktok.com:-443{VIDEO}", INVALID),
    Hostile("empty port", f"https://www.tiktok.com:{VIDEO}", INVALID),
    Hostile("word as port", f"https://www.tiktok.com:https{VIDEO}", INVALID),
    Hostile("two ports", f"https://www.tiktok.com:443:443{VIDEO}", INVALID),
    Hostile("arabic digits as port", f"https://www.tiktok.com:\u0664\u0664\u0663{VIDEO}", INVALID),
)

_ADDRESSES = (
    Hostile("loopback", f"https://127.0.0.1{VIDEO}", INVALID),
    Hostile("short loopback", f"https://127.1{VIDEO}", INVALID),
    Hostile("decimal loopback", f"https://2130706433{VIDEO}", INVALID),
    Hostile("hexadecimal loopback", f"https://0x7f000001{VIDEO}", INVALID),
    Hostile("octal loopback", f"https://0177.0.0.01{VIDEO}", INVALID),
    Hostile("mixed loopback", f"https://127.0.0.0x1{VIDEO}", INVALID),
    Hostile("any address", "http://0.0.0.0/", INVALID),
    Hostile("metadata service", "http://169.254.169.254/latest/meta-data/", INVALID),
    Hostile("private network", f"https://10.0.0.1{VIDEO}", INVALID),
    Hostile("public address", f"https://8.8.8.8{VIDEO}", INVALID),
    Hostile("address with a dot", f"https://127.0.0.1.{VIDEO}", INVALID),
    Hostile("IPv6 loopback", f"https://[::1]{VIDEO}", INVALID),
    Hostile("IPv6 mapped", f"https://[::ffff:127.0.0.1]{VIDEO}", INVALID),
    Hostile("IPv6 with zone", f"https://[fe80::1%25eth0]{VIDEO}", INVALID),
    Hostile("IPv6 broken", f"https://[::1{VIDEO}", INVALID),
    Hostile("IPvFuture", f"https://[v1.www.tiktok.com]{VIDEO}", INVALID),
    Hostile("localhost", f"https://localhost{VIDEO}", INVALID),
    Hostile("localhost in capitals", f"http://LOCALHOST{VIDEO}", INVALID),
    Hostile("under localhost", f"https://www.tiktok.com.localhost{VIDEO}", INVALID),
    Hostile("single name", "http://kafka/", INVALID),
    Hostile("circled digits", "http://\u2460\u2461\u2466.0.0.1/", INVALID),
)

_HOSTS = (
    Hostile("no host", f"https://{VIDEO}", INVALID),
    Hostile("no host but a query", "https://?www.tiktok.com", INVALID),
    Hostile("dot as host", f"https://.{VIDEO}", INVALID),
    Hostile("trailing dot", f"https://www.tiktok.com.{VIDEO}", INVALID),
    Hostile("leading dot", f"https://.tiktok.com{VIDEO}", INVALID),
    Hostile("two dots", f"https://www..tiktok.com{VIDEO}", INVALID),
    Hostile("underscore", f"https://www_.tiktok.com{VIDEO}", INVALID),
    Hostile("label starts with a dash", f"https://-www.tiktok.com{VIDEO}", INVALID),
    Hostile("percent-encoded", f"https://www%2Etiktok%2Ecom{VIDEO}", INVALID),
    Hostile("percent-encoded slash", f"https://www.tiktok.com%2F.evil.example{VIDEO}", INVALID),
    Hostile("percent-encoded nul", f"https://www.tiktok.com%00.evil.example{VIDEO}", INVALID),
    Hostile("asterisk", f"https://*.tiktok.com{VIDEO}", INVALID),
    Hostile("ampersand", f"https://www.tiktok.com&evil.example{VIDEO}", INVALID),
    Hostile("cyrillic o", f"https://www.tikt\u043ek.com{VIDEO}", INVALID),
    Hostile("dotless i", f"https://www.t\u0131ktok.com{VIDEO}", INVALID),
    Hostile("capital dotted i", f"https://www.T\u0130KTOK.com{VIDEO}", INVALID),
    Hostile("kelvin sign", f"https://www.tikto\u212a.com{VIDEO}", INVALID),
    Hostile("fullwidth letters", f"https://\uff57\uff57\uff57.tiktok.com{VIDEO}", INVALID),
    Hostile("fullwidth dot", f"https://www\uff0etiktok.com{VIDEO}", INVALID),
    Hostile("ideographic dot", f"https://www\u3002tiktok\u3002com{VIDEO}", INVALID),
    Hostile("fullwidth slash", f"https://www.tiktok.com\uff0fevil.example{VIDEO}", INVALID),
    Hostile("fullwidth question mark", f"https://evil.example\uff1fwww.tiktok.com{VIDEO}", INVALID),
    Hostile("care of sign", "https://www.tiktok.\u2100om/", INVALID),
    Hostile("combining mark", f"https://www.tiktok\u0301.com{VIDEO}", INVALID),
    Hostile("mathematical letters", f"https://www.{chr(0x1D42D)}iktok.com{VIDEO}", INVALID),
    Hostile("punycode", f"https://www.xn--tiktk-5ve.com{VIDEO}", UNSUPPORTED),
)

_OTHER_SITES = (
    Hostile("other site", f"https://example.com{VIDEO}", UNSUPPORTED),
    Hostile("other platform", "https://www.dailymotion.com/video/x7tgad0", UNSUPPORTED),
    Hostile("longer host", f"https://www.tiktok.com.evil.example{VIDEO}", UNSUPPORTED),
    Hostile("longer name", f"https://eviltiktok.com{VIDEO}", UNSUPPORTED),
    Hostile("dash instead of dot", f"https://www-tiktok.com{VIDEO}", UNSUPPORTED),
    Hostile("other top level", f"https://www.tiktok.co{VIDEO}", UNSUPPORTED),
    Hostile("unknown subdomain", f"https://evil.tiktok.com{VIDEO}", UNSUPPORTED),
    Hostile("deep subdomain", f"https://www.tiktok.com.www.tiktok.com{VIDEO}", UNSUPPORTED),
    Hostile("media host", "https://v16-webapp-prime.tiktok.com/video/tos/1/", UNSUPPORTED),
    Hostile("archive of a link", f"https://web.archive.org/web/2020/{GOOD}", INVALID),
    Hostile("link in the path", f"https://example.com/{GOOD}", INVALID),
    Hostile("link in the query", f"https://example.com/?url={GOOD}", UNSUPPORTED),
    Hostile("link in the fragment", f"https://example.com/#{GOOD}", UNSUPPORTED),
    Hostile("metadata by name", "http://metadata.google.internal/computeMetadata/v1/", UNSUPPORTED),
    Hostile("host that resolves inward", f"https://127.0.0.1.nip.io{VIDEO}", UNSUPPORTED),
)

_IDS = (
    Hostile("id zero", "https://www.tiktok.com/@name/video/0", INVALID),
    Hostile(
        "id with leading zero", "https://www.tiktok.com/@name/video/07608826249200356630", INVALID
    ),
    Hostile("id of 21 digits", "https://www.tiktok.com/@name/video/760882624920035663000", INVALID),
    Hostile("id over 64 bits", "https://www.tiktok.com/@name/video/18446744073709551616", INVALID),
    Hostile(
        "id of a thousand digits", f"https://www.tiktok.com/@name/video/{'7' * 1_000}", INVALID
    ),
    Hostile("negative id", "https://www.tiktok.com/@name/video/-7608826249200356630", UNSUPPORTED),
    Hostile("hexadecimal id", "https://www.tiktok.com/@name/video/0x7608826249", UNSUPPORTED),
    Hostile("exponent as id", "https://www.tiktok.com/@name/video/7e18", UNSUPPORTED),
    Hostile("arabic digits", "https://www.tiktok.com/@name/video/\u0667\u0666\u0660", UNSUPPORTED),
    Hostile("fullwidth digits", "https://www.tiktok.com/@name/video/\uff17\uff16", UNSUPPORTED),
    Hostile("superscript digits", "https://www.tiktok.com/@name/video/7\u00b2", UNSUPPORTED),
    Hostile("digits and letters", "https://www.tiktok.com/@name/video/7608abc", UNSUPPORTED),
    Hostile(
        "encoded newline", "https://www.tiktok.com/@name/video/7608826249200356630%0a", UNSUPPORTED
    ),
    Hostile("no id", "https://www.tiktok.com/@name/video/", UNSUPPORTED),
)

_PATHS = (
    Hostile("two links in one", f"{GOOD}{GOOD}", INVALID),
    Hostile("link after the host", "https://www.tiktok.com/https://127.0.0.1/", INVALID),
    Hostile("double slash", "https://www.tiktok.com//@name/video/7608826249200356630", UNSUPPORTED),
    Hostile(
        "double slash before a host", f"https://www.tiktok.com//evil.example{VIDEO}", UNSUPPORTED
    ),
    Hostile("parent folder", f"https://www.tiktok.com/..{VIDEO}", UNSUPPORTED),
    Hostile("parent folder inside", "https://www.tiktok.com/@name/../video/1", UNSUPPORTED),
    Hostile("encoded parent folder", f"https://www.tiktok.com/%2e%2e{VIDEO}", UNSUPPORTED),
    Hostile("passwd", "https://www.tiktok.com/../../../../etc/passwd", UNSUPPORTED),
    Hostile("encoded slash", "https://www.tiktok.com/@name%2Fvideo%2F7608826249200356630", INVALID),
    Hostile("something after the id", f"{GOOD}/../../x", UNSUPPORTED),
    Hostile("one more folder", f"{GOOD}/comments", UNSUPPORTED),
    Hostile(
        "capital letters", "https://www.tiktok.com/@name/VIDEO/7608826249200356630", UNSUPPORTED
    ),
    Hostile("parameters in the path", f"{GOOD};jsessionid=1", UNSUPPORTED),
    Hostile("code with an escape", "https://vm.tiktok.com/%2e%2e/", UNSUPPORTED),
    Hostile("code too long", f"https://vm.tiktok.com/{'Z' * 65}/", UNSUPPORTED),
    Hostile("two codes", "https://vm.tiktok.com/ZMabc/ZMdef", UNSUPPORTED),
    Hostile("no code", "https://vm.tiktok.com/", UNSUPPORTED),
    Hostile("template", "https://vm.tiktok.com/%(id)s", UNSUPPORTED),
    Hostile("format template", "https://vm.tiktok.com/{0.__class__}x", UNSUPPORTED),
    Hostile(
        "dynamic redirect", "https://www.tiktok.com/link/v2?target=http://127.0.0.1", UNSUPPORTED
    ),
    Hostile("login with a target", "https://www.tiktok.com/login?redirect_url=//evil", UNSUPPORTED),
)

HOSTILE_URLS: tuple[Hostile, ...] = (
    *_NOT_TEXT,
    *_EMPTY,
    *_SIZE,
    *_CHARACTERS,
    *_SCHEMES,
    *_CREDENTIALS,
    *_PORTS,
    *_ADDRESSES,
    *_HOSTS,
    *_OTHER_SITES,
    *_IDS,
    *_PATHS,
)
