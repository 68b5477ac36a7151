"""The link parser of all platforms. All input is hostile.

It is stricter than browsers on purpose: a link that two parsers could read differently is rejected,
so that the host validated here is the host that is connected to later (SSRF).
"""

import re
from collections.abc import Callable, Collection

import msgspec

from schemas.errors import ClipmillError, ErrorCode
from schemas.request import MAX_URL_CHARACTERS, strip_invisible

MAX_ECHO_CHARACTERS = 200
"""Characters of a rejected link that an error message repeats."""

EXAMPLE_URL = "https://www.tiktok.com/@name/video/7608826249200356630"

_PARTS = re.compile(  # RFC 3986, appendix B
    r"(?:(?P<scheme>[^:/?#]+):)?(?://(?P<authority>[^/?#]*))?"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)  # RFC 1123, lower case

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)  # "ends in a number", WHATWG URL 3.5

_MAX_HOST_CHARACTERS = 253  # RFC 1035

_DEFAULT_PORTS = {"https": "443", "http": "80"}

_CREDENTIALS = re.compile(r".*[^/]@", re.DOTALL)


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A link with validated parts.

    Attributes:
        scheme: ``https`` or ``http``.
        host: registered name, ASCII, lower case; never an IP address, never with a port.
        path: unchanged, starts with a slash unless empty; may hold printable non-ASCII.
        query: unchanged, without the question mark.
    """

    scheme: str
    host: str
    path: str = ""
    query: str = ""

    @property
    def url(self) -> str:
        """The whole link, without its fragment."""
        return f"{self.scheme}://{self.host}{self.path}{'?' if self.query else ''}{self.query}"


class SiteLinks(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of a site, and the texts of the errors about its links.

    Attributes:
        site: display name.
        hosts: page hosts, lower case.
        supported: which links the platform accepts, for the error texts.
    """

    site: str
    hosts: tuple[str, ...]
    supported: str

    def read(self, url: object) -> Link:
        """Return the parsed link.

        Raises:
            ClipmillError: ``request.invalid`` or ``request.too_large`` from `parse_link`, and
                ``content.unsupported`` for another host.
        """
        link = parse_link(url, known_hosts=self.hosts)
        if link.host not in self.hosts:
            raise self.unsupported(link, f"{link.host} is not a host of {self.site}")
        return link

    def unsupported(self, link: Link, reason: str) -> ClipmillError:
        """Return the ``content.unsupported`` error of a link."""
        message = f"{shorten(link.url)} is not supported: {reason}; {self.supported}."
        return ClipmillError(
            ErrorCode.CONTENT_UNSUPPORTED,
            message,
            field="url",
            reason=reason,
            supported=self.supported,
        )


