"""The server's page, used in a real browser."""

import asyncio

import pytest
import requests
import tensorflow as tf
from browser import brightness
from driven import tab
from serving_process import served

from pipelines.components.pusher import pusher
from pipelines.serving.server.configuration import ModelConfig
from pipelines.serving.signatures import ATTENTION_SIGNATURE, BYTES_SIGNATURE

CARDS = """[...document.querySelectorAll("article")].map(card => ({
    name: card.querySelector("h2").textContent,
    error: card.querySelector(".error").textContent,
    columns: card.querySelector(".columns").checkVisibility(),
    classes: [...card.querySelectorAll("li b")].map(one => one.textContent),
    shares: [...card.querySelectorAll(".share")].map(one => one.textContent),
    widths: [...card.querySelectorAll(".bar")].map(
        one => one.firstChild.offsetWidth / one.offsetWidth),
    pressed: card.querySelectorAll("button[aria-pressed=true]").length,
    times: [...card.querySelectorAll("dd")].map(one => parseFloat(one.textContent)),
    stages: [...card.querySelectorAll("input")].map(one => one.value),
    stage: card.querySelector("input:checked")?.value,
    map: card.querySelector("canvas").getAttribute("aria-label"),
    heat: [...card.querySelector("canvas").getContext("2d").getImageData(
        0, 0, card.querySelector("canvas").width, card.querySelector("canvas").height
    ).data].filter((_, index) => index % 4 === 3),
}))"""
PAGE = """({
    overflow: document.body.scrollWidth - innerWidth,
    ground: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    said: document.querySelector("[aria-live]").textContent,
    nameless: [...document.querySelectorAll("input, canvas, img, button, fieldset")]
        .filter(one => one.checkVisibility() && !(one.labels?.length || one.alt
            || one.ariaLabel || one.textContent.trim())).length,
})"""


@pytest.fixture(scope="module")
def version(tiny_model, tmp_path_factory):
    return pusher(tiny_model, tmp_path_factory.mktemp("run") / "serving")


@pytest.fixture(scope="module")
def images(drawings, tmp_path_factory):
    """A drawing, and a file that is no image."""
    folder = tmp_path_factory.mktemp("images")
    (record,) = tf.data.TFRecordDataset(drawings.files("validation")).take(1)
    example = tf.train.Example.FromString(record.numpy())
    (encoded,) = example.features.feature["image/encoded"].bytes_list.value
    (folder / "<b>drawing.png").write_bytes(encoded)
    (folder / "notes.png").write_text("no image")
    return folder / "<b>drawing.png", folder / "notes.png"


def test_images_are_answered_on_the_page(version, images, tmp_path):
    encoded = images[0].read_bytes()
    signatures = tf.saved_model.load(str(version)).signatures
    answer = signatures[BYTES_SIGNATURE](image_bytes=tf.constant([encoded]))
    classes = [each.decode() for each in answer["classes"][0].numpy()]

    def heat(rank, stage):
        maps = signatures[ATTENTION_SIGNATURE](
            image_bytes=tf.constant([encoded]), rank=tf.constant([rank], tf.int64)
        )
        return pytest.approx((170 * maps[stage][0].numpy()).ravel(), abs=1)

    async def use(address):
        async with tab(address, tmp_path / "browser") as page:
            await page.choose("#files", *images)
            await page.until("document.querySelector('.error')?.textContent")
            bad, good = await page.tell(CARDS)
            assert bad["name"] == "notes.png"
            assert bad["error"] == "This is no image that the model can use."
            assert not bad["columns"]
            assert good["name"] == "<b>drawing.png"
            assert good["classes"] == classes
            shares = answer["probabilities"][0].numpy()
            assert good["shares"] == [f"{100 * share:.1f}%" for share in shares]
            assert good["widths"] == pytest.approx(shares, abs=0.01)
            decoded, network, whole = good["times"]
            assert min(decoded, whole) > 0
            assert network == pytest.approx(max(0, whole - decoded), abs=0.2)
            assert good["stages"] == ["conv2", "conv3", "conv4", "nowhere"]
            assert good["stage"] == "conv4"
            assert good["heat"] == heat(0, "conv4")
            assert good["map"].startswith(
                f"What speaks for {classes[0]} in conv4: most"
            )
            # With the keyboard alone: the second class, and another stage.
            await page.tell("document.querySelectorAll('li button')[1].focus()")
            await page.press("Enter", 13)
            await page.until(
                "document.querySelectorAll('li button')[1].ariaPressed === 'true'"
            )
            await page.tell("document.querySelector('input:checked').focus()")
            await page.press("ArrowUp", 38)
            _, good = await page.tell(CARDS)
            assert (good["pressed"], good["stage"]) == (1, "conv3")
            assert good["heat"] == heat(1, "conv3")
            light = await page.tell(PAGE)
            assert brightness(light["ground"]) > 600 > 200 > brightness(light["ink"])
            assert light["nameless"] == 0
            await page.do(
                "Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": "dark"}],
            )
            await page.do(
                "Emulation.setDeviceMetricsOverride",
                **{"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True},
            )
            dark = await page.tell(PAGE)
            assert brightness(dark["ground"]) < 200 < 600 < brightness(dark["ink"])
            assert dark["overflow"] == 0

    with served(ModelConfig("resnet20", version.parent)) as server:
        asyncio.run(use(server.rest))


def test_page_loads_nothing_and_tells_no_names_without_the_key(version):
    with served(ModelConfig("resnet20", version.parent), api_key="secret") as server:
        response = requests.get(server.rest)
    assert response.status_code == 200
    assert "resnet20" not in response.text
    assert "//" not in response.text.replace("// ", "")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
