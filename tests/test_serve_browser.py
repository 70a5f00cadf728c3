"""The page of the service in a browser: Chromium, driven by Playwright, where both are here."""

import base64
import json
import re

import pytest
from browsing import expect
from serve_fakes import FAIL, Server, enhanced_bytes, png

PHOTO = png(seed=1)
SLOW = 60_000
READY = re.compile("^blob:")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("gate"))
    yield started
    assert started.stop() == 0


@pytest.fixture
def show(browser, server):
    """Return a function that opens the page; whatever goes wrong or asks another server fails the test."""
    faults, pages = [], []

    def opened(**settings):
        page = browser.new_page(**{"color_scheme": "light", **settings})
        page.set_default_timeout(SLOW)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: None if ours(asked.url) else faults.append(asked.url))
        page.goto(server.url)
        pages.append(page)
        return page

    def ours(url):
        return url.startswith((server.url, "blob:"))

    yield opened
    for page in pages:
        page.close()
    assert not faults


def drop(page, *photos, what="drop"):
    """Drop photos (name and bytes) on the page, or paste them."""
    files = [[name, base64.b64encode(data).decode()] for name, data in photos]
    page.evaluate(
        """([files, what]) => {
          const data = new DataTransfer();
          for (const [name, text] of files) {
            const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
            data.items.add(new File([bytes], name, { type: name.endsWith("png") ? "image/png" : "image/tiff" }));
          }
          const event = what === "drop" ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
          document.body.dispatchEvent(event);
        }""",
        [files, what],
    )


def restored(page):
    """Wait until the photo that is looked at is done."""
    expect(page.locator("#download")).to_have_attribute("href", READY, timeout=SLOW)


def downloaded(page):
    restored(page)
    with page.expect_download() as found:
        page.locator("#download").click()
    return found.value.suggested_filename, found.value.path().read_bytes()


def test_dropped_photo_is_restored_and_its_download_is_what_the_command_writes(show, tmp_path):
    page = show()
    drop(page, ("grandmother.png", PHOTO))
    assert downloaded(page) == ("grandmother_restored.png", enhanced_bytes(tmp_path, PHOTO))
    assert page.locator("#state").inner_text() == "1 face: 1 restored"


def test_face_that_is_dialled_is_what_the_command_writes_with_the_same_dial(show, tmp_path):
    page = show()
    drop(page, ("photo.png", PHOTO), what="paste")
    restored(page)
    slider = page.get_by_label("Strength of face 1", exact=True)
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#download")).not_to_have_attribute("href", READY)
    assert downloaded(page)[1] == enhanced_bytes(tmp_path, PHOTO, "--dial", "0:strength=0.5")


def test_what_has_the_focus_keeps_it_when_a_result_comes(show):
    page = show()
    drop(page, ("a.png", PHOTO), ("b.png", png(seed=2)))
    expect(page.locator("#photos .done")).to_have_count(2, timeout=SLOW)
    page.locator("summary").click()
    slider = page.get_by_label("Strength of face 1", exact=True)
    slider.focus()
    with page.expect_response("**/v1/restore"):
        page.keyboard.press("ArrowLeft")
    restored(page)
    expect(slider).to_be_focused()
    expect(page.get_by_label("Strength of the nose of face 1")).to_be_visible()
    second = page.locator("#photos button").nth(1)
    second.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#name")).to_have_text("b.png")
    expect(second).to_be_focused()


def test_face_that_is_switched_off_stays_by_box_switch_and_key(show):
    page = show()
    drop(page, ("photo.png", PHOTO))
    restored(page)
    page.get_by_role("button", name="Face 1", exact=True).click()
    expect(page.get_by_role("switch", name="Restore face 1")).not_to_be_checked()
    expect(page.locator("#after")).to_be_hidden()
    assert downloaded(page)[1] == PHOTO
    page.keyboard.press("1")
    expect(page.get_by_role("button", name="Face 1", exact=True)).to_have_attribute("aria-pressed", "true")
    assert downloaded(page)[1] != PHOTO


def test_border_between_before_and_after_is_dragged_and_moved_by_keys(show):
    page = show()
    drop(page, ("photo.png", PHOTO))
    restored(page)
    box = page.locator("#stage").bounding_box()
    middle = box["y"] + 0.9 * box["height"]
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, middle)
    page.mouse.up()
    assert page.locator("#split").input_value() == "25"
    page.keyboard.press(".")
    assert page.locator("#split").input_value() == "0"


def test_many_photos_wait_in_a_queue_and_a_bad_one_stops_none(show):
    page = show()
    drop(page, ("a.png", PHOTO), ("b.png", png(FAIL)), ("c.png", png(seed=2)))
    expect(page.locator("#photos .done")).to_have_count(2, timeout=SLOW)
    expect(page.locator("#photos .failed")).to_have_count(1)
    page.keyboard.press("]")
    assert "try other weights" in page.locator("#state").inner_text()
    with page.expect_response("**/v1/faces"):
        page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.keyboard.press("]")
    assert page.locator("#name").inner_text() == "c.png"
    assert downloaded(page)[0] == "c_restored.png"


def test_photo_that_is_changed_is_done_though_another_is_changed_at_once(show, tmp_path):
    page = show()
    drop(page, ("a.png", PHOTO), ("b.png", png(seed=2)))
    expect(page.locator("#photos .done")).to_have_count(2, timeout=SLOW)
    page.keyboard.press("1")
    page.keyboard.press("]")
    page.keyboard.press("1")
    expect(page.locator("#photos .done")).to_have_count(2, timeout=SLOW)
    assert downloaded(page)[1] == png(seed=2)
    page.keyboard.press("[")
    assert downloaded(page) == ("a_restored.png", PHOTO)


def test_photo_that_a_browser_cannot_show_is_shown_and_comes_back_in_its_own_format(show):
    page = show()
    drop(page, ("scan.tif", png(format="TIFF", seed=3)))
    name, data = downloaded(page)
    assert (name, data[:4] in (b"II*\0", b"MM\0*")) == ("scan_restored.tif", True)
    expect(page.locator("#before")).to_have_js_property("naturalWidth", 200)
    expect(page.locator("#after")).to_have_js_property("naturalWidth", 200)


def test_page_fits_a_phone(show):
    page = show(viewport={"width": 320, "height": 640})
    drop(page, ("a.png", PHOTO), ("b.png", PHOTO))
    restored(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(show, scheme):
    axe = pytest.importorskip(
        "axe_core_python.sync_playwright", reason="axe-core-python is not installed"
    ).Axe()
    page = show(color_scheme=scheme)
    page.evaluate(f"() => {{ {axe.axe_script} }}")
    faults = [*violations(page)]
    drop(page, ("a.png", PHOTO), ("b.png", png(FAIL)))
    expect(page.locator("#photos .failed")).to_have_count(1, timeout=SLOW)
    page.locator("summary").first.click()
    faults += violations(page)
    page.set_viewport_size({"width": 360, "height": 740})
    page.keyboard.press("]")
    faults += violations(page)
    assert not faults, json.dumps(faults, indent=1)


def violations(page):
    found = page.evaluate("async () => (await axe.run(document)).violations")
    return [(one["impact"], one["id"], [node["html"][:90] for node in one["nodes"]]) for one in found]
