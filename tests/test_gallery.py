"""The gallery as files: what is in them, that nothing in them runs or leads outside, and that older ones give way."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from fakes import Brightener, face_at, photo, pipeline
from gallery_records import FACE, HOSTILE, done, failed, skipped
from PIL import Image

from facerestore.cli.app import main
from facerestore.config import RestoreConfig
from facerestore.errors import ConfigError
from facerestore.io import kinds_made, write_image
from facerestore.pictures.gallery.page import PAGE, check_gallery, write_gallery
from facerestore.pictures.gallery.thumbnails import (
    SIDE_PX,
    TILE_PX,
    picture_key,
    picture_path,
    thumbnail,
    write_thumbnails,
)
from facerestore.types import Metadata, Part

ROOM = Path(__file__).parents[1] / "facerestore" / "pictures" / "gallery"


def data_of(gallery, name="index"):
    """Return what a script of the gallery hands over."""
    (script,) = gallery.glob(f"data-*/{name}.js")
    text = script.read_bytes().decode("ascii")
    return json.loads(re.fullmatch(r"facerestoreGallery\.\w+\((?:\d+, )?(.*)\);\n", text, re.DOTALL)[1])


def written(folder, records, **words):
    gallery = folder / "report"
    assert write_gallery(gallery, records, **{"summary": "all", **words}) == gallery / "index.html"
    return gallery


# --- small pictures -----------------------------------------------------------------------------------------------


def test_small_pictures_are_written_as_photos_are_done_and_marked(tmp_path):
    config = RestoreConfig(faces="0", colour_match=False)
    done(tmp_path, "a.png", gallery=tmp_path / "report", config=config)
    key = picture_key(tmp_path / "a.png")
    found = {what: picture_path(tmp_path / "report", key, what) for what in ("before", "after", "faces")}
    assert set().union(*map(kinds_made, found.values())) == {"thumbnail"}
    with Image.open(found["before"]) as before, Image.open(found["faces"]) as faces:
        assert before.size == (200, 120)
        assert faces.size == (2 * TILE_PX, 2 * TILE_PX)
        strip = np.asarray(faces, dtype=int)
    restored, kept = strip[:, :TILE_PX], strip[:, TILE_PX:]
    assert restored[TILE_PX:].mean() > restored[:TILE_PX].mean() + 15  # brightened
    assert abs(kept[TILE_PX:] - 128).max() < 30  # of a kept face one is drawn


def test_unchanged_photo_has_no_picture_of_its_result(tmp_path):
    (record,) = done(tmp_path, "a.png", gallery=tmp_path / "report", config=RestoreConfig(strength=0))
    key = picture_key(tmp_path / "a.png")
    assert not picture_path(tmp_path / "report", key, "after").exists()
    (row,) = data_of(written(tmp_path, [record]))
    assert (row["key"], row["changed"], row["kept"]) == (key, False, 2)


def test_small_pictures_of_a_png_that_states_its_colours_are_whole(tmp_path):
    stated = Metadata(parts=(Part("PNG", b"sRGB", b"\0"), Part("PNG", b"gAMA", (45455).to_bytes(4, "big"))))
    image = photo(metadata=stated, format="PNG")
    result = pipeline(FACE).run(image)
    for path in write_thumbnails(tmp_path, "0" * 16, thumbnail(image.pixels), result):
        with Image.open(path) as picture:
            picture.load()


def test_small_pictures_have_8_bits_and_a_longest_side():
    small = thumbnail(photo(900, 1600, dtype=np.uint16).pixels)
    assert (small.dtype, small.shape) == (np.uint8, (225, SIDE_PX, 3))
    assert thumbnail(photo(20, 1600).pixels).shape == (5, SIDE_PX, 3)


def test_names_of_small_pictures_say_nothing_of_the_photo_and_know_its_pages(tmp_path):
    keys = {
        picture_key(tmp_path / HOSTILE),
        picture_key(tmp_path / "a.png"),
        picture_key(tmp_path / "a.png", 2),
    }
    assert len(keys) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)


# --- pages --------------------------------------------------------------------------------------------------------


def test_photos_that_changed_most_come_first_and_the_rest_by_what_became_of_it(tmp_path):
    gallery = tmp_path / "report"
    strong, weak = (
        done(tmp_path, name, gallery=gallery, config=RestoreConfig(strength=strength))[0]
        for name, strength in (("strong.png", 1), ("weak.png", 0.1))
    )
    (kept,) = done(tmp_path, "kept.png", gallery=gallery, config=RestoreConfig(strength=0))
    (none,) = done(tmp_path, "none.png", gallery=gallery, faces=())
    gone, there = failed(tmp_path / "gone.png"), skipped(tmp_path / "there.png")
    rows = data_of(written(tmp_path, [there, none, kept, gone, weak, strong]))
    assert [row["name"].removesuffix(".png") for row in rows] == [
        "strong", "weak", "gone", "kept", "none", "there",
    ]  # fmt: skip
    assert [row["status"] for row in rows[2:]] == ["failed", "done", "done", "skipped"]
    assert rows[0]["effects"] == [2, 0, 0]


def test_each_face_is_told_with_network_strength_change_and_reason(tmp_path):
    gallery = tmp_path / "report"
    (record,) = done(tmp_path, "a.png", gallery=gallery, config=RestoreConfig(faces="0", strength=0.5))
    (shown,) = data_of(written(tmp_path, [record]), "photos-00000")
    assert shown["words"].startswith("2 faces, 1 restored, 1 kept · 200 x 120 px · ")
    restored, kept = shown["faces"]
    assert restored["title"] == "Face 0"
    assert re.fullmatch(r"restored, changed by \d+\.\d levels of 255", restored["words"])
    assert restored["lines"][0] == "by brightener.test at strength 0.5"
    assert (kept["words"], kept["pair"]) == ("kept", False)
    assert kept["reason"] == "not selected: the choice of faces is '0'"
    assert restored["centre"] == pytest.approx([42 / 200, 52 / 120], abs=0.01)


def test_data_lie_by_the_hundred(tmp_path):
    records = [failed(tmp_path / f"{number:03}.png") for number in range(2 * PAGE + 1)]
    gallery = written(tmp_path, records)
    assert len(data_of(gallery)) == 2 * PAGE + 1
    sizes = [len(data_of(gallery, f"photos-{number:05d}")) for number in range(3)]
    assert sizes == [PAGE, PAGE, 1]


def test_hostile_names_are_text_in_data_and_percent_encoded_in_addresses(tmp_path):
    gallery = tmp_path / "report"
    names = [HOSTILE, "javascript:alert(1).png", "日本.png", "..%2fa.png"]
    records = done(tmp_path, *names, gallery=gallery)
    write_gallery(gallery, records, summary="</p><script>alert(1)</script>")
    assert {row["name"] for row in data_of(gallery)} == set(names)
    for shown in data_of(gallery, "photos-00000"):
        for address in (shown["input"], shown["output"]):
            assert re.fullmatch(r"[A-Za-z0-9._/%()~-]+", address.replace("%28", "(")), address
            assert (gallery / unquote(address)).exists()
    assert "<script>alert" not in (gallery / "index.html").read_text()


def test_name_that_is_no_unicode_is_shown_and_linked(tmp_path):
    name = b"bad\xff.png".decode("utf-8", "surrogateescape")
    gallery = written(tmp_path, [failed(tmp_path / name)])
    assert data_of(gallery)[0]["name"] == "bad\N{REPLACEMENT CHARACTER}.png"
    assert data_of(gallery, "photos-00000")[0]["input"].endswith("bad%FF.png")


class _Page(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


def test_page_asks_for_nothing_outside_of_its_folder_and_names_its_controls(tmp_path):
    gallery = written(tmp_path, [failed(tmp_path / "a.png")])
    page = _Page((gallery / "index.html").read_text(encoding="utf-8"))
    asked = [a.get("src") or a.get("href") for tag, a in page.elements if tag in ("script", "link")]
    assert all((gallery / address).is_file() for address in asked)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    for name in ("index.html", "gallery.css", "gallery.js"):
        text = (gallery / name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|//[a-z]+\.|@import|\bfetch\(|XMLHttp", text), name
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        if tag == "input" and attributes["id"] != "search":  # which has a label of words around it
            assert attributes["aria-label"]
    script = (gallery / "gallery.js").read_text(encoding="utf-8")
    assert set(re.findall(r'byId\("([a-z-]+)"\)', script)) <= set(ids)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", script)


def _luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("which", [0, 1], ids=["light", "dark"])
def test_colours_keep_the_contrast_of_wcag_aa(which):
    text = (ROOM / "gallery.css").read_text(encoding="utf-8")
    found = re.findall(r"--(\w+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", text)
    colours = {name: both[which] for name, *both in found}
    inks = ("ink", "soft", "accent", "restored", "cleaned", "barely", "kept", "failed")
    pairs = [(ink, ground) for ink in inks for ground in ("paper", "card")] + [("on", "accent")]
    for ink, ground in pairs:
        light, dark = sorted((_luminance(colours[ink]), _luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_later_gallery_takes_the_place_of_the_older_and_leaves_what_is_not_its_own(tmp_path):
    gallery = written(tmp_path, [failed(tmp_path / f"{number}.png") for number in range(PAGE + 1)])
    (gallery / "data-mine").mkdir()
    (gallery / "notes.txt").write_text("mine")
    (gallery / "data-0123456789ab").mkdir()
    (gallery / "data-0123456789ab" / "mine.txt").write_text("mine")
    written(tmp_path, [failed(tmp_path / "a.png")])
    assert len(data_of(gallery)) == 1
    assert len(list(gallery.glob("data-*"))) == 3
    assert (gallery / "data-0123456789ab" / "mine.txt").exists()


def test_folder_with_another_page_or_a_file_in_its_place_is_refused_before_any_work(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<p>mine</p>")
    with pytest.raises(ConfigError, match=r"site.index.html' is no gallery of facerestore; give another"):
        check_gallery(tmp_path / "site")
    with pytest.raises(ConfigError, match=r"is a file; give another with --html"):
        check_gallery(tmp_path / "site" / "index.html")
    check_gallery(tmp_path / "new")
    check_gallery(written(tmp_path, [failed(tmp_path / "a.png")]))


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path, monkeypatch, use_pipeline):
    monkeypatch.chdir(tmp_path)
    use_pipeline(lambda config: pipeline(FACE, config=config))
    for number, name in enumerate(("a.png", "b.png")):
        write_image(Path("in") / name, photo(seed=number))
    return tmp_path


def test_enhance_writes_a_gallery_whose_pictures_no_later_run_takes_for_photos(album, capsys):
    (album / "in" / "c.png").write_bytes(b"no picture")
    assert main(["enhance", "in", "-o", "in/out", "--html", "in/report", "--no-progress"]) == 3
    assert f"gallery: open {Path('in/report/index.html')}" in capsys.readouterr().out
    rows = data_of(album / "in" / "report")
    assert [(row["name"], row["status"]) for row in rows][2] == ("c.png", "failed")
    assert main(["enhance", "in", "-r", "-o", "other", "--dry-run"]) == 0
    assert ".jpg" not in capsys.readouterr().out.replace("left out", "").split("\n", 1)[1]


def test_run_that_is_broken_off_leaves_a_gallery_of_what_was_done(album, use_pipeline):
    class Stops(Brightener):
        def restore(self, faces, parsing_maps=None):
            if self.calls:
                raise KeyboardInterrupt
            return super().restore(faces, parsing_maps)

    restorer = Stops()
    use_pipeline(lambda config: pipeline(face_at(10, 20), config=config, restorer=restorer))
    assert main(["enhance", "in", "-o", "out", "--html", "report", "--workers", "1"]) == 130
    assert [row["name"] for row in data_of(album / "report")] == ["a.png"]


def test_gallery_needs_named_results_and_a_folder_of_its_own(album, capsys):
    assert main(["enhance", "in/a.png", "-o", "-", "--html", "report"]) == 2
    assert "--html need a named result; give -o FILE" in capsys.readouterr().err
    (album / "index.html").write_text("mine")
    assert main(["enhance", "in/a.png", "--html", "."]) == 2
    assert "is no gallery of facerestore" in capsys.readouterr().err


def test_gallery_of_a_run_that_finds_all_done_shows_what_the_earlier_one_did(album):
    command = ["enhance", "in", "-o", "out", "--html", "report", "-q"]
    assert main(command) == 0
    first = data_of(album / "report"), data_of(album / "report", "photos-00000")
    assert main(command) == 0
    rows, shown = data_of(album / "report"), data_of(album / "report", "photos-00000")
    assert (rows, [one["faces"] for one in shown]) == (first[0], [one["faces"] for one in first[1]])
    assert all(row["key"] and row["effects"] == [1, 0, 0] for row in rows)


def test_pages_of_a_tiff_have_small_pictures_each_and_faces_those_of_their_page(album):
    first, second = (Image.fromarray(photo(seed=seed).pixels) for seed in (0, 1))
    first.save("pages.tif", save_all=True, append_images=[second])
    assert main(["enhance", "pages.tif", "-o", "out", "--html", "report", "-q"]) == 0
    (row,), (shown,) = data_of(album / "report"), data_of(album / "report", "photos-00000")
    keys = [picture_key("pages.tif", page) for page in (1, 2)]
    assert row["key"] == keys[0]
    assert [(face["title"], face["key"], face["column"]) for face in shown["faces"]] == [
        ("Face 0 on page 1", keys[0], 0),
        ("Face 0 on page 2", keys[1], 0),
    ]
    assert all(picture_path(album / "report", key, "faces").exists() for key in keys)
