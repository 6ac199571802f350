"""The reader of MAT files, against SciPy's, and on files that end or delay that one."""

import base64
import io
import time
import zlib

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.sources.mat import read_struct_array

FIELDS = ("ILSVRC2012_ID", "WNID", "num_children")

# SciPy 1.17 ends the process at the first two, and takes 9 s for the last, which says
# that it has 50 million rows. Found by benchmarks/fuzz_parsers.py.
FOUND = [
    (
        "c-r%I4DoSvQZUssQ1EpO(M`+DNmU5QNi0drFS5#2D9A6)tk6+#E=o--"
        "Nlj76&$ChpPApOI%P&(fG6W(kBQq-_V+A7vBQpjv0HdcbABbjRU|<7M91tcLutNEaP%#kA"
        "4#dTkdBv$E#Xxx$20o~`77%;-"
        "1cwDV8yOfH#e2Fig!=&rILIr_jZe<V%t<Lq&4Y=7^ja_=?B&B^FANg|JWx$gP?9PDrUBE+"
        "By<"
    ),
    (
        "c-r%I4DoSvQZUssQ1EpO(M`+DNmU5QNi0drFS5#2D9A6)tk6+#E=o--"
        "Nlj76&$ChpPApOI%P&(fG6W(kBQq-_V+A7vBQpjv0HdcbABbjRU|<7M91tcLutNEaP%#kA"
        "4#dTkdBv$E#Xxx$20o~`77%;-"
        "1cwDV8yOfH#e2Fig!=&rILIr_jZe<V%t<Lq&4Y=7^ja_=?B&B^FAU=W0LG*vcK"
    ),
    (
        "c-nLH4e@bwQZUssQ1EpO(M`+DNmU5QNi0drFUqx2D9A6)tk6+#E=o--"
        "Nlj76&$ChpPApOI%P&(fG6W(kBQq-_V+A7vBQpk^pqi0^feEV&qo*$)hz82C0Vxg!ghEy*"
        "pAjO)45HbAxVSQ}IJKl0D9^&c2bI?XVo#soupnn614E;DPZx%8KOg}Id8N7W$r+hBDMhJy"
        "Ffou`3kJBoOng}Eg<%ljK@x}QcR=U|x&~7}Cz5&rC_m4@$Pnf_0RG%2(*"
    ),
]


def mat(rows, **options):
    """Returns a file with a struct array, as SciPy writes it."""
    kinds = [(name, object) for name in ("words", *reversed(FIELDS))]
    table = np.array([("kit fox", *reversed(row)) for row in rows], kinds)
    file = io.BytesIO()
    other = {"others": np.eye(3), "name": "synsets"}
    scipy.io.savemat(file, {**other, "synsets": table.reshape(-1, 1)}, **options)
    return file.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 2**40), st.floats(-9, 9)),
            st.text("nü0123456789 ", min_size=1),
            st.integers(0, 255),
        ),
        min_size=1,
        max_size=5,
    ),
    packed=st.booleans(),
    end=st.integers(1, 10**4),
)
def test_as_scipy(rows, packed, end):
    data = mat(rows, do_compression=packed)
    read = scipy.io.loadmat(io.BytesIO(data), chars_as_strings=True)["synsets"].ravel()
    expected = [
        (row[FIELDS[0]].item(), row[FIELDS[1]].item(), row[FIELDS[2]].item())
        for row in read
    ]
    assert read_struct_array(data, "synsets", FIELDS, 2**20) == expected
    with pytest.raises(ValueError):
        read_struct_array(data[: end % len(data)], "synsets", FIELDS, 2**20)


@pytest.mark.parametrize("number", range(len(FOUND)))
def test_found_files_are_refused_at_once(number):
    data = zlib.decompress(base64.b85decode(FOUND[number]))
    begin = time.perf_counter()
    with pytest.raises(ValueError, match="out of the file"):
        read_struct_array(data, "synsets", FIELDS, 2**20)
    assert time.perf_counter() - begin < 1


def test_what_is_not_there_is_told():
    data = mat([(1, "n02119789", 0)])
    for name, fields, reason in (
        ("synset", FIELDS, "it has no variable synset"),
        ("others", FIELDS, "others is no struct array"),
        ("synsets", ("gloss",), "'gloss' is not in list"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_struct_array(data, name, fields, 2**20)
    with pytest.raises(ValueError, match="more than 0 MiB when unpacked"):
        read_struct_array(data, "synsets", FIELDS, 100)
