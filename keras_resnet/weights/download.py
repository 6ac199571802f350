"""From a source on the network to a whole, verified file on this machine."""

import contextlib
import hashlib
import importlib
import os
import posixpath
import re
import socket
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import keras

from keras_resnet.weights.files import MAX_BYTES

TIMEOUT = 30.0
"""Seconds without a byte after which a server has stalled."""

# What a repository may hold, best first: one file of tensors, or a KerasHub preset.
_HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_KERAS_HUB_FILES = (
    "config.json",
    "metadata.json",
    "task.json",
    "preprocessor.json",
    "image_converter.json",
    "task.weights.h5",
    "model.weights.h5",
)

_DIGITS = {"md5": range(32, 33), "sha256": range(8, 65)}
_CHECKSUM = re.compile(r"(md5|sha256)[:=]([0-9a-f]+)", re.IGNORECASE)
_HUB_SOURCE = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<file>.+))?"
)


def fetch(
    source: str, checksum: str | None = None, *, max_bytes: int = MAX_BYTES
) -> str:
    """Downloads weights once, and finds them in a cache afterwards.

    A URL is fetched by `keras.utils.get_file` into Keras' cache (`KERAS_HOME`), where
    what `keras.applications` downloaded is found too; an interrupted download starts
    again. `hf://` is fetched by huggingface_hub into its cache (`HF_HOME`,
    `HF_ENDPOINT` and `HF_HUB_OFFLINE` mean there what they always mean), which resumes
    when a connection breaks, and `kaggle://` by kagglehub where that is installed. Only
    what is whole and right is cached.

    Args:
        source: `https://...`, `hf://owner/repository[@revision][/file]` or
            `kaggle://owner/model/framework/variation[/version]`.
        checksum: `"sha256:..."`, whole or its first eight or more digits, or
            `"md5:..."`. A URL needs one, here or at its end: `url#sha256=...`.
            Files of the Hugging Face hub are checked by the hub's own SHA-256 too.
        max_bytes: Size above which a file is refused; kagglehub does not ask for it.

    Returns:
        The path of the file; of a folder for a KerasHub preset.

    Raises:
        ValueError: If the source cannot be had whole, right and small enough; nothing
            is cached then.

    Example:

    >>> fetch("hf://timm/resnet18.a1_in1k")
    '.../hub/models--timm--resnet18.a1_in1k/snapshots/.../model.safetensors'
    """
    scheme = source.split("://")[0]
    if scheme not in _FETCHERS:
        raise ValueError(
            f"Cannot fetch {source!r}: a source begins with "
            f"{', '.join(f'{known}://' for known in _FETCHERS)}."
        )
    if checksum is not None:
        _parse(checksum)
    return _FETCHERS[scheme](source, checksum, max_bytes)


def _fetch_url(source: str, checksum: str | None, max_bytes: int) -> str:
    url, fragment = urllib.parse.urldefrag(source)
    checksum = checksum or fragment
    if not checksum:
        raise ValueError(
            f"{url!r} needs a checksum, so that nobody can change what is loaded: pass "
            "`checksum='sha256:...'`, or end the URL with `#sha256=...`."
        )
    _, digits = _parse(checksum)
    name = posixpath.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
    if name in ("", ".", ".."):
        raise ValueError(
            f"{url!r} names no file: give the URL of the weights themselves."
        )
    home = os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras")
    folder = os.path.join(home, "models", "keras_resnet")
    path = os.path.join(folder, digits[:8], name)
    for cached in (os.path.join(home, "models", name), path):
        if os.path.isfile(cached) and _matches(cached, checksum):
            return cached
    with _one_sentence(url):
        os.makedirs(folder, exist_ok=True)
        # In a folder of its own, which vanishes with whatever a failure leaves in it.
        with tempfile.TemporaryDirectory(dir=folder) as temporary, _socket_timeout():
            _check_size(url, max_bytes)
            downloaded = keras.utils.get_file(
                name, url, cache_dir=temporary, cache_subdir=""
            )
            if not _matches(downloaded, checksum):
                raise _Unusable(
                    f"what arrived does not have the checksum {checksum!r}; try again, "
                    "or ask its publisher for the right one"
                )
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.replace(downloaded, path)
    return path


def _check_size(url: str, max_bytes: int) -> None:
    """Refuses what is too large before it is downloaded.

    Python reads no more of an answer than its announced length, so that one which lies
    fails later, by its checksum.
    """
    with urllib.request.urlopen(url) as response:
        size = response.headers.get("Content-Length")
    if size is None or not size.isdecimal():
        raise _Unusable("the server does not tell its size; download it by other means")
    if int(size) > max_bytes:
        raise _Unusable(f"its {size} bytes are more than the limit of {max_bytes}")


