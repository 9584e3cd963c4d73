"""The page as a person uses it, in headless Chromium."""

import io
import json
import math
import shutil
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from kohonen_tokenizer.service.http.auth import make_key
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .rigged_backend import RiggedBackend

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
WAIT_S = 20

pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()),
    reason=f"no {CHROMIUM} or {DRIVER}; Debian's packages chromium and chromium-driver have them",
)

READ_IMAGE = """
const image = document.getElementById(arguments[0]);
const canvas = new OffscreenCanvas(image.naturalWidth ?? image.width, image.naturalHeight ?? image.height);
const context = canvas.getContext("2d");
context.drawImage(image, 0, 0);
const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
return [canvas.height, canvas.width, Array.from(data)];
"""


class Page:
    """The page in a browser, by what a person sees and does."""

    def __init__(self, driver, client):
        self.driver = driver
        self.client = client
        self.actions = ActionChains(driver, duration=0)

    def open(self, url=None):
        self.driver.get(url or str(self.client.base_url))
        self.wait_for(lambda: self.tokens)
        self.settle()

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.find(selector).text

    def wait_for(self, condition):
        return WebDriverWait(self.driver, WAIT_S, poll_frequency=0.02).until(lambda _: condition())

    def settle(self):
        """Wait until the image shown is that of the tokens shown."""
        self.wait_for(lambda: self.find("#decoded").get_attribute("aria-busy") == "false")

    @property
    def cells(self):
        return self.driver.find_elements(By.CSS_SELECTOR, "#tokens [role=gridcell]")

    @property
    def tokens(self):
        return self._tokens_of("#tokens [data-token]")

    @property
    def lit(self):
        """The tokens lit on the map."""
        return set(self._tokens_of("#map .lit"))

    def _tokens_of(self, selector):
        # In one go: elements may be replaced between two calls.
        script = "return Array.from(document.querySelectorAll(arguments[0]), (cell) => +cell.dataset.token)"
        return self.driver.execute_script(script, selector)

    @property
    def bright(self):
        """The tokens that no shade covers on the map."""
        return set(np.flatnonzero(self._pixels("map-shade")[..., 3] == 0).tolist())

    def image(self, name):
        """The pixels of an image, uint8 [H, W, 3]."""
        return self._pixels(name)[..., :3]

    def _pixels(self, name):
        height, width, data = self.driver.execute_script(READ_IMAGE, name)
        return np.array(data, dtype=np.uint8).reshape(height, width, 4)

    def check_decoded(self):
        """The image shown is that which the API gives for the tokens shown."""
        self.settle()
        tokens = np.array(self.tokens).reshape(2, 2).tolist()
        reply = self.client.post("/decode", json={"tokens": tokens})
        assert np.array_equal(self.image("decoded"), np.asarray(Image.open(io.BytesIO(reply.content))))

    def point_at_code(self, x, y):
        """Move the pointer to a place on the tiny model's map, of 3 rows and 4 columns."""
        box = self.find("#map").rect
        dx, dy = (x + 0.5) * box["width"] / 4, (y + 0.5) * box["height"] / 3
        self.actions.move_to_element_with_offset(
            self.find("#map"), int(dx - box["width"] / 2), int(dy - box["height"] / 2)
        )
        return self.actions

    def another_token(self):
        """One that the image does not have."""
        return next(token for token in range(12) if token not in self.tokens)

    def paint(self, cell, token):
        """Pick `token` up from the map and click on a cell of the image."""
        self.point_at_code(token % 4, token // 4).click().perform()
        self.cells[cell].click()

    def press(self, *keys):
        self.actions.send_keys(*keys).perform()

    def press_with(self, modifier, key):
        self.actions.key_down(modifier).send_keys(key).key_up(modifier).perform()

    def errors(self):
        """What the console has to complain about, since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """(method, URL) of what the page has asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        requests = [m["params"]["request"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [(request["method"], request["url"]) for request in requests]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,900",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the driver's path given, Selenium looks for none on the network.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SE_OFFLINE", "true")
        patch.setenv("SE_AVOID_STATS", "true")
        driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, client):
    """The page, opened and with its example decoded; at the end nothing may stand in the console."""
    page = Page(driver, client)
    page.open()
    page.requests()
    yield page
    assert page.errors() == []


def near(token, *, radius=1.5):
    """`token` and the tokens within `radius` on the tiny model's map."""
    x, y = token % 4, token // 4
    return {k for k in range(12) if math.hypot(k % 4 - x, k // 4 - y) <= radius}


def test_it_opens_with_an_example(page):
    page.check_decoded()
    assert page.text("#model-name") == "tiny-colors"
    assert not page.find("#level-choice").is_displayed()
    assert page.text("#map-size") == "12 codes, 3 \u00d7 4"
    assert np.array_equal(
        page.image("map-picture"), np.asarray(Image.open(io.BytesIO(page.client.get("/map.png").content)))
    )


def test_a_photograph_is_encoded_as_by_the_api(page, photographs, image_file, tmp_path):
    for number, photograph in enumerate(photographs[:2]):
        content = image_file(photograph, "JPEG")
        file = tmp_path / f"{number}.jpg"
        file.write_bytes(content)
        page.find("#file").send_keys(str(file))
        reply = page.client.post("/encode", content=content, headers={"Content-Type": "image/jpeg"})
        expected = reply.json()["tokens"][0]
        page.wait_for(lambda expected=expected: page.tokens == np.ravel(expected).tolist())
        page.check_decoded()
        assert page.image("image").shape == photograph.shape


def test_hovering_lights_exactly_the_neighbors(page):
    for cell, token in zip(page.cells, page.tokens, strict=True):
        page.actions.move_to_element(cell).perform()
        assert page.lit == page.bright == near(token)
        assert int(page.text("#code-token")) == token
        assert page.text("#code-place") == f"x {token % 4}, y {token // 4}"
    page.actions.move_to_element(page.find("h1")).perform()
    assert page.lit == set()
    assert len(page.bright) == 12
    # What is known from the shape of the map is not asked for.
    assert page.requests() == []


@pytest.mark.parametrize("place", [(0, 0), (3, 2), (1, 1)])
def test_hovering_on_the_map_lights_too_and_tells_the_distance(page, place):
    token = 4 * place[1] + place[0]
    page.point_at_code(*place).perform()
    assert page.lit == page.bright == near(token)
    count = page.tokens.count(token)
    assert page.text("#code-count") == f"{count} of 4"
    # From the brush, which begins in the middle of the map.
    assert page.text("#code-distance") == f"{math.hypot(place[0] - 2, place[1] - 1):.1f}"
    lit = [cell for cell in page.cells if "lit" in cell.get_attribute("class")]
    assert [page.cells.index(cell) for cell in lit] == [
        index for index, other in enumerate(page.tokens) if other in near(token)
    ]


def test_painting_changes_the_decoded_image(page):
    before, other = page.tokens, page.another_token()
    page.paint(1, other)
    assert page.tokens == [before[0], other, *before[2:]]
    page.check_decoded()
    assert page.text("#undo") == "Undo 1"
    # One drag over two cells is one step.
    page.actions.click_and_hold(page.cells[2]).move_to_element(page.cells[3]).release().perform()
    assert page.tokens == [before[0], other, other, other]
    page.check_decoded()
    page.find("#undo").click()
    assert page.tokens == [before[0], other, *before[2:]]
    page.find("#undo").click()
    assert page.tokens == before
    assert not page.find("#undo").is_enabled()
    page.check_decoded()


def test_the_sliders_move_every_token_and_stop_at_the_edge(page):
    before = page.tokens
    dx, dy = page.find("#dx"), page.find("#dy")
    assert (dx.get_property("min"), dx.get_property("max")) == ("-3", "3")
    dx.send_keys(Keys.ARROW_RIGHT * 2)
    dy.send_keys(Keys.ARROW_LEFT)
    assert page.tokens == [max(k // 4 - 1, 0) * 4 + min(k % 4 + 2, 3) for k in before]
    page.check_decoded()
    page.find("#undo").click()
    assert page.tokens == [k // 4 * 4 + min(k % 4 + 2, 3) for k in before]
    dx.send_keys(Keys.ARROW_LEFT * 2)
    assert page.tokens == before


def test_in_random_order_the_same_move_leads_elsewhere_but_no_move_changes_nothing(page):
    before = page.tokens
    page.find("#shuffled").click()
    assert page.tokens == before
    page.find("#dx").send_keys(Keys.ARROW_RIGHT)
    shuffled = page.tokens
    page.find("#shuffled").click()
    assert page.tokens == [k // 4 * 4 + min(k % 4 + 1, 3) for k in before]
    assert shuffled != page.tokens
    page.check_decoded()


def test_of_many_changes_only_the_last_is_decoded(page):
    script = """
    const slider = document.getElementById("dx");
    for (const value of [1, 2, 3, -1, -2, -3]) {
      slider.value = value;
      slider.dispatchEvent(new Event("input"));
    }
    """
    page.driver.execute_script(script)
    page.check_decoded()
    assert [method for method, url in page.requests() if url.endswith("/decode")] == ["POST", "POST"]
    assert page.text("#undo") == "Undo 1"


def test_everything_by_keyboard(page):
    before = page.tokens
    reached = []
    for _ in range(20):
        page.press(Keys.TAB)
        reached.append(page.driver.switch_to.active_element.get_attribute("id"))
        if reached[-1] == "map":
            break
    assert {"file", "example", "copy", "save", "load", "dx", "dy", "shuffled", "map"} <= set(reached)
    # On the map: from the brush, in its middle, to its last code and on to another, which becomes the brush.
    assert page.lit == near(6)
    page.press_with(Keys.CONTROL, Keys.END)
    assert page.find("#map").get_attribute("aria-activedescendant") == "code-11"
    page.press(Keys.ARROW_UP, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert page.lit == page.bright == near(6)
    page.press(Keys.ARROW_LEFT)
    assert page.text("#code-distance") == "1.0"
    page.press(Keys.ENTER)
    assert page.text("#code-role") == "brush"
    # In the tokens: the second row's end, painted, then moved on the map, then taken back.
    page.driver.execute_script("document.querySelector('#tokens [tabindex=\"0\"]').focus()")
    page.press(Keys.ARROW_DOWN, Keys.END, " ")
    assert page.tokens == [*before[:3], 5]
    assert page.lit == near(5)
    page.press_with(Keys.SHIFT, Keys.ARROW_UP)
    assert page.tokens == [*before[:3], 1]
    page.check_decoded()
    page.press_with(Keys.CONTROL, "z")
    page.press_with(Keys.CONTROL, "z")
    assert page.tokens == before
    page.press("p", Keys.HOME, Keys.ENTER)
    assert page.tokens == [*before[:2], before[3], before[3]]
    page.check_decoded()


def test_a_broken_file_is_told_in_the_words_of_the_api(page, image_file, photographs, tmp_path):
    before = page.tokens
    content = image_file(photographs[0], "JPEG")[:300]
    file = tmp_path / "broken.jpg"
    file.write_bytes(content)
    page.find("#file").send_keys(str(file))
    reply = page.client.post("/encode", content=content, headers={"Content-Type": "image/jpeg"})
    page.wait_for(lambda: page.text("#error") == reply.json()["error"]["message"])
    assert page.find("#error").get_attribute("role") == "alert"
    assert page.tokens == before
    (message,) = page.errors()
    assert "encode - Failed to load resource" in message
    # The next image that works takes the error away.
    page.find("#example").click()
    page.wait_for(lambda: not page.find("#error").is_displayed())


def test_tokens_leave_and_come_back_as_the_api_s_json(page, tmp_path):
    page.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    page.paint(0, page.another_token())
    saved = page.tokens
    page.find("#save").click()
    file = tmp_path / "tokens.json"
    page.wait_for(file.exists)
    content = json.loads(file.read_text())
    assert content["tokens"] == np.reshape(saved, (2, 2)).tolist()
    page.find("#example").click()
    page.wait_for(lambda: page.tokens != saved)
    page.find("#load").send_keys(str(file))
    page.wait_for(lambda: page.tokens == saved)
    page.check_decoded()
    file.write_text(json.dumps({"tokens": [[0, 1, 2]]}))
    page.find("#load").send_keys(str(file))
    reply = page.client.post("/decode", json={"tokens": [[0, 1, 2]]})
    page.wait_for(lambda: page.text("#error") == reply.json()["error"]["message"])
    assert page.tokens == saved
    assert len(page.errors()) == 1


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_that_is_dropped_or_pasted_is_taken(page, kind, photographs, image_file):
    content = image_file(photographs[3])
    script = """
    const [kind, bytes] = arguments;
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "photograph.png", { type: "image/png" }));
    const options = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
    const event = kind === "drop" ? new DragEvent("drop", options) : new ClipboardEvent("paste", options);
    document.body.dispatchEvent(event);
    """
    page.driver.execute_script(script, kind, list(content))
    reply = page.client.post("/encode", content=content, headers={"Content-Type": "image/png"})
    page.wait_for(lambda: page.tokens == np.ravel(reply.json()["tokens"]).tolist())
    assert page.image("image").shape == photographs[3].shape
    page.check_decoded()


def test_no_request_leaves_the_service(page):
    page.open()
    urls = [url for _, url in page.requests()]
    origin = str(page.client.base_url)
    assert {url.removeprefix(origin) for url in urls if url.startswith(origin)} >= {
        "/",
        "/page/page.js",
        "/models",
        "/map.png",
        "/encode",
        "/decode",
    }
    assert all(url.startswith((origin, f"blob:{origin}", "data:")) for url in urls)


@pytest.fixture(scope="module")
def locked(start_server, tiny_bundle, tmp_path_factory):
    """A client, with its key, of a server of two models that asks for keys; and the key."""
    models = tmp_path_factory.mktemp("models")
    for name in ("first", "second"):
        shutil.copytree(tiny_bundle, models / name / "1")
    secret, entry = make_key("somebody", scopes=("use",))
    server = start_server(models=models, api_keys=json.dumps([entry.model_dump()]))
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {secret}"}) as client:
        yield client, secret


def test_where_the_service_asks_for_a_key_so_does_the_page(driver, locked):
    client, secret = locked
    page = Page(driver, client)
    page.driver.get(str(client.base_url))
    page.wait_for(lambda: page.find("#key-form").is_displayed())
    page.find("#key").send_keys("nonsense", Keys.ENTER)
    page.wait_for(lambda: "none of this service's" in page.text("#error"))
    page.find("#key").send_keys(secret, Keys.ENTER)
    page.wait_for(lambda: page.tokens)
    assert not page.find("#key-form").is_displayed()
    assert not page.find("#error").is_displayed()
    assert all("401" in message for message in page.errors())
    # The key is kept as long as the tab is open.
    page.open()
    assert page.errors() == []


def test_it_waits_for_a_model_that_warms_up(driver, tiny_bundle, tiny_model, serve_in_thread):
    class SlowStart(RiggedBackend):
        gate = threading.Event()
        decode = staticmethod(tiny_model.decode)

        def encode(self, pixels):
            assert self.gate.wait(timeout=WAIT_S)
            return tiny_model.encode(pixels)

    backend = SlowStart()
    with serve_in_thread(Tokenizer(load_bundle(tiny_bundle), backend=backend)) as client:
        page = Page(driver, client)
        page.driver.get(str(client.base_url))
        page.wait_for(lambda: "warms up" in page.text("#error"))
        backend.gate.set()
        page.wait_for(lambda: page.tokens)
        assert not page.find("#error").is_displayed()
        assert page.errors() == []


def test_of_several_models_one_is_chosen(driver, locked):
    client, secret = locked
    page = Page(driver, client)
    page.driver.get(str(client.base_url))
    page.driver.execute_script("sessionStorage.setItem('kohonen-api-key', arguments[0])", secret)
    page.open()
    assert page.text("#model").split() == ["first", "second"]
    page.requests()
    page.find("#model").send_keys("second")
    page.wait_for(lambda: "/decode?model=second" in "".join(url for _, url in page.requests()))
    page.settle()
    page.paint(1, page.another_token())
    page.settle()
    calls = [url for _, url in page.requests() if "/decode" in url]
    assert calls == [str(client.base_url.join("/decode?model=second"))]


def test_of_several_levels_one_is_shown_and_all_are_decoded(driver, start_server, two_level_bundle):
    server = start_server(two_level_bundle)
    with httpx.Client(base_url=server.url) as client:
        page = Page(driver, client)
        page.errors()  # of the tests before
        page.open()
        assert page.text("#level").split() == ["top", "bottom"]
        assert (page.text("#tokens-size"), page.text("#map-size")) == ("1 \u00d7 1", "12 codes, 3 \u00d7 4")
        page.paint(0, page.another_token())
        (top,) = page.tokens
        page.find("#level").send_keys("bottom")
        page.wait_for(lambda: page.text("#map-size") == "12 codes, 1 \u00d7 12")
        picture = client.get("/map.png", params={"level": "bottom"}).content
        assert np.array_equal(page.image("map-picture"), np.asarray(Image.open(io.BytesIO(picture))))
        page.find("#dx").send_keys(Keys.ARROW_RIGHT)
        bottom = np.reshape(page.tokens, (2, 2)).tolist()
        page.settle()
        reply = client.post("/decode", json={"tokens_top": [[top]], "tokens_bottom": bottom})
        assert np.array_equal(page.image("decoded"), np.asarray(Image.open(io.BytesIO(reply.content))))
        # The move of one level is no move of the other.
        page.find("#level").send_keys("top")
        page.wait_for(lambda: page.tokens == [top])
        page.settle()
        assert np.array_equal(page.image("decoded"), np.asarray(Image.open(io.BytesIO(reply.content))))
        assert page.errors() == []
    assert server.stop() == 0


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_it_fits_windows_of_any_width(page, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
        box = page.find("#tokens").rect
        assert 0 <= box["x"] < box["x"] + box["width"] <= width
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_documentation_fits_a_phone(driver, client):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        Page(driver, client).driver.get(f"{client.base_url}/docs")
        width = driver.execute_script("return document.documentElement.scrollWidth")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= 390
