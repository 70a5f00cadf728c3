"""Files, streams and Python objects in and out, and real photos."""

import io
import os
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from picture_files import (
    ICC,
    LOSSLESS,
    XMP,
    exif_block,
    noisy,
    reread,
    saved,
    smooth,
)
from PIL import Image, TiffImagePlugin

from facerestore import files as temporary
from facerestore import io as fio
from facerestore.errors import ConfigError, ImageError
from facerestore.io import (
    _files,
    decode_image,
    encode_image,
    find_images,
    read_image,
    write_image,
)
from facerestore.types import DecodedImage, Metadata

# --- files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def picture():
    return DecodedImage(smooth())


def test_write_and_read_with_a_foreign_name(tmp_path, picture):
    path = tmp_path / "Ünï" / "фото 写真.PNG"
    assert write_image(path, picture) == path
    np.testing.assert_array_equal(read_image(str(path)).pixels, picture.pixels)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_existing_files_are_kept_unless_told(tmp_path, picture):
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(ImageError, match=r"already exists.*--overwrite"):
        write_image(path, picture)
    assert path.read_bytes() == b"precious"
    write_image(path, picture, overwrite=True)
    assert read_image(path).format == "PNG"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_in_place_of_the_folder_is_told(tmp_path, picture):
    (tmp_path / "notes").write_bytes(b"precious")
    for path in (tmp_path / "notes" / "a.png", tmp_path / "notes" / "deep" / "a.png"):
        with pytest.raises(ImageError, match="cannot be written"):
            write_image(path, picture)
    assert (tmp_path / "notes").read_bytes() == b"precious"


@pytest.mark.parametrize("links", [True, False])
def test_a_race_has_one_winner(tmp_path, monkeypatch, links):
    if not links:

        def no_links(*_args):
            raise OSError(22, "no hard links here")  # what Windows answers on exFAT

        monkeypatch.setattr(os, "link", no_links)
    # Both are past the first look at the name before either writes.
    monkeypatch.setattr(os.path, "lexists", lambda _path: False)
    path, outcomes, refusals, barrier = tmp_path / "a.bin", [], [], threading.Barrier(4)

    def write(number):
        barrier.wait()
        try:
            _files.write_parts(path, [bytes([number]) * 1000], overwrite=False)
            outcomes.append(number)
        except ImageError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    assert sum("already exists" in refusal for refusal in refusals) == 3
    assert path.read_bytes() == bytes(outcomes) * 1000
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_where_links_and_renames_fail(tmp_path, monkeypatch, picture):
    def fail(*_args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ImageError, match="Input/output error"):
        write_image(tmp_path / "a.png", picture)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_after_a_failure(tmp_path, monkeypatch, picture, overwrite, error):
    path = tmp_path / "a.png"
    if overwrite:
        path.write_bytes(b"precious")

    def fail(_descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    expected = ImageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_image(path, picture, overwrite=overwrite)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([b"precious"] if overwrite else [])


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.skipif(os.name != "posix", reason="no locks of files are taken elsewhere")
def test_a_file_that_another_process_takes_for_a_dead_ones_is_begun_anew(tmp_path, monkeypatch):
    import fcntl

    fdopen, sweepers = os.fdopen, []

    def seen_before_it_is_held(descriptor, *rest):
        if sweepers:
            return fdopen(descriptor, *rest)
        (path,) = tmp_path.glob(f".*{temporary.SUFFIX}")
        other = os.open(path, os.O_RDONLY)
        fcntl.flock(other, fcntl.LOCK_EX)

        def remove():
            path.unlink()
            os.close(other)

        sweepers.append(threading.Timer(0.2, remove))
        sweepers[0].start()
        return fdopen(descriptor, *rest)

    monkeypatch.setattr(temporary.os, "fdopen", seen_before_it_is_held)
    temporary.write_text_whole(tmp_path / "whole.txt", "whole")
    sweepers[0].join()
    assert [path.name for path in tmp_path.iterdir()] == ["whole.txt"]
    assert (tmp_path / "whole.txt").read_text() == "whole"


def test_permissions_follow_the_umask_or_the_file_replaced(tmp_path, picture):
    before = os.umask(0o027)
    try:
        path = write_image(tmp_path / "a.png", picture)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        write_image(path, picture, overwrite=True)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights on Windows")
def test_links_keep_pointing(tmp_path, picture):
    real, link = tmp_path / "real.png", tmp_path / "link.png"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with pytest.raises(ImageError, match="already exists"):
        write_image(link, picture)
    write_image(link, picture, overwrite=True)
    assert link.is_symlink()
    assert read_image(real).format == "PNG"
    dangling = tmp_path / "dangling.png"
    dangling.symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="already exists"):
        write_image(dangling, picture)


def test_bad_places_are_clear_errors(tmp_path, picture):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="is a directory"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path / "file" / "a.png")
    with pytest.raises(ImageError, match="file: not an image"):
        read_image(tmp_path / "file")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image("nul\0byte.png")
    with pytest.raises(ImageError, match=r"cannot be written|already exists"):
        write_image(tmp_path / "file" / "a.png", picture)
    with pytest.raises(ImageError, match="is a directory"):
        write_image(tmp_path, picture, format="PNG", overwrite=True)
    with pytest.raises(ImageError, match=r"suffix '.gif' names no format"):
        write_image(tmp_path / "a.gif", picture)


def test_format_given_wins_over_the_suffix(tmp_path, picture):
    assert read_image(write_image(tmp_path / "a.png", picture, format="tif")).format == "TIFF"


class Pipe:
    def __init__(self, data=b""):
        self.buffer = io.BytesIO(data)


