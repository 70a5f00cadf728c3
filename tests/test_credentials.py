"""Content credentials with a key of the user's: signed, readable, of the photo they were made of; what is refused."""

import datetime
import io
import json
from pathlib import Path

import numpy as np
import pytest
from fakes import face_at, photo, pipeline
from picture_files import HERE, smooth

from facerestore.cli.app import main
from facerestore.errors import ConfigError, ImageError
from facerestore.io import FORMATS, Credentials, Mark, decode_image, encode_image, joined, write_image
from facerestore.io._credentials import _MEDIA_TYPES
from facerestore.types import DecodedImage, Metadata, Part

c2pa = pytest.importorskip("c2pa")

from cryptography import x509  # noqa: E402  # it comes with c2pa
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: E402

FACE = face_at(40, 30)
MARK = Mark(done=("restored",), version="1.2", faces=[{}, {}])
SIGNED = [name for name in HERE if name in _MEDIA_TYPES]


def certificate(name, key, issuer, issuer_key):
    """Return a certificate as C2PA asks for one; one that vouches for itself where ``name`` is the issuer."""

    def called(text):
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, text),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ours"),
            ]
        )

    now, root = datetime.datetime.now(datetime.UTC), name == issuer
    uses = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not root, key_cert_sign=root, crl_sign=root, **uses),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if not root:
        made = made.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
    return made.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def key_files(folder, key):
    root = ec.generate_private_key(ec.SECP256R1())
    chain = certificate("Signer", key, "Root", root) + certificate("Root", root, "Root", root)
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(plain)
    (folder / "cert.pem").write_bytes(chain)
    return Credentials(folder / "key.pem", folder / "cert.pem")


@pytest.fixture
def credentials(tmp_path):
    return key_files(tmp_path, ec.generate_private_key(ec.SECP256R1()))


def manifest_of(data, format):
    with c2pa.Reader(_MEDIA_TYPES[format], io.BytesIO(data)) as reader:
        told = json.loads(reader.json())
        return reader.get_validation_state(), told["manifests"][told["active_manifest"]], told


@pytest.mark.parametrize("format", SIGNED)
def test_what_is_signed_is_valid_and_has_the_same_pixels(format, credentials):
    data = encode_image(DecodedImage(smooth(64, 96)), format=format)
    before = encode_image(DecodedImage(smooth(64, 96, seed=5)), format=format)
    signed = credentials.signed(data, MARK, format=format, photo=before, photo_format=format)
    state, manifest, told = manifest_of(signed, format)
    assert state == "Valid"
    assert {each["code"] for each in told.get("validation_status", [])} <= {"signingCredential.untrusted"}
    (actions,) = [
        each["data"]["actions"] for each in manifest["assertions"] if each["label"].startswith("c2pa.actions")
    ]
    assert [action["action"] for action in actions] == ["c2pa.opened", "c2pa.edited"]
    assert actions[1]["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert actions[1]["description"] == "2 faces restored by a trained network"
    (ingredient,) = manifest["ingredients"]
    assert ingredient["relationship"] == "parentOf"
    assert "thumbnail" not in manifest
    decoded = decode_image(signed)
    np.testing.assert_array_equal(decoded.pixels, decode_image(data).pixels)
    if format != "TIFF":
        assert "content credentials, which sign the file as it was" in decoded.metadata.dropped


def test_a_signed_file_that_is_changed_is_no_longer_valid(credentials):
    data = encode_image(DecodedImage(smooth(64, 96)), format="JPEG")
    signed = bytearray(credentials.signed(data, MARK, format="JPEG", photo=data, photo_format="JPEG"))
    signed[-20] ^= 1
    assert manifest_of(bytes(signed), "JPEG")[0] == "Invalid"


def test_deep_avif_behind_credentials_is_read_at_8_bits_which_is_said(credentials):
    ten = DecodedImage(
        smooth(64, 96, dtype=np.uint16), metadata=Metadata(parts=(Part("HEIF", b"depth", b"\x0a"),))
    )
    data = encode_image(ten, format="AVIF")
    decoded = decode_image(credentials.signed(data, MARK, format="AVIF", photo=data, photo_format="AVIF"))
    assert decoded.pixels.dtype == np.uint8
    assert decoded.notes == ("10 bits of a sample were read as 8",)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-384", "RSA", "Ed25519"],
)
def test_kinds_of_keys(key, tmp_path):
    data = encode_image(DecodedImage(smooth(64, 96)), format="PNG")
    signed = key_files(tmp_path, key).signed(data, MARK, format="PNG", photo=data, photo_format="PNG")
    assert manifest_of(signed, "PNG")[0] == "Valid"


