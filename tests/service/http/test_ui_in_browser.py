"""The page at `/ui` in a real browser: clicked, drawn on, asked by keys; its numbers are those of the API."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from tests.browser import CHROMIUM, Browser, Tab, start_browser
from tests.service.conftest import Served
from tests.serving import ROOT, Service, free_port
from thinned.models.calibration import PolicyRequest, fit, store_calibrated
from thinned.models.loading import load
from thinned.models.storage.importing import import_model
from thinned.service.app import UncertaintyService, http
from thinned.service.http.routes import create_app
from thinned.service.http.tokens import Tokens, new_token

pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="there is no chromium, chromium-browser or google-chrome to try it in"
)

OPEN = "document.querySelectorAll('details').forEach((e) => { e.open = true; })"
ANSWERED = "/^(Answered|This model)/.test(document.querySelector('#status').textContent)"
NUMBERS = "[...document.querySelectorAll('#answer data')].map(e => [e.dataset.field, Number(e.value), e.textContent])"
EVIL = "<img src=x onerror='document.title=1'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_browser() as running:
        yield running


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Opens the page of a service, waits for its first answer, and sees that the browser had nothing against it."""
    tabs: list[Tab] = []

    def open_page(url: str, *, wait: str = ANSWERED, **how: Any) -> Tab:
        tabs.append(tab := browser.open(f"{url}/ui", **how))
        tab.wait(wait)
        return tab

    yield open_page
    for tab in tabs:
        tab.close()


