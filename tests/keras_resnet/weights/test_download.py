"""Downloads from a server of our own that also stalls, truncates and lies."""

import hashlib
import http.server
import json
import os
import pathlib
import re
import socket
import threading
import time

import keras
import pytest

from keras_resnet.weights import download

BODY = b"weights" * 5000
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path with its own kind of trouble; notes what was asked."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.server.asked.append((self.command, self.path, self.headers.get("Range")))
        if self.path.startswith("/stall") and body:
            self.headers_of_length(len(BODY))
            self.wfile.write(BODY[:100])
            self.wfile.flush()
            self.server.stop_stalling.wait(20)
        elif self.path.startswith("/truncated"):
            self.headers_of_length(len(BODY))
            self.wfile.write(BODY[:100])
        elif self.path.startswith("/short"):
            self.headers_of_length(100)
            self.wfile.write(BODY)
        elif self.path.startswith("/long"):
            self.headers_of_length(len(BODY) + 100)
            self.wfile.write(BODY)
        elif self.path.startswith("/silent"):
            self.headers_of_length(None)
            self.wfile.write(BODY)
        elif self.path.startswith("/huge"):
            self.headers_of_length(2**50)
        elif self.path.startswith("/good"):
            self.headers_of_length(len(BODY))
            self.wfile.write(BODY)
        elif (file := self.server.hub.get(self.path)) is not None:
            self.answer_as_hub(file, body)
        else:
            self.send_response(404)
            if self.path.startswith("/owner/repo/"):
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("X-Repo-Commit", COMMIT)
            elif not self.path.startswith("/missing"):
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def headers_of_length(self, length):
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer_as_hub(self, file, body):
        start = int(re.search(r"\d+", self.headers.get("Range", "0"))[0])
        content = file["content"][start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{file["etag"]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Size", str(len(file["content"])))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: file.get("breaks_after")])
            if file.get("stalls"):
                self.server.stop_stalling.wait(20)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def running_server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.stop_stalling = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.stop_stalling.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(running_server, tmp_path, monkeypatch):
    """The server, and caches of this test alone."""
    constants = pytest.importorskip("huggingface_hub.constants")
    running_server.asked = []
    running_server.hub = {}
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    # What HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_DISABLE_XET set at the first import.
    monkeypatch.setattr(constants, "ENDPOINT", running_server.url)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        running_server.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return running_server


def files_in(folder):
    """All files but the hub's notes of what it asked."""
    notes = {".locks", ".no_exist", "refs", "CACHEDIR.TAG"}
    return [
        path
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file() and not notes.intersection(path.parts)
    ]


def put_on_hub(server, name, content, etag=None, **trouble):
    server.hub[f"/owner/repo/resolve/main/{name}"] = {
        "content": content,
        "etag": etag or hashlib.sha256(content).hexdigest(),
        **trouble,
    }


@pytest.mark.parametrize(
    "checksum", [f"sha256:{SHA256}", f"sha256:{SHA256[:8].upper()}", f"md5:{MD5}"]
)
def test_downloads_once(server, tmp_path, checksum):
    path = download.fetch(f"{server.url}/good/net.pth?raw=1", checksum)
    assert pathlib.Path(path).read_bytes() == BODY
    assert pathlib.Path(path).name == "net.pth"
    asked = len(server.asked)
    assert download.fetch(f"{server.url}/good/net.pth?raw=1", checksum) == path
    assert len(server.asked) == asked
    assert files_in(tmp_path) == [pathlib.Path(path)]


def test_checksum_at_the_end_of_the_url(server):
    path = download.fetch(f"{server.url}/good/net.pth#sha256={SHA256[:10]}")
    assert pathlib.Path(path).read_bytes() == BODY
    assert all(asked == ("GET", "/good/net.pth", None) for asked in server.asked)


def test_files_of_one_name_live_side_by_side(server):
    other = download.fetch(
        f"{server.url}/short/net.pth", f"md5:{hashlib.md5(BODY[:100]).hexdigest()}"
    )
    path = download.fetch(f"{server.url}/good/net.pth", f"md5:{MD5}")
    assert pathlib.Path(other).read_bytes() == BODY[:100]
    assert pathlib.Path(path).read_bytes() == BODY


def test_what_keras_downloaded_is_used_and_never_touched(server, tmp_path):
    cached = pathlib.Path(
        keras.utils.get_file(
            "net.h5",
            f"{server.url}/good/net.h5",
            cache_dir=str(tmp_path / "keras"),
            cache_subdir="models",
        )
        if (tmp_path / "keras").mkdir() is None
        else ""
    )
    server.asked.clear()
    assert download.fetch(f"{server.url}/good/net.h5", f"md5:{MD5}") == str(cached)
    assert server.asked == []
    cached.write_bytes(b"something else of that name")
    path = download.fetch(f"{server.url}/good/net.h5", f"md5:{MD5}")
    assert pathlib.Path(path).read_bytes() == BODY
    assert cached.read_bytes() == b"something else of that name"


def test_a_damaged_cache_is_mended(server):
    path = pathlib.Path(download.fetch(f"{server.url}/good/net.h5", f"md5:{MD5}"))
    path.write_bytes(BODY[:-1])
    assert download.fetch(f"{server.url}/good/net.h5", f"md5:{MD5}") == str(path)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/stall/net.pth", "timed out"),
        ("/truncated/net.pth", "retrieval incomplete: got only 100 out of 35000"),
        ("/long/net.pth", "retrieval incomplete: got only 35000 out of 35100"),
        ("/short/net.pth", "does not have the checksum 'md5:"),
        ("/silent/net.pth", "does not tell its size"),
        ("/huge/net.pth", "bytes are more than the limit of"),
        ("/missing/net.pth", "404"),
    ],
)
def test_nothing_of_a_failed_download_stays(
    server, tmp_path, monkeypatch, path, reason
):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    started = time.monotonic()
    with pytest.raises(ValueError, match=re.escape(reason)) as error:
        download.fetch(server.url + path, f"md5:{MD5}")
    assert time.monotonic() - started < 5
    assert server.url + path in str(error.value)
    assert "\n" not in str(error.value)
    assert files_in(tmp_path) == []
    assert socket.getdefaulttimeout() is None


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(
        ValueError, match="does not have the checksum 'sha256:00000000'"
    ):
        download.fetch(f"{server.url}/good/net.pth", "sha256:00000000")
    assert files_in(tmp_path) == []


