"""Archives that are made to harm: they are refused, or bounded."""

import contextlib
import copy
import gzip
import io
import os
import pathlib
import stat
import tarfile
import tempfile
import time
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opened import NAMES, archive_of, pack, read, refusal, tar_with, write, zip_with

from pipelines.data.sources import open_source, tars
from pipelines.data.sources.content import MAX_IMAGE_BYTES
from pipelines.errors import UserError


@pytest.mark.parametrize(
    "extra, reason",
    [
        ({"name": "/etc/1.jpg"}, "has an absolute name"),
        ({"name": "C:/1.jpg"}, "has an absolute name"),
        ({"name": "../1.jpg"}, "leads out"),
        ({"name": "a/../../1.jpg"}, "leads out"),
        ({"name": "../readme.txt"}, "leads out"),
        ({"name": "a/2.jpg", "type": tarfile.SYMTYPE, "linkname": "1.jpg"}, "a link"),
        ({"name": "a/2.jpg", "type": tarfile.LNKTYPE, "linkname": "a/1.jpg"}, "a link"),
        ({"name": "null", "type": tarfile.CHRTYPE}, "a device"),
        ({"name": "pipe", "type": tarfile.FIFOTYPE}, "a device"),
    ],
)
def test_tar_with_an_unsafe_member_is_refused_before_its_first_image(
    tmp_path, extra, reason
):
    images = iter(open_source(str(tar_with(tmp_path / "x.tar", **extra))))
    with pytest.raises(UserError, match=r"x\.tar is refused") as caught:
        next(images)
    assert repr(extra["name"]) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "name, mode, reason",
    [
        ("/etc/1.jpg", stat.S_IFREG, "has an absolute name"),
        ("C:\\1.jpg", stat.S_IFREG, "has an absolute name"),
        ("../1.jpg", stat.S_IFREG, "leads out"),
        ("..\\1.jpg", stat.S_IFREG, "leads out"),
        ("a/2.jpg", stat.S_IFLNK, "a link"),
        ("a/2.jpg", stat.S_IFIFO, "a device"),
    ],
)
def test_zip_with_an_unsafe_member_is_refused_before_its_first_image(
    tmp_path, name, mode, reason
):
    images = iter(open_source(str(zip_with(tmp_path / "x.zip", name, mode))))
    with pytest.raises(UserError, match=r"x\.zip is refused") as caught:
        next(images)
    assert reason in str(caught.value)


@given(
    before=st.lists(NAMES, max_size=3),
    after=st.lists(NAMES, max_size=3),
    suffix=st.sampled_from([".tar", ".zip"]),
)
@settings(max_examples=40, deadline=None)
def test_any_name_that_leads_out_is_refused(before, after, suffix):
    name = "/".join([*before, "..", *after, "1.jpg"])
    with tempfile.TemporaryDirectory() as folder:
        path = archive_of(folder, suffix, ["a/1.jpg", name, "b/1.jpg"])
        assert f"its member {name!r} leads out" in refusal(path)


