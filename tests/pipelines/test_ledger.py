"""The ledger: its queries beside plain Python over the same entries."""

import hashlib
import pickle
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.ingest.entry import Entry, ShardTask
from pipelines.data.ingest.ledger import Ledger, shuffle_key
from pipelines.data.ingest.values import from_json, to_json
from pipelines.data.records import Shard
from pipelines.data.sources import SourceImage
from pipelines.data.sources.content import FileContent, InMemory, ZipContent
from pipelines.errors import UserError


def make_entry(number, *, content=0, split=None, problem=None, class_name="ant"):
    return Entry(
        name=f"{number}.png",
        class_name=class_name,
        split=split,
        content=FileContent("photos.tar", number, 9),
        is_made=bool(number % 2),
        sha256=hashlib.sha256(b"%d" % content).digest(),
        format="PNG",
        height=4,
        width=5,
        bytes=10 + number,
        problem=problem,
    )


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


@st.composite
def entries(draw):
    """Up to thirty images, many of them equal, some of them unusable."""
    splits = draw(st.sampled_from([(None,), ("train", "validation"), ("train", None)]))
    drawn = draw(
        st.lists(
            st.tuples(
                st.integers(0, 12),
                st.sampled_from(splits),
                st.sampled_from([None, None, None, "empty file"]),
            ),
            min_size=1,
            max_size=30,
        ).filter(lambda images: any(problem is None for *_, problem in images))
    )
    return [
        make_entry(number, content=content, split=split, problem=problem)
        for number, (content, split, problem) in enumerate(drawn)
    ]


@settings(max_examples=60, deadline=None)
@given(entries=entries(), share=st.floats(0.01, 0.9), seed=st.integers(0, 2**64 - 1))
def test_order_split_and_duplicates(tmp_path_factory, entries, share, seed):
    usable = [entry for entry in entries if entry.problem is None]
    if any(entry.split == "validation" for entry in usable):
        held_out = [entry for entry in usable if entry.split == "validation"]
    else:
        wanted = max(1, int(share * len(usable) + 0.5))
        greatest = sorted(entry.sha256 for entry in usable)[wanted - 1]
        hashes = {entry.sha256 for entry in usable}
        held = {one for one in hashes if one <= greatest}
        if len(hashes) > 1:
            held = (held | {min(hashes)}) - {max(hashes)}
        held_out = [entry for entry in usable if entry.sha256 in held]
    train = [entry for entry in usable if entry not in held_out]

    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.add(entries, staged=0)
        ledger.order(["ant"], share, seed)
        assert ledger.counts() == {"train": len(train), "validation": len(held_out)}

        ordered = [entry.name for _, entry in ledger.records(0, len(usable))]
        expected = [
            entry.name
            for side in (train, held_out)
            for entry in sorted(
                side, key=lambda entry: (shuffle_key(entry.sha256, seed), entry.name)
            )
        ]
        assert ordered == expected

        sides = [Counter(entry.sha256 for entry in side) for side in (train, held_out)]
        across = [entry for entry in held_out if entry.sha256 in sides[0]]
        assert ledger.duplicates() == {
            "train": len(train) - len(sides[0]),
            "validation": len(held_out) - len(sides[1]),
            "across": len(across),
        }
        leaked = ledger.leaked(100)
        assert [name for _, name in leaked] == [entry.name for entry in across]
        sha256 = {entry.name: entry.sha256 for entry in entries}
        for train_name, name in leaked:
            assert sha256[train_name] == sha256[name]
            assert train_name in [entry.name for entry in train]
        assert ledger.leaked(2) == leaked[:2]


def test_entries_come_back_as_they_were(ledger):
    added = [
        make_entry(number, content=number, class_name=name)
        for number, name in enumerate(["bee", "ant", "bee"])
    ]
    ledger.add(added, staged=0)
    ledger.order(["bee", "ant"], 0.4, 0)
    assert ledger.classes() == ("bee", "ant")
    found = sorted(ledger.records(0, 3), key=lambda record: record[1].name)
    assert [label for label, _ in found] == [0, 1, 0]
    splits = Counter(entry.split for _, entry in found)
    assert splits == {"train": 2, "validation": 1}
    assert [entry._replace(split=None) for _, entry in found] == added
    assert ledger.mean_bytes() == 11


def test_records_are_found_by_rank(ledger):
    ledger.add([make_entry(number, content=number) for number in range(9)], staged=0)
    ledger.order(["ant"], 0.2, 0)
    everything = ledger.records(0, 9)
    assert len(everything) == 9
    assert ledger.records(2, 3) == everything[2:5]


