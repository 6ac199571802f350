"""Tables of paths and labels."""

import csv
import json
import os
import pathlib
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opened import found, read, refusal, write

from pipelines.data.sources import open_source
from pipelines.data.sources.content import MAX_IMAGE_BYTES


def put(path, rows):
    """Writes rows by the table's suffix, with the libraries that others write with."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        else:
            delimiter = {".csv": ",", ".tsv": "\t"}[path.suffix]
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])


@SUFFIXES
@pytest.mark.parametrize(
    "path, label",
    [
        ("path", "label"),
        ("file_name", "label"),
        ("Filename", "Class"),
        ("image_path", "class_name"),
        ("file", "label_name"),
    ],
)
def test_paths_and_labels(tmp_path, suffix, path, label):
    write(tmp_path, "x/1.jpg", "2 ü.jpg", "noend")
    data = put(
        tmp_path / f"birds{suffix}",
        [
            {"id": 7, path: "x/1.jpg", label: "owl"},
            {"id": 8, path: "./2 ü.jpg", label: "Käuzchen, klein"},
            {"id": 9, path: "noend", label: "owl"},
        ],
    )
    source = open_source(data)
    assert [
        (image.name, image.content.read(), image.class_name, image.split)
        for image in source
    ] == [
        ("x/1.jpg", b"x/1.jpg", "owl", None),
        ("2 ü.jpg", "2 ü.jpg".encode(), "Käuzchen, klein", None),
        ("noend", b"noend", "owl", None),
    ]
    assert source.name == "birds"
    assert source.class_order() is None
    assert read(source) == read(open_source(data))


@SUFFIXES
@pytest.mark.parametrize(
    "words, expected",
    [
        (["train", "val", "test"], ["train", "validation", "left out"]),
        (["Train", "test", "train"], ["train", "validation", "train"]),
        (["train", "train", "train"], [None, None, None]),
    ],
)
def test_splits(tmp_path, suffix, words, expected):
    names = ["1.jpg", "2.jpg", "3.jpg"]
    write(tmp_path, *names)
    rows = [
        {"path": name, "label": name, "split": word}
        for name, word in zip(names, words, strict=True)
    ]
    places = found(open_source(put(tmp_path / f"x{suffix}", rows)))
    assert [places.get(name, ("", "left out"))[1] for name in names] == expected


@SUFFIXES
def test_numbers_are_classes_in_the_order_of_the_numbers(tmp_path, suffix):
    names = [f"{number}.jpg" for number in (10, 2, 0)]
    write(tmp_path, *names)
    rows = [{"path": name, "label": int(name.removesuffix(".jpg"))} for name in names]
    source = open_source(put(tmp_path / f"x{suffix}", rows))
    assert [image.class_name for image in source] == ["10", "2", "0"]
    assert source.class_order() == ("0", "2", "10")


def test_what_excel_writes(tmp_path):
    write(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "x.CSV").write_bytes(
        "\ufeffpath,label\r\n1.jpg,ä\r\n\r\n2.jpg,b\r\n".encode()
    )
    assert found(open_source(f"{tmp_path}/x.CSV")) == {
        "1.jpg": ("ä", None),
        "2.jpg": ("b", None),
    }


def test_fingerprint_changes_with_table_and_images(tmp_path):
    write(tmp_path, "1.jpg", "2.jpg")
    data = put(tmp_path / "x.csv", [{"path": "1.jpg", "label": "a"}])
    prints = [open_source(data).fingerprint, open_source(data).fingerprint]
    (tmp_path / "2.jpg").write_bytes(b"not in the table")
    prints.append(open_source(data).fingerprint)
    assert len(set(prints)) == 1
    (tmp_path / "1.jpg").write_bytes(b"longer than before")
    prints.append(open_source(data).fingerprint)
    put(tmp_path / "x.csv", [{"path": "1.jpg", "label": "another"}])
    prints.append(open_source(data).fingerprint)
    assert len(set(prints)) == 3


LABELS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]))


@given(
    labels=st.lists(LABELS.map(str.strip).filter(bool), min_size=1, max_size=4),
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl"]),
)
@settings(max_examples=60, deadline=None)
def test_any_label_comes_back(labels, suffix):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rows = [{"path": f"{i}.jpg", "label": label} for i, label in enumerate(labels)]
        write(folder, *(row["path"] for row in rows))
        data = put(folder / f"x{suffix}", rows)
        assert [image.class_name for image in open_source(data)] == labels


# Bad tables


@pytest.mark.parametrize(
    "name, text, reason",
    [
        ("x.csv", "", "has no rows"),
        ("x.csv", "path,label\n", "has no rows"),
        ("x.jsonl", "\n\n", "has no rows"),
        ("x.csv", "1.jpg,cat\n2.jpg,dog\n", "line 1 of {} has no column path"),
        ("x.csv", "path;label\n1.jpg;cat\n", "line 1 of {} has no column path"),
        ("x.csv", "path,kind\n1.jpg,cat\n", "line 1 of {} has no column label"),
        ("x.csv", "path,file,label\n", "line 1 of {} has the columns path and file"),
        ("x.csv", "path,path,label\n", "line 1 of {} has the columns path and path"),
        ("x.csv", "path,label\n1.jpg,cat,3\n", "line 2 of {} has 3 fields where"),
        ("x.csv", "path,label\n\n1.jpg\n", "line 3 of {} has 1 fields where"),
        ("x.csv", 'path,label\n1.jpg,"cat\n2.jpg,dog', "of {} is damaged"),
        ("x.csv", 'path,label\n1.jpg,"cat"x\n', "line 2 of {} is damaged"),
        ("x.csv", "path,label\n1.jpg,\n", "line 2 of {} has no label"),
        ("x.csv", "path,label\n ,cat\n", "line 2 of {} has no path"),
        ("x.csv", f"path,label\n1.jpg,{'x' * 2**17}\n", "line 2 of {} has more than"),
        ("x.csv", "path,label\n1.jpg,a\n./1.jpg,b\n", "line 3 of {} repeats '1.jpg'"),
        ("x.csv", "path,label\n3.jpg,a\n", "line 2 of {} names '3.jpg', which c"),
        ("x.csv", "path,label\nfolder,a\n", "names 'folder', which is not a file"),
        ("x.csv", "path,label\n../1.jpg,a\n", "names '../1.jpg', which leads out"),
        ("x.csv", "path,label\n/1.jpg,a\n", "names '/1.jpg', which has an absolute"),
        ("x.csv", "path,label,split\n1.jpg,a,\n", "line 2 of {} has no split"),
        ("x.csv", "path,label,split\n1.jpg,a,dev\n", "line 2 of {} has the split 'd"),
        ("x.csv", "path,label,split\n1.jpg,a,test\n", "{} has the splits test but no"),
        ("x.jsonl", '{"path": "1.jpg", "label": 1}\n{', "line 2 of {} is not JSON"),
        ("x.jsonl", '["1.jpg", 1]\n', "line 1 of {} is not a JSON object"),
        ("x.jsonl", "[" * 60000, "line 1 of {} is not JSON"),
        ("x.jsonl", '{"path": ' + "1" * 5000 + "}", "line 1 of {} is not JSON"),
        ("x.jsonl", '{"path": "1.jpg"}', "line 1 of {} has no column label"),
        ("x.jsonl", '{"path": "1.jpg", "label": null}', "line 1 of {} has no label"),
        ("x.jsonl", '{"path": "1.jpg", "label": true}', "line 1 of {} has no label"),
        ("x.jsonl", '{"path": ["1.jpg"], "label": 1}', "line 1 of {} has no path"),
        ("x.jsonl", '{"path": "1.jpg", "label": "\\ud800"}', "which is not text"),
        ("x.jsonl", '{"path": "1\\u0000", "label": 1}', "cannot be read (embedded"),
    ],
)
def test_wrong_table(tmp_path, name, text, reason):
    write(tmp_path, "1.jpg", "2.jpg", "folder/1.jpg")
    path = tmp_path / name
    path.write_text(text)
    assert reason.replace("{}", str(path)) in refusal(path)


@pytest.mark.parametrize("target", ["far/1.jpg", "far"])
def test_link_that_leads_out_of_the_folder(tmp_path, target):
    write(tmp_path, "far/1.jpg", "data/1.jpg", "data/near/1.jpg")
    (tmp_path / "data/2.jpg").symlink_to("near/1.jpg")
    is_file = target.endswith("jpg")
    name = "x.jpg" if is_file else "x/1.jpg"
    (tmp_path / "data/x.jpg" if is_file else tmp_path / "data/x").symlink_to(
        tmp_path / target
    )
    rows = [{"path": path, "label": path} for path in ("1.jpg", "2.jpg")]
    assert len(read(open_source(put(tmp_path / "data/t.csv", rows)))) == 2
    data = put(tmp_path / "data/t.csv", [*rows, {"path": name, "label": "a"}])
    assert f"line 4 of {data} names {name!r}, a link that leads out" in refusal(data)


def test_label_with_a_line_break(tmp_path):
    write(tmp_path, "1.jpg")
    data = put(tmp_path / "x.csv", [{"path": "1.jpg", "label": "ca\nt"}])
    assert "has the class 'ca\\nt', whose name holds a control" in refusal(data)


def test_table_that_is_not_utf8(tmp_path):
    (tmp_path / "x.csv").write_bytes("path,label\n1.jpg,Kätzchen\n".encode("latin-1"))
    assert f"{tmp_path}/x.csv is not UTF-8" in refusal(tmp_path / "x.csv")


def test_huge_image(tmp_path):
    write(tmp_path, "1.jpg")
    os.truncate(tmp_path / "1.jpg", MAX_IMAGE_BYTES + 1)
    data = put(tmp_path / "x.csv", [{"path": "1.jpg", "label": "a"}])
    assert f"'1.jpg' on line 2 of {data} is larger than 256 MiB" in refusal(data)
