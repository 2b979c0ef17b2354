"""The pages in a real browser, on real services in memory; the test plays the cell."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from clinic.workitem import Review
from tests.common.dicom_factory import INSTITUTION, content_of, head_series
from tests.common.dicomweb import serving
from tests.common.external import external
from tests.common.page_house import HOSTILE, PATIENT, PageHouse

pytestmark = pytest.mark.heavy

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, PHONE, NARROW = (1280, 900), (390, 844), (360, 740)
WAIT_MS = 15_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = external("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def house(tmp_path) -> Iterator[PageHouse]:
    made = PageHouse(tmp_path)
    yield made
    made.close()


@pytest.fixture
def address(house) -> Iterator[str]:
    with serving(house.app) as url:
        yield url
        house.progress.close()


@dataclass
class Eyes:
    """A browser window, and everything that went wrong in it."""

    page: Page
    address: str
    complaints: list[str]

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page

    def wait(self, holds: Callable[[], object], what: str) -> None:
        for _ in range(WAIT_MS // 50):
            if holds():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never: {what}")

    def says(self, selector: str, text: str) -> None:
        self.wait(lambda: text in (self.page.text_content(selector) or ""), f"{selector} says {text!r}")


@pytest.fixture
def eyes(chromium, house, address) -> Iterator[Callable[..., Eyes]]:
    contexts = []

    def look(size=WIDE, role="clinician", **options) -> Eyes:
        width, height = size
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        seen = Eyes(page, address, complaints)
        if role:
            link = house.accounts.link(house.accounts.add(f"{role}.{len(contexts)}", role, _institution(role)))
            secret, _ = house.accounts.open_session(link)
            context.add_cookies([{"name": "bithive", "value": secret, "url": address}])
            seen.open("/")
        return seen

    yield look
    for context in contexts:
        context.close()


def _institution(role: str) -> str | None:
    return INSTITUTION if role == "clinician" else None


def drawn(seen: Eyes, plane: str) -> str:
    return seen.page.evaluate("(plane) => document.querySelector(`[data-plane=${plane}] canvas`).toDataURL()", plane)


def position(seen: Eyes, plane: str) -> str:
    return seen.page.text_content(f"[data-plane={plane}] [data-position]") or ""


def viewer_ready(seen: Eyes) -> None:
    for plane in ("axial", "coronal", "sagittal"):
        seen.wait(lambda plane=plane: position(seen, plane) and len(drawn(seen, plane)) > 2000, f"{plane} is drawn")


def test_a_study_from_the_upload_to_the_verdict(house, eyes, tmp_path):
    folder = tmp_path / "study"
    (folder / "inner").mkdir(parents=True)
    members = {"StudyDescription": "MR head", "StudyDate": "20261120"}
    for number, dataset in enumerate(head_series(patient=PATIENT, **members)):
        (folder / "inner" / f"{number:03}.dcm").write_bytes(content_of(dataset))
    (folder / "notes.txt").write_text("not an image")
    seen, sender = eyes(), eyes()

    assert "No studies yet" in seen.page.inner_text("main")
    sender.open("/upload")
    sender.page.set_input_files("#folder", folder)
    sender.says(".upload [data-state]", "Stored in part")
    sender.says(".upload [data-tally]", "64 accepted")
    assert sender.page.get_attribute(".upload [data-tally] a", "href") == "/docs/errors/not-dicom"

    house.side.settle()
    row = 'tr[data-study="1.2.3.100"]'
    seen.says(row, "Grünwald, Zoë (Dr)")
    seen.says(f"{row} .pill", "Waiting")
    offer, attempt = house.lease()
    seen.says(f"{row} [data-stage]", "Segmenting on node …000001")
    seen.wait(lambda: seen.page.get_attribute(f"{row} progress", "value") == "42", "the bar stands at 42")
    item = house.finish(offer, attempt)
    seen.says(f"{row} .pill", "Finished")
    seen.says(f"{row} .headline", "ml")

    sender.page.click(".upload [data-open]")
    viewer_ready(sender)
    page = sender.page
    page.click("[data-open^=accept]")
    assert page.is_visible("dialog[open]")
    page.fill("dialog[open] textarea", "all planes looked at")
    page.click("dialog[open] button.primary")
    sender.says(".review", "Accepted: the report is VERIFIED")
    assert house.side.store.workitem(item.institution, item.workitem_id).review is Review.ACCEPTED
    seen.says(f"{row} .pill", "Accepted")

    page.click("[data-open^=reject]")
    page.click("dialog[open] button.danger")
    assert page.is_visible("dialog[open]"), "a rejection needs a reason"
    page.fill("dialog[open] textarea", "mask leaks")
    page.click("dialog[open] button.danger")
    sender.says(".review", "retracted")
    sender.says(".review", "mask leaks")
    assert not seen.complaints + sender.complaints


def test_the_viewer_obeys_slider_wheel_drag_keyboard_and_switches(house, eyes):
    house.done()
    seen = eyes()
    seen.open("/studies/1.2.3.100")
    viewer_ready(seen)
    page = seen.page
    assert [page.text_content(f"[data-plane=axial] .edge.{edge}") for edge in "lrtb"] == ["R", "L", "A", "P"]
    assert [page.text_content(f"[data-plane=coronal] .edge.{edge}") for edge in "lrtb"] == ["R", "L", "S", "I"]
    assert [page.text_content(f"[data-plane=sagittal] .edge.{edge}") for edge in "lrtb"] == ["A", "P", "S", "I"]

    def changes(act: Callable[[], object], plane: str = "axial") -> None:
        before = drawn(seen, plane)
        act()
        seen.wait(lambda: drawn(seen, plane) != before, "the picture changes")

    page.focus("[data-plane=axial] .screen")
    start = position(seen, "axial")
    page.keyboard.press("ArrowUp")
    seen.wait(lambda: position(seen, "axial") == f"{int(start.split('/')[0]) + 1}/64", "an arrow is one slice")
    changes(lambda: page.keyboard.press("PageUp"))
    page.keyboard.press("Home")
    seen.wait(lambda: position(seen, "axial") == "1/64", "Home goes to the first slice")
    page.keyboard.press("PageUp")
    seen.wait(lambda: position(seen, "axial") == "11/64", "a page is ten slices")
    page.keyboard.press("r")
    seen.wait(lambda: position(seen, "axial") == start, "R resets")
    page.focus("[data-plane=coronal] .slice")
    changes(lambda: page.keyboard.press("PageUp"), "coronal")
    box = page.locator("[data-plane=axial] .screen").bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    changes(lambda: page.mouse.wheel(0, 200))
    window = page.text_content("#window")
    page.mouse.down()
    page.mouse.move(middle[0] + 80, middle[1] - 40, steps=4)
    page.mouse.up()
    seen.wait(lambda: page.text_content("#window") != window, "a drag changes the window")
    assert page.input_value("#preset") == "own"
    before = position(seen, "sagittal")
    page.mouse.click(middle[0] + box["width"] / 5, middle[1])
    seen.wait(lambda: position(seen, "sagittal") != before, "a click moves the other planes")
    changes(lambda: page.keyboard.press("o"))
    assert not page.is_checked("#overlay")
    changes(lambda: page.check("#overlay"))
    changes(lambda: page.fill("#opacity", "80"))
    changes(lambda: page.select_option("#preset", label="Strong contrast"))
    page.keyboard.press("Escape")
    page.click("[data-plane=sagittal] .pick")
    assert page.get_attribute("#planes", "data-main") == "sagittal"
    assert not seen.complaints


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_many_structures_are_listed_drawn_and_named(house, eyes, size):
    house.done_many(60)
    seen = eyes(size)
    page = seen.open("/studies/1.2.3.100")
    viewer_ready(seen)
    assert page.locator("#legend-list li").count() == 60
    assert page.text_content("#legend-count") == "60 structures"
    box = page.locator("[data-plane=axial] .screen").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seen.wait(lambda: "structure" in (page.text_content("#pointed") or ""), "the structure at the cross-hair is named")
    assert page.locator("#legend-list [aria-current]").text_content() == page.text_content("#pointed")
    scroll = page.locator(".measures-scroll")
    assert scroll.locator("tbody tr").count() == 60
    assert scroll.bounding_box()["height"] < 600
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    before = drawn(seen, "axial")
    page.uncheck("#overlay")
    seen.wait(lambda: drawn(seen, "axial") != before, "the overlay is switched off")
    assert not seen.complaints


def test_touch_swipes_through_slices(house, eyes):
    house.receive_head()
    seen = eyes(PHONE, has_touch=True, is_mobile=True)
    seen.open("/studies/1.2.3.100")
    viewer_ready(seen)
    box = seen.page.locator("[data-plane=axial] .screen").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = position(seen, "axial")
    session = seen.page.context.new_cdp_session(seen.page)
    touch = [("touchStart", [(x, y)]), *(("touchMove", [(x + step * 12, y)]) for step in range(1, 8)), ("touchEnd", [])]
    for kind, points in touch:
        places = [{"x": left, "y": top} for left, top in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
    seen.wait(lambda: position(seen, "axial") != before, "a swipe changes the slice")
    assert not seen.complaints


def test_findings_that_come_while_one_looks_appear_without_losing_the_place(house, eyes):
    house.receive_head()
    offer, attempt = house.lease()
    seen = eyes()
    seen.open("/studies/1.2.3.100")
    viewer_ready(seen)
    assert not seen.page.is_visible("#overlay")
    seen.page.focus("[data-plane=axial] .screen")
    seen.page.keyboard.press("Home")
    house.finish(offer, attempt)
    seen.says("#findings", "Intracranial volume (TIV)")
    seen.wait(lambda: seen.page.is_visible("#overlay"), "the overlay can be switched")
    assert position(seen, "axial") == "1/64"
    seen.says("#spoken", "Finished")
    assert not seen.complaints


def test_failed_kept_and_hostile_studies(house, eyes):
    item = house.failed()
    house.receive_other(patient=HOSTILE)
    seen = eyes()
    seen.open("/studies")
    assert "not plausible" in seen.page.inner_text('tr[data-study="1.2.3.200"]')
    assert "the modality is another one" in seen.page.inner_text('tr[data-study="1.2.3.300"]')
    assert '<script>alert("x")</script>' in seen.page.inner_text('tr[data-study="1.2.3.300"]')
    seen.open("/studies/1.2.3.300")
    assert "Kept, not analysed" in seen.page.inner_text("main")
    seen.open("/studies/1.2.3.200")
    seen.page.click("text=Run again")
    seen.says("#findings .pill", "Waiting")
    items = house.side.workitems(study_uid="1.2.3.200")
    assert len(items) == 2
    assert item.workitem_id in {one.workitem_id for one in items}
    assert not seen.complaints


def test_a_zip_that_climbs_out_and_a_duplicate(eyes, tmp_path):
    hostile, good = tmp_path / "climbs.zip", tmp_path / "one.dcm"
    with zipfile.ZipFile(hostile, "w") as archive:
        archive.writestr("../../out.dcm", b"x")
    good.write_bytes(content_of(head_series()[0]))
    seen = eyes()
    seen.open("/upload")
    seen.page.set_input_files("#files", hostile)
    seen.says(".upload [data-state]", "Not stored")
    assert seen.page.get_attribute(".upload [data-line] a", "href") == "/docs/errors/zip-path"
    for tally in ("1 accepted", "1 already here"):
        seen.page.set_input_files("#files", good)
        seen.says(".upload >> nth=0 >> [data-tally]", tally)
    assert [text for text in seen.complaints if "422" not in text] == []


def test_dropping_files_and_folders(eyes):
    seen = eyes()
    seen.open("/upload")
    content = list(content_of(head_series()[0]))
    seen.page.evaluate(
        """(bytes) => {
            const entry = (name, file) => ({ isFile: true, name, file: (give) => give(file) });
            const batches = [[entry("a.dcm", new File([new Uint8Array(bytes)], "a.dcm")),
                              entry("b.txt", new File(["hello"], "b.txt"))], []];
            const folder = { isDirectory: true, name: "dropped", createReader: () => ({ readEntries: (give) => give(batches.shift()) }) };
            const event = new Event("drop", { bubbles: true, cancelable: true });
            event.dataTransfer = { items: [{ webkitGetAsEntry: () => folder }] };
            document.getElementById("drop").dispatchEvent(event);
        }""",
        content,
    )
    seen.says(".upload [data-tally]", "1 accepted")
    seen.says(".upload [data-tally]", "not-dicom")
    assert seen.page.text_content(".upload [data-name]") == "dropped"


def test_the_filter_finds_as_one_types(house, eyes):
    house.receive_head()
    house.receive_other(patient={"PatientName": "Ander^Otto", "PatientID": "O-1"})
    seen = eyes()
    seen.open("/studies")
    visible = "tr[data-study]:visible"
    seen.page.fill("#q", "otto")
    assert seen.page.locator(visible).count() == 1
    assert "Ander" in seen.page.inner_text(visible)
    seen.page.fill("#q", "nobody")
    assert seen.page.is_visible("#nothing")
    seen.page.fill("#q", "")
    seen.page.check('input[name="show"][value="quiet"]', force=True)
    assert seen.page.locator(visible).count() == 1
    assert "otto" not in seen.page.url.lower()


def test_no_page_is_wider_than_the_screen(house, eyes):
    house.done(
        patient={"PatientName": "Schlüsselburg-Wolkenstein^Maximiliane-Theodora^Elisabeth", "PatientID": "X" * 60}
    )
    house.receive_other()
    seen = eyes(WIDE)
    for path in (
        "/studies", "/studies/1.2.3.100", "/studies/1.2.3.300", "/upload", "/about", "/models", "/models/intracranial_t1", "/docs/errors", "/nowhere",
    ):  # fmt: skip
        seen.open(path)
        for width, height in (WIDE, PHONE, NARROW):
            seen.page.set_viewport_size({"width": width, "height": height})
            seen.page.wait_for_timeout(50)
            assert seen.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (path, width)


def test_everything_is_reached_with_the_keyboard(house, eyes):
    house.done()
    seen = eyes()
    seen.open("/studies")
    page = seen.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.getAttribute('href') || ''"))
        outline = page.evaluate(
            "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement, '::after').outlineStyle"
        )
        assert "solid" in outline or page.evaluate("document.activeElement.matches('input[type=radio], body, html')")
    assert {"q", "/studies/1.2.3.100", "/about"} <= reached
    seen.open("/upload")
    page.focus("#files")
    assert "solid" in page.evaluate("getComputedStyle(document.querySelector('label[for=files]')).outlineStyle")


def test_every_control_has_a_name_and_every_page_its_landmarks(house, eyes):
    house.done()
    seen = eyes()
    for path in ("/studies", "/studies/1.2.3.100", "/upload", "/about"):
        seen.open(path)
        nameless = seen.page.evaluate(
            """() => [...document.querySelectorAll("button, a[href], input:not([type=hidden]), select, textarea, progress")]
                .filter((one) => one.checkVisibility() && !(one.ariaLabel || one.title || one.innerText?.trim() || one.labels?.length))
                .map((one) => one.outerHTML)"""
        )
        assert nameless == []
        for landmark in ("header", "nav", "main", "footer"):
            assert seen.page.locator(landmark).count() >= 1
        assert seen.page.get_attribute("html", "lang") == "en"


def test_the_colours_are_the_systems_until_one_chooses_and_are_kept(eyes):
    seen = eyes(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = seen.page.evaluate(ground)
    seen.page.click("#theme")
    light = seen.page.evaluate(ground)
    assert light != dark
    assert seen.page.get_attribute("#theme", "aria-label") == "Colours: light"
    seen.open("/about")
    assert seen.page.evaluate(ground) == light
    seen.page.click("#theme")
    assert seen.page.evaluate(ground) == dark


def test_nothing_moves_for_who_asked_for_that(house, eyes):
    house.receive_head()
    house.lease()
    seen = eyes(reduced_motion="reduce")
    seen.open("/studies")
    assert (
        seen.page.evaluate("getComputedStyle(document.querySelector('.pill.run'), '::before').animationName") == "none"
    )


def test_a_one_time_link_opens_its_page_once(house, eyes):
    house.receive_head()
    link = house.accounts.link(house.accounts.add("guest", "clinician", INSTITUTION))
    path = f"/enter#token={link}&next=/studies/1.2.3.100"
    first, second = eyes(role=None), eyes(role=None)
    first.open(path)
    first.page.wait_for_url("**/studies/1.2.3.100")
    second.open(path)
    second.says("#said", "Ask for a new one")
    assert link not in second.page.url
    assert second.page.is_visible("text=Sign in with an access token")


def test_signing_in_out_and_being_led_back(house, eyes):
    house.receive_head()
    seen = eyes(role=None)
    seen.open("/sign-in")
    seen.page.fill("#token", "wrong")
    seen.page.keyboard.press("Enter")
    seen.says("[role=alert]", "not valid here")
    seen.page.fill("#token", house.token("clinician"))
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**/studies")
    seen.page.click("text=Sign out")
    seen.page.wait_for_url("**/sign-in")
    seen.open("/studies/1.2.3.100")
    assert "/sign-in?next=/studies/1.2.3.100" in seen.page.url


def test_a_download_is_a_dicom_file(house, eyes, tmp_path):
    item = house.done()
    seen = eyes()
    seen.open("/studies/1.2.3.100")
    with seen.page.expect_download() as waiting:
        seen.page.click(f'a[href*="{item.references[0].sop_uid}"]')
    target = tmp_path / "seg.dcm"
    waiting.value.save_as(target)
    assert target.read_bytes()[128:132] == b"DICM"
    assert Path(waiting.value.suggested_filename).suffix == ".dcm"
    assert io.BytesIO(target.read_bytes()).getbuffer().nbytes > 1000


def test_an_auditor_sees_the_log_and_nothing_else(house, eyes):
    house.receive_head()
    clinician = eyes()
    clinician.open("/studies/1.2.3.100")
    auditor = eyes(role="auditor")
    assert auditor.page.url.endswith("/access-log")
    assert auditor.page.locator("nav a").all_inner_texts() == ["Access log", "Network", "Ledger", "Models", "About"]
