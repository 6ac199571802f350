"""The page on which people try what is served."""

import base64
import hashlib
import html
import re
import string
from collections.abc import Sequence
from pathlib import Path

_TEXT = string.Template(
    Path(__file__).with_name("page.html").read_text(encoding="utf-8")
)


def page_of(models: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Returns the page as HTML, and the headers it is sent with.

    It loads nothing, and sends images to its own server only: its policy allows no
    other address, and no script but the one within.

    Args:
        models: Names to choose from; one may also be typed.

    Example:

    >>> text, headers = page_of(["resnet20"])
    """
    names = [html.escape(name) for name in models]
    text = _TEXT.substitute(
        first=names[0] if names else "",
        options="".join(f'<option value="{name}"></option>' for name in names),
    )
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; connect-src 'self'; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return text, {
        "Content-Security-Policy": policy,
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-store",
    }