def test_size_limit(server, tmp_path):
    url = f"{server.url}/good/net.pth"
    with pytest.raises(ValueError, match=f"{len(BODY)} bytes are more than the limit"):
        download.fetch(url, f"md5:{MD5}", max_bytes=len(BODY) - 1)
    assert files_in(tmp_path) == []
    download.fetch(url, f"md5:{MD5}", max_bytes=len(BODY))


def test_no_connection(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/net.pth"
        with pytest.raises(ValueError, match="refused.*connection.*pass its path"):
            download.fetch(url, f"md5:{MD5}")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("source", "checksum", "message"),
    [
        ("http://127.0.0.1/net.pth", None, "needs a checksum.*#sha256="),
        ("http://127.0.0.1/", f"md5:{MD5}", "names no file"),
        ("http://127.0.0.1/net.pth", "sha256:1234", "at least its first 8"),
        ("http://127.0.0.1/net.pth", f"md5:{MD5[:8]}", "all 32"),
        ("http://127.0.0.1/net.pth", SHA256, "A checksum is"),
        ("http://127.0.0.1/net.pth#crc=1234", None, "A checksum is"),
        (
            "ftp://127.0.0.1/net.pth",
            f"md5:{MD5}",
            "begins with https://, http://, hf://",
        ),
        ("kaggle://keras/a/keras/b", f"md5:{MD5}", "a folder, which has no checksum"),
        ("hf://owner", None, "not of the form hf://owner/repository"),
    ],
)
def test_refused_before_anything_is_asked(source, checksum, message):
    with pytest.raises(ValueError, match=message):
        download.fetch(source, checksum)