def test_another_seed_gives_another_order(tmp_path):
    orders = []
    for seed in (0, 1, 2**64 - 1):
        with Ledger(tmp_path / f"{seed}.sqlite") as ledger:
            added = [make_entry(number, content=number) for number in range(30)]
            ledger.add(added, staged=0)
            ledger.order(["ant"], 0.1, seed)
            names = [entry.name for _, entry in ledger.records(0, 30)]
            orders.append(names)
            # The split is the same.
            assert set(names[27:]) == set(orders[0][27:])
    assert len(set(map(tuple, orders))) == 3


def test_shuffle_key_is_keyed_blake2b():
    # Stated in docs/record_format.md: shards must stay what they are.
    digest = hashlib.sha256(b"image").digest()
    expected = hashlib.blake2b(digest, digest_size=16, key=b"\7" + bytes(7)).digest()
    assert shuffle_key(digest, 7) == expected


def test_progress_and_skipped(ledger):
    assert ledger.progress() == (0, 0)
    assert ledger.skipped(5) == (0, ())
    ledger.add([make_entry(0), make_entry(1, problem="empty file")], staged=7)
    ledger.add([make_entry(2, problem="truncated JPEG")], staged=9)
    assert ledger.progress() == (3, 9)
    listed = (("1.png", "empty file"), ("2.png", "truncated JPEG"))
    assert ledger.skipped(5) == (2, listed)
    assert ledger.skipped(1) == (2, listed[:1])


def test_classes_that_can_be_trained(ledger):
    ledger.add(
        [
            make_entry(0, class_name="ant"),
            make_entry(1, class_name="bee", problem="empty file"),
            make_entry(2, class_name="cow", split="validation"),
            make_entry(3, class_name="dog", split="train"),
        ],
        staged=0,
    )
    assert ledger.class_names() == ["ant", "bee", "cow", "dog"]
    assert ledger.trainable() == {"ant", "dog"}


def test_shards_are_remembered(ledger):
    first, second = Shard("a", 3, 99, "00"), Shard("b", 2, 88, "ff")
    blocks = np.array([[0, 2], [50, 1]])
    ledger.add_shard(second, blocks[:1])
    ledger.add_shard(first, blocks)
    (shard, found), (last, _) = ledger.shards()
    assert (shard, last) == (first, second)
    np.testing.assert_array_equal(found, blocks)


def test_what_fails_half_way_is_not_there(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.add([make_entry(0)], staged=3)
        with pytest.raises(sqlite3.Error):
            ledger.add([make_entry(1), make_entry(2)._replace(height=object())], 5)
        with pytest.raises(sqlite3.IntegrityError):
            ledger.order(["ant", "ant"], 0.1, 0)
    with Ledger(path) as ledger:
        assert ledger.progress() == (1, 3)
        assert ledger.classes() == ()
        assert ledger.records(0, 9) == []


def test_can_be_read_beside_the_writer(ledger, tmp_path):
    ledger.add([make_entry(0)], staged=0)
    ledger.order(["ant"], 0.1, 0)
    with Ledger(tmp_path / "ledger.sqlite", read_only=True) as reader:
        assert len(reader.records(0, 1)) == 1
        ledger.add_shard(Shard("a", 1, 9, "00"), np.zeros((1, 2), np.int64))
        assert len(reader.shards()) == 1
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.add([make_entry(1)], staged=0)


def test_nothing_in_the_database_is_executed(ledger, tmp_path):
    class Planted:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    ledger.add([make_entry(1), make_entry(2, content=1)], staged=0)
    ledger.order(["ant"], 0.5, 0)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        planted = pickle.dumps(Planted())
        database.execute("UPDATE images SET content = ?", (planted,))
    with pytest.raises(UserError, match="ledger.sqlite is damaged"):
        ledger.records(0, 2)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "value",
    [
        make_entry(1),
        [(None, b"\xff", "\udcff\n", 2**60, 0.1)],
        make_entry(2)._replace(content=InMemory(b"\0bytes")),
        SourceImage("a", ZipContent("x.zip", "a"), "cat", None),
        ShardTask(Path("a"), 0, 2, Path("b"), Path("c")),
        Shard("train", 1, 2, "ab"),
    ],
)
def test_values_come_back_from_text(value):
    again = from_json(to_json(value), "here")
    assert (again, type(again)) == (value, type(value))


def test_arrays_come_back_from_text():
    blocks = np.array([[0, 3], [2**40, 1]])
    np.testing.assert_array_equal(from_json(to_json(blocks), "here"), blocks)
