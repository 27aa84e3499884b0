"""Text: decimals taken exactly, columns found or told, bad lines named, and real recordings."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventkit import Events, FormatError, OptionError
from eventkit.events import Columns
from eventkit.formats import Report, info, read, stream, write
from eventkit.formats.base import HIGHEST, LOWEST
from eventkit.formats.tables import _text_parse


@pytest.fixture
def file(tmp_path):
    """A function that writes text to a file and gives its path."""

    def make(words, name="file.txt"):
        path = tmp_path / name
        path.write_bytes(words if isinstance(words, bytes) else words.encode())
        return path

    return make


def rows(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def test_seconds_are_rounded_not_cut_off(file):
    path = file("13.582595999 1 2 0\n13.5825965 3 4 1\n13.58259649999 5 6 1\n")
    found = read(path, size="240x180")
    assert found.t.tolist() == [13_582_596, 13_582_597, 13_582_596]


@settings(max_examples=300, deadline=None)
@given(
    digits=st.text("0123456789", min_size=1, max_size=9),
    rest=st.text("0123456789", max_size=22),
    power=st.integers(-4, 2),
    plus=st.sampled_from(["", "-", "+"]),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_decimals_are_exact_below_10_17_us(digits, rest, power, plus, unit):
    number = f"{plus}{digits}.{rest}e{power:+03d}"
    line = np.frombuffer(f"{number} 1 2 1\n".encode(), np.uint8)
    state = np.array([0, 1, 0, 0])
    how = _text_parse.How(np.arange(4), _text_parse.SCALE[unit], LOWEST, HIGHEST, state)
    into = Columns()
    into.reserve(1)
    n, _, _ = _text_parse.parse(line, 0, how, into.arrays, 0, 1)
    value = abs(Fraction(number)) * Fraction(10) ** _text_parse.SCALE[unit]
    whole = int(value + Fraction(1, 2))  # halves away from zero
    assert n == 1
    assert into.arrays.t[0] == (-whole if plus == "-" else whole)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("9223372036854775806 1 2 1\n", 9223372036854775806),
        ("-9223372036854775807 1 2 1\n", -9223372036854775807),
        ("1.468941032229999065e+09 1 2 1\n", 1468941032229999),
        (".5 1.0 2.000e0 1\n", 500_000),
    ],
)
def test_numbers_of_many_kinds(file, words, expected):
    unit = "s" if "." in words else "us"
    assert rows(read(file(words), columns="txyp", unit=unit)) == [(expected, 1, 2, 1)]


@pytest.mark.parametrize(
    "line",
    [
        *("9223372036854775807 1 2 1", "99999999999999999999 1 2 1", "1 1 2", "1 1 2 1 1"),
        *("1 1.5 2 1", "1 70000 2 1", "1 -3 2 1", "1 1 2 7", "1 1 2 x", "1e 1 2 1", ". 1 2 1"),
        *("nan 1 2 1", "1 1 2 1x", "-", "0x10 1 2 1"),
    ],
)
def test_a_bad_line_is_named_or_counted(file, line):
    path = file(f"# no header\n0 5 5 1\n{line}\n7 6 6 0\n")
    options = {"columns": "txyp", "size": "9x9"}
    with pytest.raises(FormatError, match="line 3 is ") as caught:
        read(path, **options)
    assert caught.value.offset == 20
    assert line in str(caught.value)
    report = Report()
    assert rows(read(path, strict=False, report=report, **options)) == [(0, 5, 5, 1), (7, 6, 6, 0)]
    assert report.counts == {"damaged lines": 1}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("0.5 10 20 1\n0.6 30 40 0\n", [(500_000, 10, 20, 1), (600_000, 30, 40, 0)]),
        ("90 20 5 1\n30 40 9 0\n", [(5, 90, 20, 1), (9, 30, 40, 0)]),
        ("10,20,1,5\n30,40,-1,9\n", [(5, 10, 20, 1), (9, 30, 40, 0)]),
        ("X,Y,Polarity,Timestamp\r\n10,20,1,5\r\n", [(5, 10, 20, 1)]),
        ("240 180\n0.5 10 20 1\n", [(500_000, 10, 20, 1)]),
        ("%geometry:240,180\n10,20,1,5\n1,2,0,6\n", [(5, 10, 20, 1), (6, 1, 2, 0)]),
        ("# t x y p\n7\t1\t1\t1\n", [(7, 1, 1, 1)]),
        ("id;t;x;y;p\n9;7;1;1;1\n", [(7, 1, 1, 1)]),
        ("\n  7 10 3 1 \n\n# between\n// and\n8 1 2 0", [(7, 10, 3, 1), (8, 1, 2, 0)]),
        (".5 10 20 1\n-1 -1 -1 -1\n", [(500_000, 10, 20, 1)]),
    ],
)
def test_columns_units_and_heads_are_found(file, words, expected):
    assert rows(read(file(words))) == expected


def test_the_size_comes_from_the_head_the_option_or_the_events(file):
    assert read(file("240 180\n0.5 10 20 1\n")).size == (240, 180)
    assert read(file("%geometry:1280,720\nx,y,p,t\n1,2,1,5\n")).size == (1280, 720)
    report = Report()
    assert read(file("0.5 10 20 1\n"), report=report).size == (11, 21)
    assert "taken as 11x21 from the events; size=WxH sets it" in report.notes[0]
    assert read(file("0.5 10 20 1\n"), size="32x32").size == (32, 32)


def test_a_line_of_minus_ones_is_counted_in_both_modes(file):
    report = Report()
    read(file("0.5 10 20 1\n-1,-1,-1,-1\n"), report=report)
    assert report.counts == {"sentinel lines": 1}


def test_an_order_that_cannot_be_told_is_asked_for(file):
    path = file("1 1 1 1\n")
    with pytest.raises(FormatError, match=r"txyp or xytp or xypt fit .*columns= says"):
        read(path)
    assert rows(read(path, columns="xytp")) == [(1, 1, 1, 1)]
    with pytest.raises(OptionError, match="columns is 'xyq', expected one letter for each"):
        read(path, columns="xyq")
    with pytest.raises(OptionError, match="but the table has 4 columns"):
        read(path, columns="xyt")


def test_words_are_refused(file):
    with pytest.raises(FormatError, match="expected lines of numbers"):
        read(file("some words\nand others\n"))
    with pytest.raises(FormatError, match="a line has more than 65,536 bytes"):
        read(file(b"1 2 3 1\n" + b"7" * (2 << 20)), size="9x9", columns="txyp")


def test_lines_across_blocks_are_read_once(file, tmp_path):
    n = 200_000
    rng = np.random.default_rng(0)
    events = Events(
        np.cumsum(rng.integers(0, 10**6, n)),
        *(rng.integers(0, 999, n), rng.integers(0, 999, n), rng.integers(0, 2, n)),
        (1000, 1000),
    )
    path = tmp_path / "long.csv"
    write(path, events)
    assert path.stat().st_size > 3 << 20
    assert read(path) == events
    assert Events.concat([part.copy() for part in stream(path, 12_345)]) == events
    write(path, events, unit="s", separator="space", header=False)
    assert path.read_text().splitlines()[0].count(" ") == 3
    assert read(path, size="1000x1000") == events


def test_the_writer_writes_plain_lines(tmp_path):
    path = tmp_path / "file.csv"
    events = Events([-1, 1_500_000], [2, 33], [3, 32], [1, 0], (34, 34))
    write(path, events)
    assert path.read_text() == "# size 34x34, t [us]\nt,x,y,p\n-1,2,3,1\n1500000,33,32,0\n"
    assert read(path) == events
    write(path, events, unit="s", separator="space", header=False)
    assert path.read_text() == "-0.000001 2 3 1\n1.500000 33 32 0\n"
    with pytest.raises(OptionError, match="no events and no header would be empty"):
        write(path, events[:0], header=False)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("ecd_shapes_rotation.txt", "240x180", (20000, 2097134, 2195729, 236, 179, 8560, 0)),
        ("insight_exp1.txt", "320x262", (37585, 4670552057, 4674698557, 319, 261, 30297, 0)),
        ("edvs_generated.csv", "128x128", (10000, 30, 300000, 64, 64, 10000, 0)),
    ],
)
def test_real_files(samples, name, size, expected):
    facts = info(samples / "recordings" / "text" / name, size=size)
    keys = ("events", "t0", "t1", "x_max", "y_max", "on", "backward_steps")
    assert tuple(facts[key] for key in keys) == expected
    assert not facts["warnings"]


@pytest.mark.parametrize(
    "words",
    [
        ",t,x,y,p\n0,5,1,2,1\n1,9,3,4,0\n",
        ",timestamp (us),x,y,polarity\n0,5.0,1,2,True\n1,9.0,3,4,False\n",
        "Unnamed: 0,t,x,y,p\n0,5,1,2,ON\n1,9,3,4,OFF\n",
        "t x y p\n0 5 1 2 on\n1 9 3 4 off\n",
        '"t";"x";"y";"p"\n5;1;2;TRUE\n9;3;4;FALSE\n',
        "x,y,p,t\n1.0,2.0,ON,5\n3,4,OFF,9\n",
        "#t,x,y,on\n5,1,2,true\n9,3,4,false",
    ],
)
def test_an_index_and_words_for_polarities(file, words):
    path = file(words, "file.csv")
    assert rows(read(path)) == [(5, 1, 2, 1), (9, 3, 4, 0)]
    assert rows(read(path, size="9x9", clock=(6, None))) == [(9, 3, 4, 0)]


def test_only_words_for_polarities_are_read(file):
    for word in ("up", "offf", "trueish", "o", "1ON", "ON1", "nan"):
        with pytest.raises(FormatError, match="line 3 is"):
            read(file(f"t,x,y,p\n5,1,2,ON\n9,3,4,{word}\n"))
    with pytest.raises(FormatError, match="line 3 is"):
        read(file("t,x,y,p\n5,1,2,ON\n9,ON,4,1\n"))


def test_words_and_numbers_may_be_mixed(file):
    assert read(file("t,x,y,p\n5,1,2,ON\n9,3,4,-1\n9,3,4,OFF\n")).p.tolist() == [1, 0, 0]
    many = "t,x,y,p\n" + "5,1,2,1\n" * 20_000 + "6,1,2,OFF\n7,1,2,0\n8,1,2,-1\n"
    report = Report()
    assert read(file(many), report=report).p[-3:].tolist() == [1, 0, 0]
    assert report.counts == {"invalid": 1}