def test_hub_file(server):
    put_on_hub(server, "model.safetensors", BODY)
    path = download.fetch("hf://owner/repo")
    assert pathlib.Path(path).read_bytes() == BODY
    assert path.endswith(f"models--owner--repo/snapshots/{COMMIT}/model.safetensors")
    gets = [asked for asked in server.asked if asked[0] == "GET"]
    assert download.fetch("hf://owner/repo/model.safetensors") == path
    assert download.fetch("hf://owner/repo@main", f"sha256:{SHA256[:8]}") == path
    assert [asked for asked in server.asked if asked[0] == "GET"] == gets


def test_hub_offline(server, monkeypatch):
    put_on_hub(server, "pytorch_model.bin", BODY)
    path = download.fetch("hf://owner/repo")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    server.asked.clear()
    assert download.fetch("hf://owner/repo") == path
    with pytest.raises(ValueError, match="'hf://owner/other'.*the cache holds none of"):
        download.fetch("hf://owner/other")
    assert server.asked == []


def test_hub_resumes_where_the_connection_broke(server, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.file_download.time.sleep", lambda seconds: None
    )
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    put_on_hub(server, "model.safetensors", BODY, breaks_after=30_000)
    path = download.fetch("hf://owner/repo")
    assert pathlib.Path(path).read_bytes() == BODY
    ranges = [asked[2] for asked in server.asked if asked[0] == "GET"]
    assert len(ranges) == 2 and re.fullmatch("bytes=[1-9][0-9]*-", ranges[1])


def test_hub_truncation_leaves_nothing(server, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.file_download.time.sleep", lambda seconds: None
    )
    put_on_hub(server, "model.safetensors", BODY, breaks_after=0)
    with pytest.raises(ValueError, match="Cannot fetch 'hf://owner/repo'"):
        download.fetch("hf://owner/repo")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("checksum", [None, "sha256:00000000"])
def test_hub_file_with_a_wrong_checksum_leaves_nothing(server, tmp_path, checksum):
    # The hub names the file by the SHA-256 of another, or the caller knows better.
    etag = hashlib.sha256(b"other").hexdigest() if checksum is None else SHA256
    put_on_hub(server, "model.safetensors", BODY, etag=etag)
    with pytest.raises(
        ValueError, match="'hf://owner/repo'.*does not have the checksum"
    ):
        download.fetch("hf://owner/repo", checksum)
    assert files_in(tmp_path) == []


def test_hub_size_limit(server, tmp_path):
    put_on_hub(server, "model.safetensors", BODY)
    with pytest.raises(ValueError, match="35000 bytes of 'model.safetensors'"):
        download.fetch("hf://owner/repo", max_bytes=100)
    assert all(command == "HEAD" for command, _, _ in server.asked)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf://nobody/nothing", "Cannot fetch 'hf://nobody/nothing'"),
        ("hf://owner/repo/other.bin", "the repository holds none of other.bin"),
        ("hf://owner/repo", "model.safetensors, pytorch_model.bin and no KerasHub"),
    ],
)
def test_hub_without_the_file(server, tmp_path, source, message):
    with pytest.raises(ValueError, match=message):
        download.fetch(source)
    assert files_in(tmp_path) == []


def test_hub_keras_hub_preset(server):
    for name in ("config.json", "task.json"):
        put_on_hub(server, name, json.dumps({"name": name}).encode(), etag="0" * 40)
    put_on_hub(server, "task.weights.h5", BODY)
    folder = download.fetch("hf://owner/repo")
    assert sorted(os.listdir(folder)) == ["config.json", "task.json", "task.weights.h5"]


def test_kaggle_preset(monkeypatch, tmp_path):
    kagglehub = pytest.importorskip("kagglehub")
    asked = []
    monkeypatch.setattr(
        kagglehub, "model_download", lambda handle: asked.append(handle) or "/folder"
    )
    assert (
        download.fetch("kaggle://keras/resnetv1/keras/resnet_18_imagenet/3")
        == "/folder"
    )
    assert asked == ["keras/resnetv1/keras/resnet_18_imagenet/3"]


@pytest.mark.parametrize(
    ("source", "package"),
    [("kaggle://keras/a/keras/b", "kagglehub"), ("hf://a/b", "huggingface_hub")],
)
def test_package_absent(monkeypatch, source, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ValueError, match=f"{source}.*needs the package {package}"):
        download.fetch(source)
