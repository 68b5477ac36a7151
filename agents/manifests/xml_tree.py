"""Parses untrusted XML within bounds: no document type, no entities, no deep nesting.

``xml.etree`` accepts both: entities that expand to gigabytes, and any depth.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from agents.manifests.segments import unreadable

ELEMENTS_MAX = 100_000
"""Segment timelines of a film in twenty formats have some 50,000 elements."""

DEPTH_MAX = 32
TEXT_CHARACTERS_MAX = 8_192
"""Of one element: the longest texts are base URLs."""


@dataclass(slots=True)
class Element:
    """An element; names are without their namespace.

    Attributes:
        text: before its first child.
        tail: text after its end, within its parent.
    """

    name: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)
    tail: str = ""

    def all(self, name: str) -> Iterator["Element"]:
        return (each for each in self.children if each.name == name)

    def first(self, name: str) -> "Element | None":
        return next(self.all(name), None)


class _Builder:
    """Handlers of expat."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS_MAX or len(self._open) == DEPTH_MAX:
            raise unreadable("its XML has too many elements, or nests them too deeply")
        local = {key.rpartition(":")[2]: value for key, value in attributes.items()}
        element = Element(name.rpartition(":")[2], local)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        element = self._open[-1]
        before = element.children[-1].tail if element.children else element.text
        if len(before) + len(data) > TEXT_CHARACTERS_MAX:
            raise unreadable("its XML has a text that is too long")
        if element.children:
            element.children[-1].tail += data
        else:
            element.text += data

    def refuse(self, *_: object) -> None:
        raise unreadable("its XML declares a document type")


def parse_xml(document: bytes) -> Element:
    """Return the root element.

    Raises:
        ClipmillError: ``platform.changed``, it is no XML, or beyond the bounds.
    """
    builder, parser = _Builder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise unreadable("it is no XML") from None
    if builder.root is None:
        raise unreadable("it is no XML")
    return builder.root
