"""Templates of the paths of stored files: grammar and rules. Pure.

The fields that identify a file (`IDENTITY`) can be read back from every path: each is separated
from its neighbours by a character that it cannot contain, and none stands between two texts, which
may contain anything. Two files of one template therefore never share a path.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from string import Formatter

import msgspec

IDENTITY = {"platform": 32, "id": 64, "format": 83, "ext": 4}
"""Fields that identify a file, and the bytes of their longest value."""

TEXTS = {"author": 64, "author_id": 64, "title": 120}
"""Fields of the page, and the bytes of the longest text without a limit of its own."""

DATE_FORMAT = "%Y-%m-%d"
PART_BYTES_MAX = 255
"""Bytes of a file name on common file systems."""

SPARE_BYTES = 6
"""Of each part: for its extension, and for the prefix of a reserved name."""

PATH_BYTES_MAX = 900
"""Bytes of a path; object stores permit 1,024 together with the prefix."""

TEXT_BYTES_MIN = 16
"""Bytes that remain for each text of a part in any case."""

RESERVED = frozenset('\\:*?"<>|%#')
"""Reserved in file names of Windows, or delimiters of URLs."""

_IDENTITY_CHARACTER = re.compile(r"[A-Za-z0-9_~-]")
_LIMIT = re.compile(r"\.([1-9][0-9]{0,2})")
_DATE = re.compile(r"(?:%[YmdHMSyj]|[^%/])+")


class TemplateField(msgspec.Struct, frozen=True):
    """A field of a template.

    Attributes:
        name: of the field.
        bytes_max: the longest value.
        date_format: of a date, in directives of ``strftime``.
    """

    name: str
    bytes_max: int
    date_format: str = ""

    @property
    def is_identity(self) -> bool:
        return self.name in IDENTITY


Part = tuple[str | TemplateField, ...]
"""Literals and fields of one directory or file name."""


class PathTemplate(msgspec.Struct, frozen=True):
    """A valid template. Constructed by `parse_template`.

    Attributes:
        text: of the template.
        parts: directories, then the name of the file without ``.{ext}``.
    """

    text: str
    parts: tuple[Part, ...]


@lru_cache(maxsize=16)
def parse_template(text: str) -> PathTemplate:
    """Parse a template.

    Raises:
        ValueError: it breaks a rule, which the message names.
    """
    parts = [tuple(_merged(part)) for part in _split(text)]
    for part in parts:
        _check_part(part)
    names = [each.name for part in parts for each in part if isinstance(each, TemplateField)]
    missing = [f"{{{name}}}" for name in IDENTITY if name not in names]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be part of it, or two files share a path")
    *directories, (*name, dot, extension) = parts
    is_last = isinstance(extension, TemplateField) and extension.name == "ext"
    if not is_last or names.count("ext") > 1 or not isinstance(dot, str) or dot[-1:] != ".":
        raise ValueError("it must end with .{ext}, and contain {ext} only there")
    if sum(map(_bytes_max, parts)) + len(parts) > PATH_BYTES_MAX:
        raise ValueError(f"a path may be longer than {PATH_BYTES_MAX} bytes; use {{title:.80}}")
    stem = (*name, dot[:-1]) if dot[:-1] else tuple(name)
    return PathTemplate(text, (*directories, stem))


def _split(text: str) -> list[list[str | TemplateField]]:
    """Split a template into parts at the slashes of its literals."""
    parts: list[list[str | TemplateField]] = [[]]
    for literal, name, spec, conversion in Formatter().parse(text):
        first, *others = literal.split("/")
        parts[-1].append(first)
        parts.extend([each] for each in others)
        if conversion:
            raise ValueError(f"{{{name}}} has a conversion, !{conversion}; remove it")
        if name is not None:
            parts[-1].append(_field(name, spec or ""))
    return parts


def _field(name: str, spec: str) -> TemplateField:
    if name == "date":
        return _date_field(spec or DATE_FORMAT)
    if name in IDENTITY and not spec:
        return TemplateField(name, IDENTITY[name])
    if name in IDENTITY:
        raise ValueError(f"{{{name}:{spec}}} would shorten what identifies a file; use {{{name}}}")
    if name not in TEXTS:
        known = ", ".join([*IDENTITY, *TEXTS, "date"])
        raise ValueError(f"{{{name}}} is no field; the fields are {known}")
    limit = _LIMIT.fullmatch(spec or f".{TEXTS[name]}")
    if limit is None or int(limit[1]) > PART_BYTES_MAX:
        raise ValueError(f"{{{name}:{spec}}} must be a number of bytes, such as {{{name}:.80}}")
    return TemplateField(name, int(limit[1]))


def _date_field(spec: str) -> TemplateField:
    if not _DATE.fullmatch(spec) or _has_reserved(spec.replace("%", "")):
        raise ValueError(
            f"{{date:{spec}}} must consist of %Y %m %d %H %M %S %y %j and characters of file"
            " names, such as {date:%Y-%m-%d}"
        )
    size = len(f"{datetime(2000, 1, 1, tzinfo=UTC):{spec}}".encode())
    return TemplateField("date", max(size, TEXT_BYTES_MIN), spec)


def _merged(part: list[str | TemplateField]) -> Iterator[str | TemplateField]:
    """Merge neighbouring literals: an escaped brace is one of its own."""
    literal = ""
    for each in part:
        if isinstance(each, str):
            literal += each
            continue
        if literal:
            yield literal
        literal = ""
        yield each
    if literal:
        yield literal


def _check_part(part: Part) -> None:
    if not part:
        raise ValueError("a part between slashes is empty")
    for literal in (each for each in part if isinstance(each, str)):
        if _has_reserved(literal):
            raise ValueError(f"{literal!r} contains characters that file names cannot have")
    first, last = part[0], part[-1]
    if (isinstance(first, str) and first[0] in ". ") or (
        isinstance(last, str) and last[-1] in ". "
    ):
        raise ValueError("a part must not begin or end with a dot or a space")
    _check_identity(part)
    least = sum(_least_bytes(each) for each in part)
    if least + SPARE_BYTES > PART_BYTES_MAX:
        raise ValueError(f"a part may be longer than {PART_BYTES_MAX} bytes; split it by a slash")


def _check_identity(part: Part) -> None:
    texts = [i for i, each in enumerate(part) if _is_text(each)]
    for i, each in enumerate(part):
        if not isinstance(each, TemplateField) or not each.is_identity:
            continue
        if texts and texts[0] < i < texts[-1]:
            raise ValueError(f"{{{each.name}}} must not stand between two texts of one part")
        before, after = part[i - 1] if i else ".", part[i + 1] if i + 1 < len(part) else "."
        if not _separates(before, -1) or not _separates(after, 0):
            raise ValueError(
                f"{{{each.name}}} must be separated from its neighbours, by a dot or a space for"
                " example; letters, digits, _ ~ and - do not separate"
            )


def _separates(neighbour: str | TemplateField, position: int) -> bool:
    return isinstance(neighbour, str) and not _IDENTITY_CHARACTER.match(neighbour[position])


def _is_text(each: str | TemplateField) -> bool:
    return isinstance(each, TemplateField) and not each.is_identity


def _has_reserved(text: str) -> bool:
    return not text.isprintable() or bool(RESERVED.intersection(text))


def _least_bytes(each: str | TemplateField) -> int:
    """Return the bytes that an element may take in any case."""
    if isinstance(each, str):
        return len(each.encode())
    return each.bytes_max if each.is_identity else min(each.bytes_max, TEXT_BYTES_MIN)


def _bytes_max(part: Part) -> int:
    sizes = (len(it.encode()) if isinstance(it, str) else it.bytes_max for it in part)
    return min(sum(sizes), PART_BYTES_MAX)