def memory_of(function):
    """Returns the greatest memory that Python takes for a call, in bytes."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def tiny_tar(path, count):
    header = bytearray(tarfile.TarInfo("0/0000000.jpg").tobuf())
    with open(path, "wb") as file:
        for i in range(count):
            header[:13] = b"%d/%07d.jpg" % (i % 2, i)
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
            file.write(header)
        file.write(bytes(1024))
    return path


def tiny_zip(path, count):
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(count):
            archive.writestr(f"{i % 2}/{i:07}.jpg", b"")
    return path


@pytest.mark.parametrize("make, bytes_each", [(tiny_tar, 10), (tiny_zip, 700)])
def test_memory_for_many_members(tmp_path, make, bytes_each):
    suffix = make.__name__.removeprefix("tiny_")
    paths = [make(tmp_path / f"{count}.{suffix}", count) for count in (500, 6000)]
    few, many = (memory_of(lambda p=p: count_images(p)) for p in paths)
    assert many - few < 5500 * bytes_each


def count_images(path):
    return sum(1 for _ in open_source(str(path)))


def huge_tar(path, size):
    with tarfile.open(path, "w") as archive:
        for name in ("a/1.jpg", "b/1.jpg"):
            archive.addfile(tarfile.TarInfo(name))
    info = tarfile.TarInfo("b/2.jpg")
    info.size = size
    content = path.read_bytes()[:1024] + info.tobuf()
    path.write_bytes(content)
    os.truncate(path, len(content) + size + 1024)
    return path


def huge_tar_gz(path, size):
    huge_tar(path, size)
    with open(path, "rb") as file:
        headers = file.read(3 * tarfile.BLOCKSIZE)
    path.write_bytes(gzip.compress(headers))
    return path


def huge_zip(path, size):
    zip_with(path, "b/2.jpg")
    content = bytearray(path.read_bytes())
    last_entry = content.rindex(b"PK\1\2")
    content[last_entry + 24 : last_entry + 28] = size.to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "make, archive",
    [(huge_tar, "x.tar"), (huge_tar_gz, "x.tar.gz"), (huge_zip, "x.zip")],
)
def test_huge_image_is_refused_before_it_is_read(tmp_path, make, archive):
    path = make(tmp_path / archive, MAX_IMAGE_BYTES + 1)
    sentence = ""

    def refuse():
        nonlocal sentence
        sentence = refusal(path)

    assert memory_of(refuse) < 2**20
    assert f"'b/2.jpg' in {path} is larger than 256 MiB" in sentence


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE]
)
def test_name_that_expands_without_bound(tmp_path, kind):
    info = tarfile.TarInfo("a/1.jpg")
    info.type, info.size = kind, 64 * 2**20
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf() + bytes(64 * 2**20), 1))
    assert memory_of(lambda: refusal(path)) < 2**20
    assert "x.tar.gz is damaged" in refusal(path)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("extended", [False, True])
def test_member_of_negative_size(tmp_path, kind, extended):
    """It would be read again and again, or to the end of the file."""
    info = tarfile.TarInfo("a/1.jpg")
    info.type = kind
    if extended:
        info.pax_headers = {"size": "-1536"}  # Back to this header.
        header = info.tobuf(tarfile.PAX_FORMAT)
    else:
        info.size = -1024
        header = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar").write_bytes(
        tarfile.TarInfo("b/1.jpg").tobuf() + header + bytes(1024)
    )
    assert "x.tar is damaged" in refusal(tmp_path / "x.tar")


def test_zip_member_that_is_larger_than_it_says(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/1.jpg", b"1")
        archive.writestr("a/1.jpg", bytes(32 * 2**20))
        archive.filelist[1].file_size = 10
    assert memory_of(lambda: refusal(path)) < 2**20
    assert f"'a/1.jpg' in {path} is damaged" in refusal(path)


def test_zip_members_that_share_bytes(tmp_path):
    """As in the zip bomb of Fifield (2019)."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.jpg", b"1")
        archive.writestr("b/1.jpg", b"1")
        again = copy.copy(archive.filelist[0])
        again.filename = "a/2.jpg"
        archive.filelist.append(again)
    assert "'a/1.jpg' and 'a/2.jpg' overlap" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_with_two_members_of_one_name(tmp_path):
    assert "'a/1.jpg' is there more than once" in refusal(
        zip_with(tmp_path / "x.zip", "a/1.jpg")
    )


def test_encrypted_zip(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.jpg", b"1")
        archive.writestr("b/1.jpg", b"1")
        archive.filelist[1].flag_bits |= 1
    assert "its member 'b/1.jpg' is encrypted" in refusal(path)


def test_zip64(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(zipfile, "ZIP64_LIMIT", 5)
        patched.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
        path = tmp_path / "x.zip"
        pack(path, write(tmp_path / "data", "a/1.jpg", "b/1.jpg"), ".")
    assert b"PK\6\6" in path.read_bytes()  # Its end record.
    assert read(open_source(str(path))) == read(open_source(str(tmp_path / "data")))


def test_sparse_member(tmp_path):
    path = tar_with(tmp_path / "x.tar", name="b/2.jpg", type=tarfile.GNUTYPE_SPARSE)
    assert "its member 'b/2.jpg' is a sparse file" in refusal(path)


def sparse_header(name, extended):
    """Begins a sparse file whose map goes on in further blocks, without end."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = extended
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def test_map_of_a_sparse_member_is_not_read(tmp_path):
    """Python's own reader takes 840 MB for 33 KB."""
    path = tmp_path / "x.tar.gz"
    entry = b"%011o\0%011o\0" % (1, 1)
    block = (entry * 21 + b"\1").ljust(tarfile.BLOCKSIZE, b"\0")
    path.write_bytes(gzip.compress(sparse_header("a/1.jpg", 1) + block * 20_000))
    assert memory_of(lambda: refusal(path)) < 2**20
    assert "its member 'a/1.jpg' is a sparse file" in refusal(path)


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"GNU.sparse.map": "0,1,x"},
        {"GNU.sparse.size": "1" * 5000},
    ],
)
def test_sparse_member_of_an_extended_header(tmp_path, headers):
    info = tarfile.TarInfo("a/1.jpg")
    info.pax_headers = headers
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    assert "its member 'a/1.jpg' is a sparse file" in refusal(tmp_path / "x.tar")


