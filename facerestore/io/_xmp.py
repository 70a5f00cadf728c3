"""XMP packets: their properties, changed where they stand, and the extension of a packet too long for a JPEG segment.

A packet is never written anew: what is changed or taken out is cut from its bytes, and all else stays as it was.
Source: XMP part 1 section 7 and part 3 section 1.1.3.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import md5
from typing import NamedTuple
from xml.parsers import expat

PREFIX = b"http://ns.adobe.com/xap/1.0/\x00"
"""Stands before a packet in a JPEG segment."""

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
NOTE = "http://ns.adobe.com/xmp/note/"
EXTENDED = (NOTE, "HasExtendedXMP")
# What prefixes mean where a fragment leaves out to declare them.
_USUAL = {"rdf": RDF, "tiff": TIFF, "exif": EXIF, "xmpNote": NOTE}
# A packet of a photo has hundreds, one with brush strokes tens of thousands; this stops one that is made to be slow.
_MAX_ELEMENTS = 2**18
_MAX_PROPERTIES = 2**14
# The packet's root, RDF, a description, a property: what lies deeper is its value.
_DEPTH_OF_PROPERTIES = 4
_MAX_PREFIXES = 2**9
_ATTRIBUTE = re.compile(rb"\s+([^\s=>/]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")

Name = tuple[str, str]
"""Namespace and local name of a property."""

Edit = tuple[int, int, bytes]
"""A span of a packet, and what is put in its place."""

Change = Callable[[Name, bytes], bytes | None]
"""From a property's name and value to its new value: empty to take it out, None to leave it."""


class _Attribute(NamedTuple):
    """One attribute: its name, the span with the white space before it, and the span of its value."""

    name: Name
    span: tuple[int, int]
    value: tuple[int, int]


@dataclass(slots=True)
class _Element:
    """One element: its name, what it declares, and the spans of its start tag, its content and the whole."""

    name: Name
    scope: dict[str, str]
    attributes: list[_Attribute]
    tag: tuple[int, int]
    parent: _Element | None = None
    children: list[_Element] = field(default_factory=list)
    content_end: int = 0
    end: int = 0


class _Reader:
    """Reads the elements of a packet, with the places where they stand."""

    def __init__(self, packet: bytes) -> None:
        self._packet, self._count, self._kept, self._depth = packet, 0, 0, 0
        self.root = _Element(("", ""), {}, [], (0, 0))
        self._open = self.root
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.Parse(packet, True)

    def _refuse(self, *_: object) -> None:
        raise ValueError("a packet has no document type")

    def _start(self, name: str, _attributes: Mapping[str, str]) -> None:
        self._count += 1
        self._depth += 1
        if self._depth > _DEPTH_OF_PROPERTIES:
            if self._count > _MAX_ELEMENTS:
                raise ValueError(f"more than {_MAX_ELEMENTS} elements")
            return
        self._kept += 1
        if self._kept > _MAX_PROPERTIES:
            raise ValueError(f"more than {_MAX_PROPERTIES} properties")
        start = position = self._parser.CurrentByteIndex
        position += 1 + len(name.encode())
        scope, found = self._open.scope, []
        while match := _ATTRIBUTE.match(self._packet, position):
            key = match[1].decode()
            if key == "xmlns" or key.startswith("xmlns:"):
                scope = scope | {key[6:]: (match[2] or match[3] or b"").decode()}
                if len(scope) > _MAX_PREFIXES:
                    raise ValueError(f"more than {_MAX_PREFIXES} prefixes")
            found.append((key, match.span(), match.span(2 if match[2] is not None else 3)))
            position = match.end()
        end = self._packet.index(b">", position) + 1
        attributes = [_Attribute(_full_name(key, scope), span, value) for key, span, value in found]
        element = _Element(_full_name(name, scope), scope, attributes, (start, end), self._open)
        self._open.children.append(element)
        self._open = element

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if self._depth >= _DEPTH_OF_PROPERTIES:
            return
        element, position = self._open, self._parser.CurrentByteIndex
        empty = self._packet[element.tag[1] - 2 : element.tag[1]] == b"/>"
        element.content_end = element.tag[1] if empty else position
        element.end = element.tag[1] if empty else self._packet.index(b">", position) + 1
        self._open = element.parent or self.root


def _full_name(name: str, scope: Mapping[str, str]) -> Name:
    """Return a prefixed name with its namespace; one of no known prefix keeps the prefix for it."""
    prefix, _, local = name.rpartition(":")
    return scope.get(prefix, _USUAL.get(prefix, prefix)), local


def _read_elements(packet: bytes) -> _Element:
    """Return the root of a packet's elements.

    Raises:
        ValueError: not well-formed, with a document type, or of too many elements.
    """
    try:
        return _Reader(packet).root
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise ValueError(f"no well-formed XMP: {error}") from error


def _rdf_elements(root: _Element) -> Iterator[_Element]:
    """Yield the RDF elements of a packet."""
    waiting = list(root.children)
    while waiting:
        element = waiting.pop()
        if element.name == (RDF, "RDF"):
            yield element
        else:
            waiting += element.children


def _descriptions(root: _Element) -> Iterator[_Element]:
    """Yield the elements whose attributes and children are properties of the picture; of a fragment, its root."""
    found = list(_rdf_elements(root))
    for element in found:
        yield from (child for child in element.children if child.name == (RDF, "Description"))
    if not found:
        yield root
        yield from root.children


