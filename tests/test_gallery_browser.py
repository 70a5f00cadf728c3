"""The gallery in a browser, from disk: Chromium, driven by Playwright, where both are here."""

import re
import shutil

import pytest
from browsing import expect
from gallery_records import HOSTILE, done, failed

from facerestore.config import RestoreConfig
from facerestore.pictures.gallery.page import PAGE, write_gallery


@pytest.fixture
def show(browser, tmp_path):
    """Return a function that writes a gallery and opens it; whatever goes wrong or asks a network fails the test."""
    faults = []

    def opened(records, **settings):
        path = write_gallery(tmp_path / "report", records, summary="all of them")
        page = browser.new_page(**{"color_scheme": "light", **settings})
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.on(
            "request",
            lambda request: None if request.url.startswith("file:") else faults.append(request.url),
        )
        page.goto(path.as_uri())
        page.wait_for_selector(".card")
        pages.append(page)
        return page

    pages = []
    yield opened
    for page in pages:
        page.close()
    assert not faults


@pytest.fixture
def records(tmp_path):
    gallery = tmp_path / "report"
    strong = done(tmp_path, "strong.png", gallery=gallery)
    weak = done(tmp_path, "weak.png", gallery=gallery, config=RestoreConfig(strength=0.02))
    kept = done(tmp_path, "kept.png", gallery=gallery, config=RestoreConfig(strength=0))
    return [*strong, *weak, *kept, failed(tmp_path / "gone.png")]


def names(page):
    return page.locator(".name").all_inner_texts()


def test_filters_and_search_leave_what_fits(show, records):
    page = show(records)
    assert names(page) == ["strong.png", "weak.png", "gone.png", "kept.png"]
    for word, left in {
        "Restored": ["strong.png"],
        "Changed little": ["weak.png"],
        "Failed": ["gone.png"],
    }.items():
        page.get_by_role("button", name=re.compile(f"^{word}")).click()
        assert names(page) == left
    page.get_by_role("button", name=re.compile("^All")).click()
    page.keyboard.press("/")
    page.keyboard.type("KEP")
    assert names(page) == ["kept.png"]
    page.keyboard.type("x")
    assert page.locator("#state").inner_text() == "no photo fits"


def test_photo_opens_at_full_size_with_slider_and_faces_by_keyboard_alone(show, records):
    page = show(records)
    page.locator(".open").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .face")
    for name in ("#before", "#after"):
        expect(page.locator(name)).to_have_js_property("naturalWidth", 200)
        expect(page.locator(name)).to_have_attribute("src", re.compile(r"/strong\.png$"))
    assert page.locator(".face .title").first.inner_text().startswith("Face 0: restored, changed by ")
    shape = "element => element.clientWidth / element.clientHeight"
    for viewport in ({"width": 1200, "height": 300}, {"width": 390, "height": 800}):
        page.set_viewport_size(viewport)
        assert page.locator("#after").evaluate(shape) == pytest.approx(200 / 120, abs=0.03)
    page.keyboard.press(",")
    assert page.locator("#stage").evaluate("s => s.style.getPropertyValue('--split')") == "100%"
    page.keyboard.press("z")
    assert page.locator("#zoom").get_attribute("aria-pressed") == "true"
    assert page.locator("#after").evaluate("element => element.clientWidth") == 200
    page.keyboard.press("ArrowRight")
    expect(page.locator("#photo-name")).to_have_text("weak.png")
    page.keyboard.press("Escape")
    assert not page.locator("#photo").is_visible()
    # The browser gives the focus back to what had it first, and the page then moves it.
    expect(page.locator(":focus")).to_have_attribute("aria-label", "weak.png: show before and after")


def test_small_picture_stands_in_for_a_file_that_the_browser_cannot_show(show, records, tmp_path):
    (tmp_path / "strong.png").write_bytes(b"II*\0 no picture that a browser knows")
    page = show(records)
    page.locator(".open").first.click()
    expect(page.locator("#before")).to_have_attribute("src", re.compile(r"^pictures/.*_before\.jpg$"))
    expect(page.locator("#before")).to_have_js_property("naturalWidth", 200)


def test_photo_without_small_pictures_stands_on_its_card_itself(show, records, tmp_path):
    shutil.rmtree(tmp_path / "report" / "pictures")
    page = show(records)
    expect(page.locator("#cards img").first).to_have_js_property("naturalWidth", 200)
    expect(page.locator(".pair.empty")).to_have_count(1)  # of the photo that is not there


def test_hostile_name_is_shown_as_it_is_and_runs_nothing(show, tmp_path):
    page = show(done(tmp_path, HOSTILE, "javascript:alert(1).png", gallery=tmp_path / "report"))
    shown = page.locator(".name").evaluate_all("all => all.map(one => one.textContent)")
    assert set(shown) == {HOSTILE, "javascript:alert(1).png"}
    assert page.locator("#cards img").evaluate_all("all => all.every(one => one.src.startsWith('file:'))")
    for place in range(2):
        page.locator(".open").nth(place).click()
        expect(page.locator("#after")).to_have_js_property("naturalWidth", 200)
        page.keyboard.press("Escape")


def test_pages_have_a_hundred_photos_each_and_their_data_come_when_they_are_opened(show, tmp_path):
    page = show([failed(tmp_path / f"{number:04}.png") for number in range(10 * PAGE + 1)])
    assert page.locator(".card").count() == PAGE
    assert page.locator("head script").count() == 0
    page.keyboard.press("]")
    assert page.locator("#state").inner_text() == "101 to 200 of 1001 photos"
    page.get_by_role("button", name="Page 11").click()
    assert names(page) == ["1000.png"]
    page.locator(".open").click()
    page.wait_for_selector("dialog[open]")
    assert page.locator("#photo-state").inner_text().endswith("1000.png: no image; give one")
    assert page.locator("head script").count() == 1


def test_light_and_dark_follow_the_system_until_one_is_chosen(show, records):
    colour = "getComputedStyle(document.body).backgroundColor"
    light, dark = (show(records, color_scheme=scheme) for scheme in ("light", "dark"))
    assert light.evaluate(colour) == "rgb(250, 249, 247)"
    assert dark.evaluate(colour) == "rgb(22, 24, 28)"
    light.locator("#theme").click()
    assert light.evaluate(colour) == "rgb(22, 24, 28)"
