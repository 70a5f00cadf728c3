"""Pictures that facerestore draws of photos, comparisons and maps for example, know themselves as such by a mark."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from facerestore.types import Metadata

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

_MARK = b"facerestore:drawn="


def drawn_xmp(kind: str) -> bytes:
    """Return an XMP packet with the mark."""
    return (
        b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        b' xmlns:facerestore="urn:facerestore" ' + _MARK + f'"{kind}"'.encode() + b"/></rdf:RDF></x:xmpmeta>"
        b'<?xpacket end="r"?>'
    )


def marked(metadata: Metadata, kind: str) -> Metadata:
    """Return what a drawn picture carries: the mark, in place of what a photo's XMP says of the photo.

    Args:
        metadata: what else it carries.
        kind: one word of small letters: ``comparison``, ``damage``, ``face``, ``found``, ``map``, ``parts``, ``sheet``,
            ``stage`` or ``thumbnail``.
    """
    return replace(metadata, xmp=drawn_xmp(kind))


def png_mark(kind: str) -> PngInfo:
    """Return the mark for a PNG that Pillow writes."""
    return png_xmp(drawn_xmp(kind))


def png_xmp(packet: bytes) -> PngInfo:
    """Return XMP for a PNG that Pillow writes."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode(errors="replace"))
    return info
