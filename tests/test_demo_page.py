"""The page, run in a real browser: answers as Keras gives them, and every control."""

import json
import os
import shutil
import struct
import sys
import time
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from chromium import browser, served

from keras_pdenets import load_model
from keras_pdenets.data import load_sample
from keras_pdenets.demo import write_demo
from keras_pdenets.demo.nets import SHOWN_NETS
from keras_pdenets.demo.watched import watch

pytestmark = [pytest.mark.slow, pytest.mark.once]
# An unpacked onnxruntime-web, which npm fetches otherwise; a page that was written before.
RUNTIME, WRITTEN = (os.environ.get(f"KERAS_PDENETS_{name}") for name in ("RUNTIME", "PAGE"))
KEYS = [row.key for row in SHOWN_NETS]


@pytest.fixture(scope="module")
def chromium():
    with browser() as driver:
        yield driver


@pytest.fixture(scope="module")
def folder(chromium, tmp_path_factory):
    """The whole page; made only where there is a browser."""
    if WRITTEN is not None:
        return Path(WRITTEN)
    if RUNTIME is None and shutil.which("npm") is None:
        pytest.skip("no npm, and KERAS_PDENETS_RUNTIME names no unpacked onnxruntime-web")
    target = tmp_path_factory.mktemp("demo") / "page"
    try:
        return write_demo(target, RUNTIME, images=80, verbose=0)
    except RuntimeError as error:
        if not str(error).startswith("npm did not fetch"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def page(chromium, folder):
    with served(folder) as (address, asked):
        yield Page(chromium, address, asked)


class Page:
    """What a user does and sees."""

    def __init__(self, driver, address, asked):
        self.driver, self.address, self.asked = driver, address, asked

    def open(self, name=""):
        self.driver.get(self.address + name)
        return self.settle()

    def js(self, program, *arguments):
        return self.driver.execute_script(program, *arguments)

    def settle(self):
        """Wait until nothing is under way; returns how that ended."""
        ended = "return ['done', 'failed'].find((word) => word === document.body.dataset.state)"
        return self.until(ended, seconds=120)

    def answers(self):
        """Probabilities, of shape (nets, classes)."""
        program = """return arguments[0].map((key) =>
            [...document.querySelectorAll(`td[data-net="${key}"][data-class]`)]
            .map((cell) => Number(cell.dataset.probability)))"""
        return np.array(self.js(program, KEYS), "float64")

    def slide(self, name, value):
        program = """const slider = document.getElementById(arguments[0]);
            slider.value = arguments[1]; slider.dispatchEvent(new Event("input"));"""
        self.js(program, name, value)
        self.settle()
        return self.answers()

    def click(self, selector, number=0):
        self.js("document.querySelectorAll(arguments[0])[arguments[1]].click()", selector, number)
        self.settle()

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0]).textContent", selector)

    def upload(self, path):
        # Sent to the element itself: it is out of sight behind its label.
        self.js("document.getElementById('file-note').textContent = ''")
        self.driver.find_element("id", "file").send_keys(str(path))
        self.until("return document.getElementById('file-note').textContent")
        self.settle()

    def until(self, program, *arguments, seconds=60):
        """Wait until a program returns something, and return that."""
        end = time.monotonic() + seconds
        while not (found := self.js(program, *arguments)):
            assert time.monotonic() < end, program
            time.sleep(0.02)
        return found


def _samples(folder):
    data = np.frombuffer((folder / "samples.bin").read_bytes(), "uint8")
    return data.reshape(-1, 28, 28, 1).astype("float32")


def test_the_first_answer_is_there_and_no_other_host_is_asked(page, folder):
    assert page.open() == "done"
    resources = page.js("return performance.getEntriesByType('resource').map((r) => r.name)")
    assert resources
    assert all(name.startswith(page.address) for name in resources)
    files = [folder / (path.lstrip("/") or "index.html") for path in page.asked]
    size = sum(file.stat().st_size for file in files)
    seconds = page.js("return performance.getEntriesByName('first answer')[0].duration") / 1e3
    sys.stdout.write(f"first view: {size / 1e6:.2f} MB; first answer after {seconds:.2f} s\n")
    assert size < 8e6
    assert page.js("return document.getElementById('problem').hidden")


