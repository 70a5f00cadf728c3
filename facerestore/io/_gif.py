"""GIF: one of its frames as it is shown, read only; all of them are restored by ``facerestore.video``.

Source: GIF89a.
"""

from __future__ import annotations

import re
import struct
from io import BytesIO

from facerestore.io import _pillow
from facerestore.io._source import Source, finish
from facerestore.types import DecodedImage, Metadata

GIF_XMP = b"\x21\xff\x0bXMP DataXMP"
"""What stands before XMP in a GIF. Source: XMP part 3 (2020)."""


def decode(source: Source) -> DecodedImage:
    """Return the decoded frame, which may come back as any format but GIF.

    Raises:
        ImageError: damaged, of several frames and none chosen, or over the limit on pixels.
    """
    from PIL import GifImagePlugin

    source.check_size(*struct.unpack_from("<HH", source.data, 6))
    picture = GifImagePlugin.GifImageFile(BytesIO(source.data))
    frame = source.choose(picture.n_frames, "animation frame")
    palette = _pillow.storage_words(picture)
    picture.seek(frame)
    source.check_size(*picture.size)  # a frame may reach beyond what the file states
    decoded = _pillow.channels(picture, source.name)._replace(grey=False, stored_as=palette)
    metadata = Metadata(xmp=xmp_of_gif(source.data), icc=picture.info.get("icc_profile"))
    return finish(decoded, metadata, None, orientation=1)


def xmp_of_gif(data: bytes) -> bytes | None:
    """Return the XMP of a GIF; None where it has none."""
    found = re.search(re.escape(GIF_XMP) + rb"(.*?)\x01\xff\xfe\xfd", data, re.DOTALL)
    return None if found is None else found[1]