@contextmanager
def on_a_port(app: Any) -> Iterator[str]:
    """The address of an application that a browser can reach."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture(scope="module")
def digits_page(service: Service) -> str:
    return service.url


def body_of(tab: Tab) -> dict[str, Any]:
    """The request that the page shows."""
    found: dict[str, Any] = json.loads(shlex.split(tab.text("#code-curl").replace("\\\n", ""))[-1])
    return found


def after(tab: Tab, act: Callable[[], Any]) -> dict[str, Any]:
    """Do something that has the page ask again, and give the request of its answer."""
    tab.run("document.querySelector('#status').textContent = ''")
    act()
    tab.wait(ANSWERED)
    return body_of(tab)


def shown(tab: Tab) -> dict[str, list[float]]:
    """The numbers of the answer, by field. Each says its own value, to four digits."""
    found: dict[str, list[float]] = {}
    for field, value, text in tab.run(NUMBERS):
        found.setdefault(field, []).append(value)
        assert float(text) == pytest.approx(value, rel=6e-3, abs=1e-12)
    return found


def same_as_the_api(tab: Tab, url: str) -> dict[str, Any]:
    """Compare all that is shown of a classification with what the API answers to the request shown."""
    body = body_of(tab)
    answer: dict[str, Any] = httpx.post(f"{url}/predict_mc", json=body).json()
    numbers = shown(tab)
    for field in ("mean", "variance"):
        np.testing.assert_allclose(numbers[field], answer[field][0], rtol=1e-4, atol=1e-7)
    for field in ("predictive_entropy", "expected_entropy", "mutual_information"):
        np.testing.assert_allclose(numbers[field], answer[field], rtol=1e-4, atol=1e-6)
    assert numbers["seed"] == [body["seed"]] == [answer["seed"]]
    assert numbers["n_samples"] == [answer["n_samples"]]
    assert tab.text("[data-field=predicted_label]") == answer["predicted_label"][0]
    return answer


def test_a_digit_is_picked_drawn_turned_and_made_noisy(opened: Any, digits_page: str) -> None:
    tab = opened(digits_page)
    assert same_as_the_api(tab, digits_page)["predicted_label"] == ["8"]
    assert tab.text("#name") == "digits"
    three = after(tab, lambda: tab.click(".picks button:nth-child(4)"))
    assert same_as_the_api(tab, digits_page)["predicted_label"] == ["3"]

    tab.click("#inputs .row button:nth-child(1)")
    line = after(tab, lambda: tab.drag("#drawing", [(0.45, y / 10) for y in range(1, 10)]))
    pixels = np.array(line["inputs"])
    assert pixels.shape == (1, 8, 8, 1)
    assert pixels[0, 2:6, 3, 0].min() > 8
    assert pixels[0, :, [0, 7], 0].max() == 0
    assert same_as_the_api(tab, digits_page)["predicted_label"] == ["1"]

    # By keys, as a slider is moved without a mouse.
    tab.run("document.querySelector('#turn').focus()")
    turned = after(tab, lambda: tab.press(*["ArrowRight"] * 18))
    assert tab.text("output[for=turn]") == "90°"
    np.testing.assert_allclose(np.array(turned["inputs"])[0, :, :, 0], np.rot90(pixels[0, :, :, 0], -1), atol=0.01)
    same_as_the_api(tab, digits_page)
    tab.run("document.querySelector('#noise').focus()")
    noisy = np.array(after(tab, lambda: tab.press(*["ArrowRight"] * 4))["inputs"])
    assert 1 < (noisy - np.array(turned["inputs"])).std() < 4
    assert (noisy.min(), noisy.max() <= 16) == (0, True)
    same_as_the_api(tab, digits_page)

    other = after(tab, lambda: tab.click("#options .field button"))
    assert other["seed"] != three["seed"]
    same_as_the_api(tab, digits_page)
    assert tab.complaints == []
    assert {url.split("/")[2] for url in tab.requests if "://" in url} == {digits_page.split("/")[2]}


def test_the_answer_comes_on_with_the_passes(opened: Any, digits_page: str) -> None:
    tab = opened(digits_page)
    tab.run(
        "window.seen = []; new MutationObserver(() => seen.push([document.querySelector('#status').textContent,"
        "document.querySelector('.classes + p').textContent])).observe(document.querySelector('#status'),"
        "{childList: true})"
    )
    after(tab, lambda: tab.click("#run"))
    seen = tab.run("seen")
    counts = [int(text.split()[0]) for text, _ in seen if text.endswith("passes…")]
    assert counts == [*range(32, 320, 32)]
    # As many dots as passes, in each.
    assert [int(note.split()[0]) for text, note in seen if text.endswith("passes…")] == counts
    assert seen[-1][1].startswith("320 passes, each a dot")
    for canvas in (".dots", ".lines"):
        pixels = "c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
        assert tab.run(f"(c => {pixels}.some(v => v))(document.querySelector('{canvas}'))")


def test_what_is_copied_gives_the_same_numbers(opened: Any, browser: Browser, digits_page: str) -> None:
    browser.send("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    tab = opened(digits_page)
    tab.click("#copy-curl")
    tab.wait("document.querySelector('#snippets [role=status]').textContent === 'curl is copied.'")
    curl = tab.run("navigator.clipboard.readText()")
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True, timeout=30)
    means = shown(tab)["mean"]
    np.testing.assert_allclose(json.loads(done.stdout)["mean"][0], means, rtol=1e-4, atol=1e-7)
    tab.click("#copy-python")
    tab.wait("document.querySelector('#snippets [role=status]').textContent === 'Python is copied.'")
    program = tab.run("navigator.clipboard.readText()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    np.testing.assert_allclose(json.loads(done.stdout)[0], means, rtol=1e-4, atol=1e-7)


def test_by_keys_alone(opened: Any, digits_page: str) -> None:
    tab = opened(digits_page)
    tab.run("document.querySelector('#inputs .row button').focus()")
    cleared = after(tab, lambda: tab.press("Enter"))
    assert np.array(cleared["inputs"]).max() == 0
    reached = []
    tab.run("document.querySelector('.skip').focus()")
    for _ in range(40):
        tab.press("Tab")
        reached.append(tab.run("document.activeElement.id || document.activeElement.textContent"))
        style = "getComputedStyle(document.activeElement)"
        assert tab.run(f"{style}.outlineStyle !== 'none' && parseFloat({style}.outlineWidth) >= 2"), reached[-1]
        if reached[-1] == "copy-python":
            break
    assert {"drawing", "turn", "noise", "n-samples", "seed", "run", "copy-curl", "copy-python"} <= set(reached)
    tab.run("document.querySelector('#drawing').focus()")
    drawn = after(tab, lambda: tab.press("ArrowUp", "ArrowUp", " ", "ArrowDown", " "))
    pixels = np.array(drawn["inputs"])[0, :, :, 0]
    assert pixels[2:4, 4].min() > 8
    assert tab.text("#drawing-place").startswith("Row 4, column 5: ")
    same_as_the_api(tab, digits_page)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_its_contrasts_are_those_of_wcag_aa(opened: Any, digits_page: str, dark: bool) -> None:
    tab = opened(digits_page, dark=dark)
    tab.run(f"{OPEN}; document.querySelector('#token').hidden = false")
    found = tab.run((ROOT / "tests/contrasts.js").read_text())
    assert len(found) > 100
    assert [entry for entry in found if entry[2] < entry[1]] == []
    assert (tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 27)") is dark


def test_on_a_phone_nothing_is_beside_the_screen_and_fingers_draw(opened: Any, digits_page: str) -> None:
    tab = opened(digits_page, width=360, height=740)
    tab.run(OPEN)
    assert tab.run("document.documentElement.scrollWidth") == 360
    sizes = tab.run(
        "[...document.querySelectorAll('button, input, select, summary')].filter(e => e.getClientRects().length)"
        ".map(e => [e.outerHTML, e.getBoundingClientRect().width, e.getBoundingClientRect().height])"
    )
    assert [html for html, width, height in sizes if min(width, height) < 24] == []
    tab.run("document.querySelector('#inputs .row button').click(); window.scrollTo(0, 0)")
    drawn = after(tab, lambda: tab.touch("#drawing", [(0.5, y / 10) for y in range(1, 10)]))
    assert np.array(drawn["inputs"])[0, 2:6, 3:5, 0].mean() > 6
    same_as_the_api(tab, digits_page)


def test_an_error_is_told_as_text_and_goes_away(opened: Any, digits_page: str) -> None:
    tab = opened(digits_page)
    tab.run("document.querySelector('#n-samples').value = '1'; document.querySelector('#run').click()")
    tab.wait("document.querySelector('#problem').textContent.includes('n_samples')")
    assert tab.text("#problem h2") == "The request does not fit the model or the limits"
    assert tab.run("document.querySelector('#problem').getAttribute('role')") == "alert"
    after(
        tab,
        lambda: tab.run("document.querySelector('#n-samples').value = '64'; document.querySelector('#run').click()"),
    )
    assert tab.text("#problem") == ""
    assert same_as_the_api(tab, digits_page)["n_samples"] == 64


def test_a_stream_that_is_cut_is_told(opened: Any, classes: Served) -> None:
    app, cut = create_app(classes.manager), threading.Event()

    async def cutting(scope: Any, receive: Any, send: Any) -> None:
        async def first_event(message: Any) -> None:
            ending = cut.is_set() and message["type"] == "http.response.body"
            if not done:
                await send({**message, "more_body": False} if ending else message)
            done.extend([True] * ending)

        done: list[bool] = []
        await app(scope, receive, first_event)

    with on_a_port(cutting) as url:
        tab = opened(url)
        cut.set()
        tab.click("#run")
        tab.wait("document.querySelector('#problem').textContent.includes('ended before the answer')")
        cut.clear()
        after(tab, lambda: tab.click("#run"))
        assert tab.text("#problem") == ""


@pytest.fixture(scope="module")
def house(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A calibrated model of a table, with a policy, whose words would be markup if they were taken for it."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    path = tmp_path_factory.mktemp("house") / "house.keras"
    x, kind = keras.Input((2,), name="size"), keras.Input((1,), name="kind", dtype="string")
    words = layers.StringLookup(vocabulary=["flat", EVIL], output_mode="one_hot")(kind)
    hidden = layers.Dropout(0.3)(layers.Dense(16, "tanh")(layers.Concatenate()([layers.Rescaling(0.01)(x), words])))
    keras.Model([x, kind], layers.Dense(1, name="price")(hidden)).save(path)
    draw = np.random.default_rng(0)
    size = draw.uniform((20, 1), (200, 9), (150, 2)).astype(np.float32)
    rows = {"size": size, "kind": draw.choice(["flat", EVIL], (150, 1)).astype(object)}
    stored = import_model(
        path, name="page-house", tasks={None: "regression"}, data=lambda _: rows, columns={"size": ("area", "rooms")}
    )
    model = load("page-house")
    target = model.predict(rows)["price"][:, 0] + draw.normal(0, 0.1, 150)
    asked = PolicyRequest(risk=0.3, max_error=0.3)
    found = fit(model, stored.card.outputs[0], rows, target, n_samples=64, policy=asked)
    return serve(store_calibrated(stored, found.spec, note=EVIL).tag)


def test_a_table_has_its_columns_its_interval_and_its_decision(opened: Any, house: Served) -> None:
    recipe = house.manager.stored.card.recipe(house.manager.stored.card.inputs[0])
    with on_a_port(create_app(house.manager)) as url:
        tab = opened(url)
        for i, name in enumerate(("area", "rooms")):
            told = "[e.type, e.labels[0].textContent, Number(e.min), Number(e.max)]"
            found = tab.run(f"(e => {told})(document.querySelector('#value-size-{i}'))")
            assert found == ["range", name, recipe.lows[i], recipe.highs[i]]
        choices = tab.run("[...document.querySelector('#value-kind-0').options].map(e => e.textContent)")
        assert set(choices) == {"flat", EVIL}

        def compare() -> dict[str, Any]:
            answer: dict[str, Any] = httpx.post(f"{url}/predict_mc", json=body_of(tab)).json()
            numbers = shown(tab)
            pairs = {
                "mean": answer["mean"][0][0],
                "variance": answer["variance"][0][0],
                "interval-lower": answer["interval"]["lower"][0][0],
                "interval-upper": answer["interval"]["upper"][0][0],
                "score": answer["score"][0],
                "quantiles-lower": answer["quantiles"][0][0][0],
            }
            np.testing.assert_allclose([numbers[name][0] for name in pairs], list(pairs.values()), rtol=1e-4)
            assert tab.text("[data-field=decision]") == answer["decision"][0]
            return answer

        compare()
        assert (
            tab.run("document.querySelector('#n-samples').disabled && document.querySelector('#n-samples').value")
            == "64"
        )
        tab.run("document.querySelector('#value-size-0').focus()")
        before = body_of(tab)["inputs"]["size"][0]
        moved = after(tab, lambda: tab.press(*["ArrowRight"] * 5))["inputs"]["size"][0]
        assert (moved[0] - before[0], moved[1]) == (pytest.approx(5), before[1])
        compare()
        select = "(e => {{ e.value = {}; e.dispatchEvent(new Event('change')); }})(document.querySelector('{}'))"
        chosen = after(tab, lambda: tab.run(select.format(json.dumps(f"={EVIL}"), "#value-kind-0")))
        assert chosen["inputs"]["kind"] == [[EVIL]]
        compare()
        assert EVIL in tab.text("#card")
        assert tab.run("document.querySelectorAll('img').length") == 0
        curl = subprocess.run(["bash", "-c", tab.text("#code-curl")], capture_output=True, text=True, check=True)
        assert json.loads(curl.stdout)["mean"][0] == pytest.approx(shown(tab)["mean"], rel=1e-4)
        assert tab.complaints == []


def test_anything_else_is_json_and_histograms(opened: Any, several: Served) -> None:
    with on_a_port(create_app(several.manager)) as url:
        tab = opened(url)
        assert set(body_of(tab)["inputs"]) == {"x", "tokens"}
        rows = {"x": [[0.1, 0.2, 0.3]], "tokens": [[1, 2, 3, 4]]}
        write = "(e => {{ e.value = {}; e.dispatchEvent(new Event('input')); }})(document.querySelector('#json'))"
        asked = after(tab, lambda: tab.run(write.format(json.dumps(json.dumps(rows)))))
        assert asked["inputs"] == rows
        answer = httpx.post(f"{url}/predict_mc", json=asked).json()
        both = [*answer["mean"]["kind"][0], *answer["mean"]["amount"][0]]
        np.testing.assert_allclose(shown(tab)["mean"], both, rtol=1e-4, atol=1e-7)
        assert tab.run("document.querySelectorAll('.histogram').length") == 1
        assert json.loads(tab.text("#outputs pre"))["model"]["name"] == "several"
        tab.run(write.format(json.dumps("{")))
        tab.wait("document.querySelector('#json-error').textContent.startsWith('This is not JSON')")
        tab.run(write.format(json.dumps(json.dumps({"x": [[1]]}))))
        tab.wait("document.querySelector('#problem').textContent.includes('tokens')")


@pytest.fixture(scope="module")
def mask(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A segmentation into three classes with names."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    x = keras.Input((6, 8, 3), name="image")
    y = layers.SpatialDropout2D(0.4)(layers.Conv2D(8, 3, padding="same", activation="relu")(x))
    path = tmp_path_factory.mktemp("mask") / "mask.keras"
    keras.Model(x, layers.Conv2D(3, 1, activation="softmax", name="mask")(y)).save(path)
    labels: Any = {"mask": ("sky", "road", "tree")}
    import_model(path, name="page-mask", tasks={"mask": "classification"}, labels=labels)
    return serve("page-mask")


def test_a_map_is_shown_as_pictures_with_their_ends(opened: Any, mask: Served) -> None:
    with on_a_port(create_app(mask.manager)) as url:
        tab = opened(url)
        after(tab, lambda: tab.drag("#drawing", [(0.2, y / 10) for y in range(1, 7)]))
        answer = httpx.post(f"{url}/predict_mc", json=body_of(tab)).json()
        mean, spread = np.array(answer["mean"][0]), np.sqrt(np.array(answer["variance"][0]))
        told = {"mean": mean, "standard_deviation": spread}
        told |= {field: np.array(answer[field][0])[..., None] for field in ("predictive_entropy", "mutual_information")}
        numbers = shown(tab)
        for field, maps in told.items():
            for end, of in (("least", np.min), ("largest", np.max), ("average", np.mean)):
                np.testing.assert_allclose(numbers[f"{field}-{end}"], of(maps, axis=(0, 1)), rtol=1e-4, atol=1e-6)
        labels = tab.run("[...document.querySelectorAll('canvas.map')].map(e => e.getAttribute('aria-label'))")
        assert [label.partition(":")[0] for label in labels[:2]] == ["Mean of sky", "Standard deviation of sky"]
        assert len(labels) == 8
        # The lines of the map lie as those of the picture: the largest and the least number have the ends' colours.
        pixel = (
            "(c => [...c.getContext('2d').getImageData({x} * c.width, {y} * c.height, 1, 1).data])"
            "(document.querySelector('canvas.map'))"
        )
        for find, colour in ((np.argmax, [11, 92, 173, 255]), (np.argmin, [255, 255, 255, 255])):
            row, column = np.unravel_index(find(mean[..., 0]), (6, 8))
            assert tab.run(pixel.format(x=(column + 0.5) / 8, y=(row + 0.5) / 6)) == colour
        assert tab.run("(b => Math.abs(b.width / b.height - 8 / 6) < 0.05)"
                       "(document.querySelector('canvas.map').getBoundingClientRect())")  # fmt: skip
        assert tab.complaints == []


def test_a_model_without_noise_is_asked_for_its_answer(opened: Any, serve: Any, models: dict[str, str]) -> None:
    with on_a_port(create_app(serve(models["fixed"]).manager)) as url:
        tab = opened(url)
        answer = httpx.post(f"{url}/predict", json=body_of(tab)).json()
        assert shown(tab)["outputs"] == answer["outputs"][0]


@pytest.mark.long
def test_the_page_asks_for_the_token(
    opened: Any, serve: Any, models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, line = new_token("person")
    (tmp_path / "tokens").write_text(line)
    served = serve(models["classes"], tokens=tmp_path / "tokens")
    monkeypatch.setattr(http.state, "manager", served.manager, raising=False)
    monkeypatch.setattr(http.state, "tokens", Tokens(tmp_path / "tokens"), raising=False)
    with on_a_port(UncertaintyService.to_asgi()) as url:
        tab = opened(url, wait="document.activeElement.id === 'token-field'")
        assert tab.text("#problem") == ""
        assert tab.run("document.querySelector('#work').hidden")
        write = "document.querySelector('#token-field').value = {}; document.querySelector('#token button').click()"
        tab.run(write.format("'wrong'"))
        tab.wait("document.querySelector('#problem').textContent.includes('A token is needed')")
        tab.run(write.format(json.dumps(token)))
        tab.wait(ANSWERED)
        assert tab.text("#problem") == ""
        assert not tab.run("document.querySelector('#token').getClientRects().length")
        for name, command in (("curl", ["bash", "-c"]), ("python", [sys.executable, "-c"])):
            text = tab.text(f"#code-{name}")
            assert token not in text
            env = {**os.environ, "TOKEN": token}
            done = subprocess.run([*command, text], capture_output=True, text=True, check=True, env=env)
            mean = json.loads(done.stdout)
            np.testing.assert_allclose((mean["mean"] if name == "curl" else mean)[0], shown(tab)["mean"], rtol=1e-4)