def test_standard_streams(monkeypatch, picture):
    monkeypatch.setattr(sys, "stdin", Pipe(encode_image(picture, format="WEBP")))
    decoded = read_image("-")
    out = Pipe()
    monkeypatch.setattr(sys, "stdout", out)
    assert write_image("-", decoded) == Path("-")
    assert decode_image(out.buffer.getvalue()).format == "WEBP"
    with pytest.raises(ImageError, match="give a format"):
        write_image("-", picture)
    monkeypatch.setattr(sys, "stdin", Pipe(b""))
    with pytest.raises(ImageError, match="standard input: the file is empty"):
        read_image(Path("-"))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ImageError, match="standard input is closed; give a file"):
        read_image("-")


def test_find_images(tmp_path):
    for name in ("b.JPG", "a.png", "z.txt", ".hidden.png", "sub/c.TiFf", "sub/.git/d.png", "sub/deep/e.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / f".0123{temporary.SUFFIX}").write_bytes(b"")
    relative = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path, recursive=False)]
    assert relative == ["a.png", "b.JPG"]
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path, recursive=True)]
    assert found == ["a.png", "b.JPG", "sub/c.TiFf", "sub/deep/e.webp"]
    with pytest.raises(ImageError, match="no such folder"):
        find_images(tmp_path / "absent", recursive=True)
    with pytest.raises(ImageError, match="this is a file; give a folder"):
        find_images(tmp_path / "a.png", recursive=True)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights on Windows")
def test_find_images_follows_links_but_no_loops(tmp_path):
    root, album = tmp_path / "root", tmp_path / "album"
    (root / "sub").mkdir(parents=True)
    album.mkdir()
    (root / "sub" / "a.png").write_bytes(b"")
    (album / "b.png").write_bytes(b"")
    (root / "again").symlink_to(root)
    (root / "another").symlink_to(root / "sub")
    (root / "outside").symlink_to(album)
    (album / "back").symlink_to(root)
    found = [path.relative_to(root).as_posix() for path in find_images(root, recursive=True)]
    assert found == ["outside/b.png", "sub/a.png"]


# --- Python objects -----------------------------------------------------------------------------------------------


def test_as_decoded_takes_paths_and_bytes(tmp_path, picture):
    path = write_image(tmp_path / "a.png", picture)
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), picture):
        np.testing.assert_array_equal(fio.as_decoded(source).pixels, picture.pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_as_decoded_takes_arrays(dtype):
    rgba = noisy((5, 7, 4), dtype)
    decoded = fio.as_decoded(rgba)
    np.testing.assert_array_equal(decoded.pixels, rgba[..., :3])
    np.testing.assert_array_equal(decoded.alpha, rgba[..., 3])
    np.testing.assert_array_equal(fio.as_decoded(rgba[..., :3], channels="bgr").pixels, rgba[..., 2::-1])
    np.testing.assert_array_equal(fio.as_decoded(rgba, channels="bgr").alpha, rgba[..., 3])
    for grey in (rgba[..., 0], rgba[..., :1]):
        assert fio.as_decoded(grey).grey
        np.testing.assert_array_equal(fio.as_decoded(grey).pixels, np.repeat(rgba[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    "source",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8), 7, None],
)
def test_as_decoded_refuses_the_rest(source):
    with pytest.raises(ImageError, match="is no picture"):
        fio.as_decoded(source)


def test_as_decoded_refuses_unknown_channels(picture):
    with pytest.raises(ConfigError, match="'grb'"):
        fio.as_decoded(picture.pixels, channels="grb")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_as_decoded_takes_pillow_pictures_with_their_metadata(format):
    pixels = smooth()
    source = DecodedImage(pixels, metadata=Metadata(exif_block(), XMP, ICC, (300.0, 300.0)))
    opened = Image.open(io.BytesIO(encode_image(source, format=format)))
    decoded = fio.as_decoded(opened)
    np.testing.assert_array_equal(decoded.pixels, np.asarray(opened))
    assert (decoded.metadata.xmp, decoded.metadata.icc) == (XMP, ICC)
    assert reread(decoded.metadata.exif)[0x010F] == "Camera maker"
    assert reread(decoded.metadata.exif).get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


def test_as_decoded_turns_pillow_pictures():
    opened = Image.open(io.BytesIO(saved(Image.fromarray(smooth()), "PNG", exif=exif_block(8))))
    np.testing.assert_array_equal(fio.as_decoded(opened).pixels, np.rot90(smooth(), 1))
    turned = TiffImagePlugin.ImageFileDirectory_v2()
    turned[274] = 6
    opened = Image.open(io.BytesIO(saved(Image.fromarray(smooth()), "TIFF", tiffinfo=turned)))
    np.testing.assert_array_equal(fio.as_decoded(opened).pixels, np.rot90(smooth(), -1))


# --- real photos --------------------------------------------------------------------------------------------------


def test_real_photos_decode_as_pillow_does(shared):
    root = shared("photos")
    paths = [path for path in find_images(root, recursive=True) if path.stat().st_size < 400_000]
    assert len(paths) > 20
    for path in paths:
        decoded = read_image(path)
        with Image.open(path) as other:
            upright = np.asarray(other.convert("RGB"))
        np.testing.assert_array_equal(decoded.pixels, upright, err_msg=path.name)
        assert decoded.grey is (other.mode in ("L", "LA", "1"))


def test_real_photo_round_trips(shared):
    decoded = read_image(shared("photos/whole/Blake_Lively.jpg"))
    for format in LOSSLESS:
        back = decode_image(encode_image(decoded, format=format))
        np.testing.assert_array_equal(back.pixels, decoded.pixels)
        assert back.metadata.icc == decoded.metadata.icc