def _fetch_hub(source: str, checksum: str | None, max_bytes: int) -> str:
    match = _HUB_SOURCE.fullmatch(source)
    if match is None:
        raise ValueError(
            f"{source!r} is not of the form hf://owner/repository[@revision][/file]."
        )
    huggingface_hub = _import("huggingface_hub", source)
    errors = _import("huggingface_hub.errors", source)
    repo, revision, file = match["repo"], match["revision"], match["file"]

    def download(name: str) -> str | None:
        try:
            info = huggingface_hub.hf_hub_download(
                repo, name, revision=revision, dry_run=True
            )
            if info.file_size > max_bytes:
                raise _Unusable(
                    f"the {info.file_size} bytes of {name!r} are more than the limit "
                    f"of {max_bytes}"
                )
            path = huggingface_hub.hf_hub_download(repo, name, revision=revision)
        except errors.LocalEntryNotFoundError:
            # Offline, another of the files may be in the cache; without a connection
            # that should be there, all would be waited for in vain.
            if not huggingface_hub.is_offline_mode():
                raise
            return None
        except errors.EntryNotFoundError:
            return None
        _check_hub_file(path, checksum)
        return path

    with _one_sentence(source):
        for name in (file,) if file else _HUB_WEIGHTS:
            path = download(name)
            if path is not None:
                return path
        if file is None and checksum is None:
            paths = [download(name) for name in _KERAS_HUB_FILES]
            if paths[0] is not None and any(paths[-2:]):
                return os.path.dirname(paths[0])
        place = "cache" if huggingface_hub.is_offline_mode() else "repository"
        raise _Unusable(
            f"the {place} holds none of {', '.join([file] if file else _HUB_WEIGHTS)}"
            + (
                ""
                if file
                else " and no KerasHub preset; name a file after the repository"
            )
        )


def _check_hub_file(path: str, checksum: str | None) -> None:
    """Compares a file with the checksums that are known for it, or removes it."""
    blob = os.path.realpath(path)
    known = [checksum] if checksum else []
    # The hub's cache names a large file by its SHA-256, but does not compare them.
    if re.fullmatch("[0-9a-f]{64}", os.path.basename(blob)):
        known.append(f"sha256:{os.path.basename(blob)}")
    for expected in known:
        if not _matches(blob, expected):
            for stale in {path, blob}:
                os.remove(stale)
            raise _Unusable(
                f"what arrived does not have the checksum {expected!r}; try again"
            )


def _fetch_kaggle(source: str, checksum: str | None, max_bytes: int) -> str:
    if checksum is not None:
        raise ValueError(
            f"{source!r} is a folder, which has no checksum: leave `checksum` out, or "
            "download the folder by other means and pass its path."
        )
    kagglehub = _import("kagglehub", source)
    with _one_sentence(source):
        return kagglehub.model_download(source.removeprefix("kaggle://"))


_FETCHERS = {
    "https": _fetch_url,
    "http": _fetch_url,
    "hf": _fetch_hub,
    "kaggle": _fetch_kaggle,
}


class _Unusable(Exception):
    """Why a source cannot be used, to be completed by its name."""


@contextlib.contextmanager
def _one_sentence(source: str) -> Iterator[None]:
    """Turns what the libraries below raise into one sentence that names the source."""
    try:
        yield
    except _Unusable as error:
        raise ValueError(f"Cannot use {source!r}: {error}.") from error
    # They raise their own errors, those of HTTP and of sockets, and bare Exceptions.
    except Exception as error:
        reason = (
            (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        )
        raise ValueError(
            f"Cannot fetch {source!r} ({reason}): check the address and the "
            "connection, or download it by other means and pass its path."
        ) from error


@contextlib.contextmanager
def _socket_timeout() -> Iterator[None]:
    """Lets stalled reads fail: `get_file` takes no timeout, sockets have a default."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _import(package: str, source: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ValueError(
            f"Fetching {source!r} needs the package {package}: install it, or download "
            "the weights by other means and pass their path."
        ) from error


def check(path: str, checksum: str) -> None:
    """Compares a file with its checksum.

    Args:
        path: The file.
        checksum: `"sha256:..."` or `"md5:..."`, as for `fetch`.

    Raises:
        ValueError: If it has another, or is no file.

    Example:

    >>> check("resnet18-f37072fd.pth", "sha256:f37072fd")
    """
    if not os.path.isfile(path) or not _matches(path, checksum):
        raise ValueError(
            f"{path!r} is not a file with the checksum {checksum!r}: get it anew, or "
            "leave `checksum` out."
        )


def _parse(checksum: str) -> tuple[str, str]:
    match = _CHECKSUM.fullmatch(checksum)
    if match is None or len(match[2]) not in _DIGITS[match[1].lower()]:
        raise ValueError(
            "A checksum is 'sha256:' and at least its first 8 hexadecimal digits, or "
            f"'md5:' and all 32, got {checksum!r}."
        )
    return match[1].lower(), match[2].lower()


def _matches(path: str, checksum: str) -> bool:
    algorithm, digits = _parse(checksum)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest().startswith(digits)
