"""Content credentials: a C2PA manifest, signed with a key of the user's, through c2pa-python (extra ``provenance``).

Source: C2PA 2.1; which keys sign, section 13.2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from facerestore.errors import ConfigError, ImageError, required_package
from facerestore.io._marks import COMPOSITE, Mark

_INSTALL = 'pip install "facerestore[provenance]"'
_MEDIA_TYPES = MappingProxyType(
    {
        "JPEG": "image/jpeg",
        "PNG": "image/png",
        "WEBP": "image/webp",
        "TIFF": "image/tiff",
        "AVIF": "image/avif",
        "HEIF": "image/heic",
        "RAW": "image/dng",
    }
)
# Curves of ECDSA by their bits, and how long a key of RSA is at least.
_CURVES, _LEAST_RSA_BITS = MappingProxyType({256: b"es256", 384: b"es384", 521: b"es512"}), 2048
_PHOTO = "photo"
# Thumbnails would show the photo as it was; and nothing is fetched that a photo names.
_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"remote_manifest_fetch": False}}


@dataclass(frozen=True)
class Credentials:
    """A key and its certificates, with which results are signed.

    Attributes:
        key: a file of a private key, PEM without a password: ECDSA (P-256, P-384, P-521), RSA of 2,048 bits or more,
            or Ed25519.
        certificates: a file of the key's certificate and those that vouch for it, PEM, in this order.
    """

    key: Path
    certificates: Path

    def check(self) -> None:
        """Make sure that results can be signed.

        Raises:
            ConfigError: c2pa-python is not installed, or a file cannot be read, or holds no such key.
        """
        with self._signer():
            pass

    @cached_property
    def _library(self) -> ModuleType:
        return required_package("c2pa", what="signing with --c2pa-key", install=_INSTALL)

    @cached_property
    def _algorithm(self) -> bytes:
        """The name that C2PA has for the kind of key."""
        required_package("cryptography", what="signing with --c2pa-key", install=_INSTALL)
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(_bytes_of(self.key, "--c2pa-key"), password=None)
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"--c2pa-key '{self.key}' is no private key in PEM without a password ({error}); give one"
            ) from error
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size in _CURVES:
            return _CURVES[key.curve.key_size]
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
            return b"ps256"
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return b"ed25519"
        raise ConfigError(
            f"--c2pa-key '{self.key}' is of a kind that C2PA does not sign with; give ECDSA (P-256, P-384, P-521), RSA"
            f" of {_LEAST_RSA_BITS} bits or more, or Ed25519"
        )

    @contextmanager
    def _signer(self) -> Iterator[Any]:
        library = self._library
        certificates = _bytes_of(self.certificates, "--c2pa-cert")
        facts = (self._algorithm, certificates, _bytes_of(self.key, "--c2pa-key"), None)
        try:
            signer = library.Signer.from_info(library.C2paSignerInfo(*facts))
        except (library.C2paError, ValueError) as error:
            raise ConfigError(
                f"--c2pa-cert '{self.certificates}' cannot be used ({error}); give the certificate of the key in"
                f" '{self.key}', and behind it those that vouch for it"
            ) from error
        try:
            yield signer
        finally:
            signer.close()

    def signed(
        self, data: bytes, mark: Mark, *, format: str, photo: bytes, photo_format: str | None
    ) -> bytes:
        """Return a result with a manifest that says what was done to which photo.

        Args:
            data: the result.
            mark: what was done.
            format: upper-case Pillow name of the result's.
            photo: the file that the result was made of; its own credentials, if it has any, stay readable in it.
            photo_format: upper-case Pillow name of its format.

        Raises:
            ImageError: a format that holds no manifest, or the file cannot be signed.
            ConfigError: as for ``check``.
        """
        if format not in _MEDIA_TYPES:
            raise ImageError(f"{format} holds no content credentials; write {' or '.join(_MEDIA_TYPES)}")
        library, stream = self._library, BytesIO()
        with self._signer() as signer:
            try:
                context = library.Context(library.Settings.from_dict(_SETTINGS))
                with library.Builder(json.dumps(_manifest(mark)), context) as builder:
                    self._add_photo(builder, photo, photo_format)
                    builder.sign(signer, _MEDIA_TYPES[format], BytesIO(data), stream)
            except library.C2paError as error:
                raise ImageError(f"the result cannot be signed ({error}); leave out --c2pa-key") from error
        return stream.getvalue()

    def _add_photo(self, builder: Any, photo: bytes, photo_format: str | None) -> None:
        """Name the photo as what the result was made of."""
        told = json.dumps({"title": _PHOTO, "relationship": "parentOf", "label": _PHOTO})
        kind = _MEDIA_TYPES.get(photo_format or "")
        if kind is None:
            raise ImageError(
                f"content credentials cannot name a photo of the format {photo_format} as what a result was made of;"
                " convert the photo to PNG, or leave out --c2pa-key"
            )
        builder.add_ingredient(told, kind, BytesIO(photo))


def _manifest(mark: Mark) -> dict[str, Any]:
    """Return what is signed."""
    agent = {"name": "facerestore", "version": mark.version}
    faces = f"{len(mark.faces)} face{'' if len(mark.faces) == 1 else 's'}"
    what = faces if mark.faces or mark.background is None else "the photo"
    edited = {
        "action": "c2pa.edited",
        "digitalSourceType": COMPOSITE,
        "softwareAgent": agent,
        "description": f"{what} {mark.done[-1]} by a trained network",
    }
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PHOTO]}}
    return {
        "claim_generator_info": [agent],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [opened, edited]}}],
    }


def _bytes_of(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option} '{path}' cannot be read ({error.strerror}); check the path") from error