def test_answers_are_those_of_keras(page, folder):
    images = _samples(folder)
    assert len(images) == 20
    wanted = np.stack(
        [load_model(row.preset).predict(images, verbose=0) for row in SHOWN_NETS], axis=1
    )
    for number, expected in enumerate(wanted):
        page.click("#samples button", number)
        np.testing.assert_allclose(page.answers(), expected, atol=1e-4)
        assert page.js("return document.querySelectorAll('tr.true').length") == 1


def test_the_samples_are_of_the_bundled_sample(folder):
    images, labels = load_sample()
    found = json.loads((folder / "demo.json").read_text())["samples"]["labels"]
    for image, label in zip(_samples(folder), found, strict=True):
        same = (images == image.astype("uint8")).all(axis=(1, 2, 3))
        assert labels[same][0] == label


def test_a_block_taken_out_is_the_net_without_it(page, folder):
    page.click("#samples button", 3)
    page.click("#chooser input", KEYS.index("resnet"))
    before = page.answers()
    after = page.slide("drop", 5)
    net = watch(load_model("resnet20_fashion_mnist"))
    image, gates = net.inputs(_samples(folder)[3:4])
    gates[0, 4] = 0
    answer, changes, *_ = net.model.predict([image, gates], verbose=0)
    index = KEYS.index("resnet")
    np.testing.assert_allclose(after[index], answer[0], atol=1e-4)
    shown = page.js(
        "return [...document.querySelectorAll('#journey button')].map((b) => +b.dataset.change)"
    )
    np.testing.assert_allclose(shown, changes[0], rtol=1e-3, atol=1e-6)
    others = [k for k in range(len(KEYS)) if k != index]
    np.testing.assert_array_equal(before[others], after[others])
    assert "block 5 of 9" in page.text("#drop-out")
    page.click("#reset")
    np.testing.assert_array_equal(page.answers(), before)


def test_steps_change_the_nets_that_have_steps(page):
    page.click("#samples button", 4)
    before = page.answers()
    have = np.array([not row.fixed for row in SHOWN_NETS])
    for value, count in ((0, 6), (2, 18)):
        after = page.slide("steps", value)
        changed = np.abs(after - before).max(axis=1) > 0
        np.testing.assert_array_equal(changed, have)
        page.click("#chooser input", KEYS.index("pde"))
        assert page.js("return document.querySelectorAll('#journey button').length") == count
    page.click("#reset")
    np.testing.assert_array_equal(page.answers(), before)


def test_noise_moves_all_nets_and_goes_without_a_trace(page):
    page.click("#samples button", 4)
    before = page.answers()
    after = page.slide("noise", 40)
    assert (np.abs(after - before).max(axis=1) > 1e-6).all()
    best = page.js(
        "return document.querySelector('.verdict [data-net=pde]').firstChild.textContent"
    )
    assert page.text("#echo li:nth-child(3)").startswith(f"PDE {best}")
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-5)
    page.click("#reseed")
    assert (np.abs(page.answers() - after).max(axis=1) > 1e-6).all()
    little = page.slide("noise", 5)
    assert np.abs(little - before).sum() < np.abs(after - before).sum()
    np.testing.assert_array_equal(page.slide("noise", 0), before)


def test_drawing_by_mouse_and_by_keyboard_changes_the_picture(page):
    actions = __import__("selenium.webdriver", fromlist=["ActionChains"]).ActionChains
    page.click("#clear")
    blank = page.answers()
    easel = page.driver.find_element("id", "easel")
    page.js("arguments[0].scrollIntoView({block: 'center'})", easel)
    actions(page.driver).click_and_hold(easel).move_by_offset(40, 40).release().perform()
    page.settle()
    drawn = page.answers()
    assert np.abs(drawn - blank).max() > 1e-3
    page.click("#clear")
    np.testing.assert_array_equal(page.answers(), blank)
    easel.send_keys("\ue012 \ue012 \ue012 ")  # left and space, three times
    page.settle()
    assert np.abs(page.answers() - blank).max() > 1e-3
    page.click("#clear")
    page.click("#invert")
    assert np.abs(page.answers() - blank).max() > 1e-3


