"""What the tests of sources share: writing data, and telling what is found in it."""

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import strategies as st

from pipelines.data.sources import open_source
from pipelines.data.sources.source import SPLIT_WORDS
from pipelines.errors import UserError


def write(root, *names):
    """Writes files whose contents are their names: sources do not look into images."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return str(root)


def read(source):
    """Returns what the source gives, with the bytes, sorted by name."""
    return sorted(image._replace(content=image.content.read()) for image in source)


def found(source):
    """Returns name -> (class, split), having checked that names tell images apart."""
    images = list(source)
    places = {image.name: (image.class_name, image.split) for image in images}
    assert len(places) == len(images)
    return places


def refusal(data):
    """Returns the sentence, having checked that it is one."""
    with pytest.raises(UserError) as caught:
        read(open_source(str(data)))
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def pack(path, folder, root):
    """Packs a folder by the archive's suffix, with `root` as its name inside."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for top, _, names in os.walk(folder):
                for name in (".", *names):
                    member = os.path.join(root, os.path.relpath(top, folder), name)
                    archive.write(os.path.join(top, name), member)
    else:
        kind = {".tar": "", ".tgz": "gz"}.get(path.suffix, path.suffix[1:])
        with tarfile.open(path, f"w:{kind}") as archive:
            archive.add(folder, root)
    return str(path)


def tar_with(path, **extra):
    """Writes a good archive with one more member at its end."""
    with tarfile.open(path, "w") as archive:
        for name in ("a/1.jpg", "b/1.jpg"):
            archive.addfile(tarfile.TarInfo(name))
        member = tarfile.TarInfo()
        for key, value in extra.items():
            setattr(member, key, value)
        archive.addfile(member)
    return path


def zip_with(path, name, mode=stat.S_IFREG):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.jpg", b"1")
        archive.writestr("b/1.jpg", b"1")
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, b"1.jpg")
    return path


NAMES = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="/\\:"
    ),
    min_size=1,
    max_size=12,
).filter(lambda name: not name.startswith(".") and name.lower() not in SPLIT_WORDS)
"""Names of files and folders, of any characters."""


def archive_of(folder, suffix, names):
    path = Path(folder) / f"x{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, name.encode())
    else:
        with tarfile.open(path, "w") as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(name.encode())
                archive.addfile(info, io.BytesIO(name.encode()))
    return str(path)