def parse_link(text: object, *, known_hosts: Collection[str] = ()) -> Link:
    """Return the parts of a link.

    White space and invisible characters around it are ignored. A link without a scheme, such as
    ``www.tiktok.com/@name/video/1`` copied from an address bar, is read as https when its host is
    one of `known_hosts`, and rejected otherwise: a bare word is more often a mistake than a link.

    Raises:
        ClipmillError: ``request.invalid``, or ``request.too_large`` for more than
            `MAX_URL_CHARACTERS`; ``details["reason"]`` explains it.
    """
    if not isinstance(text, str):
        raise invalid_link(f"it is not a text but {type(text).__name__}")
    if len(text) > MAX_URL_CHARACTERS:
        raise _too_long_error(text)
    link = strip_invisible(text)
    _check(link, _TEXT_RULES, link)
    bare_host = re.split(r"[/?#]", link, maxsplit=1)[0]
    is_known = bare_host.isascii() and bare_host.lower() in known_hosts
    parts = _PARTS.fullmatch(f"https://{link}" if is_known else link)
    assert parts is not None, "every line of text has these parts"
    scheme = parts["scheme"] and parts["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        reason = "its scheme is neither https nor http" if scheme else "its scheme is missing"
        raise invalid_link(reason, link)
    host = _parse_host(parts["authority"] or "", _DEFAULT_PORTS[scheme], link)
    if "://" in parts["path"]:
        raise invalid_link("it holds a second link", link)
    return Link(scheme=scheme, host=host, path=parts["path"], query=parts["query"] or "")


def shorten(text: str) -> str:
    """Return a link that is safe in messages: printable ASCII, bounded, no query or credentials."""
    page = re.split(r"[?#]", text, maxsplit=1)[0]
    redacted = _CREDENTIALS.sub("...@", page[:MAX_URL_CHARACTERS])
    shown = redacted[:MAX_ECHO_CHARACTERS].encode("unicode_escape").decode("ascii")
    if len(page) <= MAX_ECHO_CHARACTERS >= len(shown):
        return shown
    return f"{shown[: MAX_ECHO_CHARACTERS - 3]}..."


def invalid_link(reason: str, text: str = "") -> ClipmillError:
    """Return the ``request.invalid`` error of a link."""
    shown = f" ({shorten(text)})" if text else ""
    message = f"This link is invalid: {reason}{shown}. A valid one: {EXAMPLE_URL}."
    return ClipmillError(ErrorCode.REQUEST_INVALID, message, field="url", reason=reason)


Rule = tuple[Callable[[str], bool], str]
"""A predicate that is true of an invalid text, and the reason that the error reports."""

_TEXT_RULES: tuple[Rule, ...] = (
    (lambda text: not text, "it is empty"),
    (lambda text: not text.isprintable(), "it holds an invisible or control character"),
    (lambda text: " " in text, "there is a space inside it"),
    (lambda text: "\\" in text, "it holds a backslash"),
    (lambda text: not set('<>"`').isdisjoint(text), "it holds a quotation mark or angle bracket"),
    (lambda text: text.startswith("-"), "it starts with a dash"),
    (lambda text: text.startswith("//"), "its scheme is missing"),
    (lambda text: not re.match(r"[A-Za-z0-9]", text), "it does not start with https://"),
    (lambda text: text[-1] in ",;:!'()[]{}|^", "it ends with a character that is no part of it"),
)

_AUTHORITY_RULES: tuple[Rule, ...] = (
    (lambda text: not text, "it names no host"),
    (lambda text: "@" in text, "it holds a user name or password"),
    (lambda text: not text.isascii(), "its host holds characters beyond ASCII"),
    (lambda text: "%" in text, "its host is percent-encoded"),
    (lambda text: "[" in text, "its host is an IP address"),
)

_HOST_RULES: tuple[Rule, ...] = (
    (lambda text: not text, "it names no host"),
    (lambda text: text.endswith("."), "its host ends with a dot"),
    (
        lambda text: _NUMBER.fullmatch(text.rpartition(".")[2]) is not None,
        "its host is an IP address",
    ),
    (lambda text: "." not in text, "its host is not a public name"),
    (lambda text: text.endswith(".localhost"), "its host is not a public name"),
    (lambda text: len(text) > _MAX_HOST_CHARACTERS, "its host is too long"),
    (lambda text: not all(map(_LABEL.fullmatch, text.split("."))), "its host is misspelt"),
)


def _parse_host(authority: str, default_port: str, text: str) -> str:
    _check(authority, _AUTHORITY_RULES, text)
    name, colon, port = authority.lower().partition(":")
    if colon and port != default_port:
        raise invalid_link("it names a port", text)
    _check(name, _HOST_RULES, text)
    return name


def _check(part: str, rules: tuple[Rule, ...], text: str) -> None:
    for is_violated, reason in rules:
        if is_violated(part):
            raise invalid_link(reason, text)


def _too_long_error(text: str) -> ClipmillError:
    reason = f"it has {len(text)} characters; the maximum is {MAX_URL_CHARACTERS}"
    message = f"This link is too long: {reason}. A valid one: {EXAMPLE_URL}."
    return ClipmillError(ErrorCode.REQUEST_TOO_LARGE, message, field="url", reason=reason)