def extended_header(*lines):
    """Writes lines as they are, where `tarfile` would write whole ones."""
    content = b"".join(lines)
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(content)
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    return info.tobuf() + content + padding + tarfile.TarInfo("a/1.jpg").tobuf()


@pytest.mark.parametrize(
    "line",
    [
        b"9" * 134_000,  # Time with the square of its length.
        b"9" * 30 + b" path=a\n",
        b"5 path=a/1.jpg\n",
        b"0 path=a\n",
        b"-9 path=a\n",
        b"16 path=b/2.jpgx",
        b"11 size=1x\n",
        b"30 size=" + b"9" * 21 + b"\n",
        b"\xb2 path=a\n",
        b"nothing",
    ],
)
def test_damaged_extended_header(tmp_path, line):
    path = tmp_path / "x.tar"
    path.write_bytes(extended_header(line) + bytes(1024))
    began = time.process_time()
    assert "x.tar is damaged" in refusal(path)
    assert time.process_time() - began < 1


def test_extended_headers_for_all_members_do_not_pile_up(tmp_path):
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb", 1) as file:
        for number in range(40):
            line = b"1000000 %d=" % number
            content = line + b"x" * (999_999 - len(line)) + b"\n"
            info = tarfile.TarInfo("pax")
            info.type, info.size = tarfile.XGLTYPE, len(content)
            file.write(info.tobuf() + content + bytes(-len(content) % 512))
        file.write(bytes(1024))
    assert memory_of(lambda: refusal(path)) < 8 * 2**20


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
@pytest.mark.parametrize(
    "name, reason",
    [
        ("a/" * 101 + "1.jpg", "lies in more than 100 folders"),
        ("a/" + "x" * 5000 + ".jpg", "has a name of more than 4096 characters"),
    ],
)
def test_deep_paths_and_long_names(tmp_path, suffix, name, reason):
    path = archive_of(tmp_path, suffix, ["a/1.jpg", name, "b/1.jpg"])
    assert reason in refusal(path)
    assert len(refusal(path)) < 600


@given(
    names=st.lists(NAMES, min_size=2, max_size=4, unique=True),
    format=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, 2]),
    length=st.sampled_from([1, 90, 150, 400]),
    for_all=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_tars_are_read_as_tarfile_reads_them(names, format, length, for_all):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "x.tar")
        headers = {"comment": "from all"} if for_all else {}
        with tarfile.open(path, "w", format=format, pax_headers=headers) as archive:
            for name in names:
                info = tarfile.TarInfo(f"{name}/{'y' * length}.jpg")
                info.size = length
                with contextlib.suppress(ValueError):  # Too long for the format.
                    archive.addfile(info, io.BytesIO(name.encode()[:1] * length))
        with tarfile.open(path) as archive:
            expected = [
                (info.name, info.size, info.offset_data)
                for info in archive.getmembers()
            ]
        assert expected == [
            (member.path, member.size, member.content().offset)
            for member in tars.members(path)
        ]


@pytest.mark.parametrize(
    "change", [(b"a/1.jpg", b"\xff/1.jpg"), (b"PK\5\6", b"PK\5\7"), (b"PK\1\2", b"PK")]
)
def test_damaged_directory_of_a_zip(tmp_path, change):
    path = zip_with(tmp_path / "x.zip", "ü/2.jpg")
    content = path.read_bytes()
    where = content.rindex(change[0])
    path.write_bytes(content[:where] + change[1] + content[where + len(change[0]) :])
    assert "x.zip" in refusal(path)


def test_refusal_is_one_line_whatever_a_member_is_called(tmp_path):
    path = archive_of(tmp_path, ".zip", ["a/1.jpg", "b/1.jpg", "\n5\x1b[2J.jpg"])
    assert r"such as \n5\x1b[2J.jpg" in refusal(path)


def test_zip_names_that_are_not_the_text_they_say(tmp_path):
    path = zip_with(tmp_path / "x.zip", "ü/2.jpg")
    path.write_bytes(path.read_bytes().replace("ü/".encode(), b"\xff\xff/"))
    assert "x.zip is damaged" in refusal(path)
