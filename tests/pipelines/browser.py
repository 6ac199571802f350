"""A real browser without a window, which says what it makes of a page."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest

# Written into a copy of the page, whose policy allows no script of its own.
PROBE = """<script>
const said = [];
addEventListener("error", event => said.push(event.message), true);
addEventListener("load", () => {
  const images = [...document.images];
  const root = document.documentElement;
  const facts = {
    images: images.length,
    loaded: images.filter(image => image.complete && image.naturalWidth > 0).length,
    described: images.filter(image => image.alt).length,
    overflow: root.scrollWidth - root.clientWidth,
    ground: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    charts: document.querySelectorAll("svg[aria-label]").length,
    headings: [...document.querySelectorAll("h2")].map(one => one.textContent),
    anomalies: [...document.querySelectorAll(".anomaly")].map(one => one.innerText),
    scripts: document.scripts.length,
    bad: [...document.querySelectorAll("path")]
      .filter(one => one.getTotalLength() === 0 || /NaN|inf/i.test(one.outerHTML))
      .length,
    errors: said,
  };
  root.setAttribute("data-facts", JSON.stringify(facts));
});
</script>"""


def facts_of(path, width=1200, *, dark=False):
    """Returns what a browser says of a page."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium on this machine's PATH")
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', PROBE, text)
    probed = path.with_name(f"probed-{width}-{dark}.html")
    probed.write_text(text, encoding="utf-8")
    result = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={path.parent / 'browser'}",
            f"--window-size={width},1000",
            *(["--blink-settings=preferredColorScheme=0"] if dark else []),
            "--dump-dom",
            probed.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    parser = FactsParser()
    parser.feed(result.stdout)
    return parser.facts


class FactsParser(html.parser.HTMLParser):
    facts = None

    def handle_starttag(self, tag, attributes):
        if tag == "html":
            self.facts = json.loads(dict(attributes)["data-facts"])


def brightness(colour):
    return sum(map(int, re.findall(r"\d+", colour)[:3]))