def as_utf8(packet: bytes) -> bytes:
    """Return a packet in UTF-8, without the zeros that may stand behind it; one in UTF-16 is converted.

    Raises:
        ValueError: it is in no encoding that XMP knows.
    """
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if packet.startswith(mark):
            return packet[2:].decode(encoding).encode()
    for start, encoding in ((b"<\x00", "utf-16-le"), (b"\x00<", "utf-16-be")):
        if packet.startswith(start):
            return packet.decode(encoding).encode()
    return packet.removeprefix(b"\xef\xbb\xbf").rstrip(b"\x00")


def properties(packet: bytes) -> dict[Name, bytes]:
    """Return the properties of the picture with their values, those that are no plain text as XML.

    Raises:
        ValueError: the packet cannot be read.
    """
    found: dict[Name, bytes] = {}
    for description in _descriptions(_read_elements(packet)):
        for attribute in description.attributes:
            found.setdefault(attribute.name, packet[slice(*attribute.value)])
        for child in description.children:
            found.setdefault(child.name, packet[child.tag[1] : child.content_end].strip())
    return found


def edited(packet: bytes, change: Change) -> bytes:
    """Return a packet with properties of the picture changed or taken out.

    Args:
        packet: UTF-8.
        change: asked for each property.

    Raises:
        ValueError: the packet cannot be read.
    """
    edits: list[Edit] = []
    removed: set[str] = set()
    for description in _descriptions(_read_elements(packet)):
        for attribute in description.attributes:
            if (value := change(attribute.name, packet[slice(*attribute.value)])) is not None:
                edits.append((*(attribute.value if value else attribute.span), value))
                removed |= set() if value else {attribute.name[0]}
        for child in description.children:
            if (value := change(child.name, packet[child.tag[1] : child.content_end])) is not None:
                edits += _element_edits(packet, child, value)
                removed |= set() if value else {child.name[0]}
    return _without_unused(applied(packet, edits), removed) if edits else packet


def _element_edits(packet: bytes, element: _Element, value: bytes) -> list[Edit]:
    """Return what gives an element another content, or takes it out with the white space before it."""
    if value:
        is_empty = element.content_end == element.end
        return [] if is_empty else [(element.tag[1], element.content_end, value)]
    start = element.tag[0]
    while packet[start - 1 : start].isspace():
        start -= 1
    return [(start, element.end, b"")]


def applied(packet: bytes, edits: list[Edit]) -> bytes:
    """Return a packet, or a piece of one, with spans replaced."""
    parts, position = [], 0
    for start, end, value in sorted(edits):
        parts += [packet[position:start], value]
        position = end
    return b"".join((*parts, packet[position:]))


def _without_unused(packet: bytes, namespaces: set[str]) -> bytes:
    """Return a packet without the declarations of namespaces of which no name is left."""
    for namespace in namespaces:
        declaration = re.compile(
            rb"\s+xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(namespace.encode()) + rb"[\"']"
        )
        for prefix in {match[1] for match in declaration.finditer(packet)}:
            if not re.search(rb"[\s</]" + re.escape(prefix) + rb":", packet):
                packet = declaration.sub(lambda m, p=prefix: b"" if m[1] == p else m[0], packet)  # type: ignore[misc]
    return packet


def joined(packet: bytes, extension: bytes) -> bytes:
    """Return a packet with the properties of its extension in it.

    Raises:
        ValueError: one of them cannot be read, or is no RDF.
    """
    target, parts = _rdf_element(packet), []
    for child in _rdf_element(extension).children:
        missing = {p: uri for p, uri in child.scope.items() if target.scope.get(p) != uri}
        own = {extension[slice(*a.span)].split(b"=")[0].strip() for a in child.attributes}
        declared = b"".join(
            f' xmlns:{prefix}="{uri}"'.encode()
            for prefix, uri in missing.items()
            if f"xmlns:{prefix}".encode() not in own
        )
        name_end = child.tag[0] + len(
            re.split(rb"[\s/>]", extension[child.tag[0] : child.tag[1]], maxsplit=1)[0]
        )
        parts += [extension[child.tag[0] : name_end], declared, extension[name_end : child.end], b"\n"]
    return b"".join((packet[: target.content_end], *parts, packet[target.content_end :]))


def _rdf_element(packet: bytes) -> _Element:
    """Return the RDF element of a packet; raises ValueError where it has none, or cannot be read."""
    if (found := next(_rdf_elements(_read_elements(packet)), None)) is None:
        raise ValueError("no RDF in the packet")
    return found


def divided(packet: bytes, limit: int) -> tuple[bytes, bytes]:
    """Return a packet that fits into ``limit`` bytes, and the extension that holds the rest of it, mostly empty."""
    body = re.sub(rb"<\?xpacket.*?\?>", b"", packet, flags=re.DOTALL).strip()
    for shorter in (packet, body):
        if len(shorter) <= limit:
            return shorter, b""
    main = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
        f'xmlns:xmpNote="{NOTE}" xmpNote:HasExtendedXMP="{digest(body)}"/></rdf:RDF></x:xmpmeta>'
    )
    return main.encode(), body


def digest(extension: bytes) -> str:
    """Return the name of an extension, which is the MD5 of it."""
    return md5(extension, usedforsecurity=False).hexdigest().upper()