def test_what_cannot_be_signed_is_told(credentials, tmp_path):
    data = encode_image(DecodedImage(smooth()), format="PNG")
    with pytest.raises(ImageError, match="BMP holds no content credentials; write JPEG or PNG"):
        credentials.signed(data, MARK, format="BMP", photo=data, photo_format="PNG")
    with pytest.raises(
        ImageError, match=r"cannot name a photo of the format BMP .*; convert the photo to PNG, or"
    ):
        credentials.signed(data, MARK, format="PNG", photo=data, photo_format="BMP")
    with pytest.raises(
        ConfigError, match=r"--c2pa-key '.*none.pem' cannot be read \(No such file.*\); check the path"
    ):
        Credentials(tmp_path / "none.pem", credentials.certificates).check()
    with pytest.raises(
        ConfigError, match=r"--c2pa-key '.*cert.pem' is no private key in PEM without a password"
    ):
        Credentials(credentials.certificates, credentials.certificates).check()
    with pytest.raises(ConfigError, match="is of a kind that C2PA does not sign with; give ECDSA"):
        key_files(tmp_path, rsa.generate_private_key(65537, 1024)).check()


def test_enhance_signs_what_it_changed_and_names_the_photo(
    credentials, tmp_path, monkeypatch, use_pipeline, capsys
):
    use_pipeline(lambda config, **_: pipeline(FACE, config=config))
    monkeypatch.chdir(tmp_path)
    before = write_image("a.png", photo()).read_bytes()
    flags = ["--c2pa-key", "key.pem", "--c2pa-cert", "cert.pem"]
    assert main(["enhance", "a.png", "-o", "b.png", *flags, "--keep-originals"]) == 0
    data = (tmp_path / "b.png").read_bytes()
    assert manifest_of(data, "PNG")[0] == "Valid"
    assert main(["verify", "a.png", "b.png"]) == 0
    assert main(["undo", "b.png", "-o", "c.png"]) == 0
    assert (tmp_path / "c.png").read_bytes() == before
    (tmp_path / "book.tif").write_bytes(joined([write_image("p.tif", photo()).read_bytes()] * 2))
    assert main(["enhance", "book.tif", "-o", "out.tif", *flags]) == 0
    assert manifest_of((tmp_path / "out.tif").read_bytes(), "TIFF")[0] == "Valid"
    assert main(["verify", "book.tif", "out.tif"]) == 0
    capsys.readouterr()
    assert main(["enhance", "a.png", "-o", "d.png", *flags[:2]]) == 2
    assert "c2pa_key and c2pa_cert go together; give both of them" in capsys.readouterr().err
    assert main(["enhance", "a.png", "-o", "d.png", "--c2pa-key", "cert.pem", "--c2pa-cert", "cert.pem"]) == 2
    assert not Path("d.png").exists()
    use_pipeline(lambda config, **_: pipeline(config=config))
    assert main(["enhance", "a.png", "-o", "e.png", *flags]) == 0
    assert (tmp_path / "e.png").read_bytes() == before


def test_all_formats_but_one_can_be_signed():
    assert set(FORMATS) - set(_MEDIA_TYPES) == {"BMP"}