def test_an_own_file_is_greyed_and_put_on_black(page, folder, tmp_path):
    image = _samples(folder)[0]
    page.click("#samples button", 0)
    wanted = page.answers()
    rgb = np.repeat(255 - image, 3, axis=-1).astype("uint8")  # dark on light, as photos are
    keras.utils.save_img(tmp_path / "shirt.png", rgb, scale=False)
    page.click("#clear")
    page.upload(tmp_path / "shirt.png")
    assert "inverted" in page.text("#file-note")
    np.testing.assert_allclose(page.answers(), wanted, atol=1e-4)


def test_files_that_are_no_picture_or_too_large_are_named(page, tmp_path):
    before = page.answers()
    (tmp_path / "notes.png").write_text("no picture")
    page.upload(tmp_path / "notes.png")
    assert "“notes.png” is no picture" in page.text("#file-note")
    (tmp_path / "huge.png").write_bytes(_png(9000, 9000))
    page.upload(tmp_path / "huge.png")
    assert "at most 50 million" in page.text("#file-note")
    np.testing.assert_array_equal(page.answers(), before)


def _png(width, height):
    """A grey picture that is small as a file."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("key", KEYS)
def test_every_net_can_be_looked_into(page, folder, key):
    page.click("#samples button", 2)
    page.click("#chooser input", KEYS.index(key))
    record = next(
        n for n in json.loads((folder / "demo.json").read_text())["nets"] if n["key"] == key
    )
    blocks = len(record["variants"]["base"]["stages"])
    count = "return document.querySelectorAll(arguments[0]).length"
    for selector in ("#journey button", "#ways .mine circle"):
        page.until(f"{count} === arguments[1]", selector, blocks)
    assert page.js(count, "#ways svg") == len(record["stages"])
    page.click("#journey button", 0)
    channels = page.js(count, "#channels canvas")
    assert channels == len(record["stages"][0]["mean"])
    first = page.js("return document.querySelector('#operators').textContent")
    assert "u" in first
    assert page.js(count, "#operators .kernel") > 0
    page.js(
        "const s = document.getElementById('layer'); s.value = s.options.length - 1; s.onchange()"
    )
    assert page.js("return document.querySelector('#operators').textContent") != first


def test_the_console_is_silent(page):
    assert [entry["message"] for entry in page.driver.get_log("browser")] == []


def test_a_net_that_fails_leaves_the_others(page, folder):
    file = folder / "nets" / "resnet" / "weights.gz"
    kept = file.read_bytes()
    file.write_bytes(kept[: len(kept) // 2])
    try:
        page.open("?damaged")
    finally:
        file.write_bytes(kept)
    assert page.text('.verdict [data-net="resnet"]') == "did not run"
    assert page.text("#problem").startswith("Did not run: ResNet (")
    rest = [k for k, key in enumerate(KEYS) if key != "resnet"]
    np.testing.assert_allclose(page.answers()[rest].sum(axis=1), 1, atol=1e-5)
    page.driver.get_log("browser")


def test_a_browser_without_webassembly_is_told_so(page):
    program = {"source": "delete globalThis.WebAssembly"}
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", program)
    try:
        page.driver.get(page.address + "?without")
        assert "WebAssembly is missing" in page.text("#problem")
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(page, width):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.open(f"?{width}")
    assert page.js("return document.documentElement.scrollWidth") <= width
    nameless = """return [...document.querySelectorAll("button, input, select, [role=img]")].filter(
        (e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length ||
                 e.querySelector("title"))).map((e) => e.outerHTML)"""
    assert page.js(nameless) == []
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
