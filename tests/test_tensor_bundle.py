from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.errors import InputError
from tests import bundle_writer as writer
from trainer.crc32c import crc32c
from trainer.tensor_bundle import TensorBundle, fields, read_table, shape_of

TENSORS = {
    "a/weights": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a/weights/Adam": np.full((2, 3, 4), -1, np.float32),
    "b": np.array(0.5, np.float32),
    "c": np.random.default_rng(0).normal(size=300).astype(np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "long/" + "x" * 300: np.ones(1, np.float32),
}
# Tests do not time code.
untimed = settings(deadline=None)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    writer.write_bundle(tmp_path / "snapshot_1.ckpt", TENSORS)
    return tmp_path / "snapshot_1.ckpt"


def index_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def data_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".data-00000-of-00001")


def test_the_checksum_is_castagnolis() -> None:
    # The check value that every catalogue of CRCs gives, and RFC 3720's 32 bytes of zeros.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


@untimed
@given(st.binary(max_size=1500))
def test_the_checksum_equals_the_slow_one(data: bytes) -> None:
    assert crc32c(data) == writer.slow_crc32c(data)


@pytest.mark.parametrize("suffix", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_tensors_come_back_bit_for_bit(prefix: Path, suffix: str) -> None:
    bundle = TensorBundle(prefix.with_name(prefix.name + suffix))
    assert list(bundle.entries) == sorted(TENSORS)
    for name, values in TENSORS.items():
        np.testing.assert_array_equal(bundle.read(name), values, strict=True)


def test_several_data_files_are_read(tmp_path: Path) -> None:
    def second(_: str, entry: dict[int, bytes]) -> None:
        entry[3] = writer.field(3, 1)

    writer.write_bundle(tmp_path / "s", TENSORS, second, writer.header(shards=2))
    (tmp_path / "s.data-00000-of-00001").rename(tmp_path / "s.data-00001-of-00002")
    np.testing.assert_array_equal(TensorBundle(tmp_path / "s").read("c"), TENSORS["c"])


@untimed
@given(st.dictionaries(st.binary(max_size=40), st.binary(max_size=20), max_size=40), st.integers(1, 7))
def test_tables_of_any_rows_are_read(rows: dict[bytes, bytes], rows_per_block: int) -> None:
    assert read_table(writer.table(sorted(rows.items()), rows_per_block)) == rows


@untimed
@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 2**64 - 1) | st.binary(max_size=200))))
def test_messages_of_any_fields_are_read(values: list[tuple[int, int | bytes]]) -> None:
    assert list(fields(b"".join(writer.field(n, value) for n, value in values))) == values


@untimed
@given(st.binary(max_size=60))
def test_any_other_message_is_read_or_refused(message: bytes) -> None:
    try:
        assert all(isinstance(value, int | bytes) for _, value in fields(message))
    except ValueError as error:
        assert str(error)


def test_a_missing_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the checkpoint index .*none\.index: No such file"):
        TensorBundle(tmp_path / "none")


def test_a_missing_data_file_is_named(prefix: Path) -> None:
    data_of(prefix).unlink()
    with pytest.raises(InputError, match=r"cannot read the checkpoint data .*00000-of-00001: No such file"):
        TensorBundle(prefix).read("b")


def test_every_truncated_index_is_refused(prefix: Path) -> None:
    whole = index_of(prefix).read_bytes()
    for length in range(0, len(whole), 7):
        index_of(prefix).write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"\.index: not a readable TensorFlow checkpoint index"):
            TensorBundle(prefix)


def test_every_changed_byte_of_the_blocks_is_noticed(prefix: Path) -> None:
    whole = index_of(prefix).read_bytes()
    for at in range(0, len(whole) - 48, 11):
        index_of(prefix).write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        # The empty metaindex block is never read.
        try:
            assert set(TensorBundle(prefix).entries) == set(TENSORS)
        except InputError as error:
            assert "checksum" in str(error)


@untimed
@given(st.integers(0, 47), st.integers(0, 255))
def test_a_damaged_footer_is_refused_or_harmless(at: int, byte: int) -> None:
    whole = writer.table([(b"", writer.header()), (b"x", b"")])
    damaged = bytearray(whole)
    damaged[len(whole) - 48 + at] = byte
    try:
        assert read_table(bytes(damaged)) == read_table(whole)
    except ValueError as error:
        assert str(error)


def test_truncated_data_is_refused(prefix: Path) -> None:
    data_of(prefix).write_bytes(data_of(prefix).read_bytes()[:-1])
    bundle = TensorBundle(prefix)
    np.testing.assert_array_equal(bundle.read("b"), TENSORS["b"])
    with pytest.raises(InputError, match=r"00000-of-00001: cut short"):
        bundle.read("long/" + "x" * 300)


def test_changed_data_is_refused(prefix: Path) -> None:
    data = bytearray(data_of(prefix).read_bytes())
    data[100] ^= 1
    data_of(prefix).write_bytes(data)
    with pytest.raises(InputError, match=r"00000-of-00001: a/weights/Adam does not match its checksum"):
        TensorBundle(prefix).read("a/weights/Adam")


@pytest.mark.parametrize(
    ("number", "value", "message"),
    [
        (1, writer.field(1, 9), "c is of TensorFlow type 9; only whole float32"),
        (7, writer.field(7, b""), "c is a partitioned variable"),
        (2, writer.field(2, writer.shape_message((7,))), r"c of shape \[7\] cannot take 1200 bytes"),
        (2, writer.field(2, writer.shape_message((2**64 - 1,))), r"c of shape \[18446744073709551615\] cannot take"),
        (4, writer.field(4, 2**63), "cut short"),
    ],
    ids=["int64", "partitioned", "shape", "negative size", "offset"],
)
def test_entries_that_cannot_be_read_are_refused(tmp_path: Path, number: int, value: bytes, message: str) -> None:
    def change(name: str, entry: dict[int, bytes]) -> None:
        if name == "c":
            entry[number] = value

    writer.write_bundle(tmp_path / "s", TENSORS, change)
    bundle = TensorBundle(tmp_path / "s")
    np.testing.assert_array_equal(bundle.read("b"), TENSORS["b"])
    with pytest.raises(InputError, match=message):
        bundle.read("c")


@pytest.mark.parametrize(
    ("number", "value", "message"),
    [
        (3, writer.field(3, 1), "data file 1 of 1"),
        (4, writer.field(4, b"x"), "field 4 is not a number"),
        (2, writer.field(2, 5), "a number in place of a message"),
        (2, writer.field(2, writer.field(2, 5)), "a number in place of a message"),
        (2, writer.field(2, writer.shape_message((1,) * 9)), "9 dimensions"),
        (2, b"\x12\x7f", "behind the end"),
        (2, b"\x13", "unknown kind 3"),
        (2, b"\xff" * 11, "without an end"),
    ],
)
def test_malformed_entries_are_refused(tmp_path: Path, number: int, value: bytes, message: str) -> None:
    def change(_: str, entry: dict[int, bytes]) -> None:
        entry[number] = value

    writer.write_bundle(tmp_path / "s", TENSORS, change)
    with pytest.raises(InputError, match=rf"s\.index: not a readable TensorFlow checkpoint index: .*{message}"):
        TensorBundle(tmp_path / "s")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (writer.table([(b"", writer.header(endianness=1))]), "big endian"),
        (writer.table([(b"", writer.header())], compression=1), "compressed"),
        (writer.table([(b"b", b""), (b"a", b"")]), "not in order"),
        (writer.table([(b"a", b""), (b"a", b"")]), "not in order"),
        (writer.table([(b"n" * 1025, b"")]), "impossible length"),
        (writer.table([(b"\xff", b"")]), "can't decode"),
        (bytes(2**24 + 1), "larger than"),
        (b"PK" * 100, "another kind of file"),
    ],
    ids=["big endian", "compressed", "unordered", "twice", "long name", "name not UTF-8", "huge", "foreign"],
)
def test_odd_indexes_are_refused(tmp_path: Path, index: bytes, message: str) -> None:
    (tmp_path / "s.index").write_bytes(index)
    with pytest.raises(InputError, match=rf"s\.index: not a readable TensorFlow checkpoint index: .*{message}"):
        TensorBundle(tmp_path / "s")


def test_blocks_that_overlap_are_refused(tmp_path: Path) -> None:
    content = writer.block([(b"", writer.header())])
    handle = writer.varint(0) + writer.varint(len(content) - 5)
    index = writer.block([(b"a", handle), (b"b", handle)])
    footer = writer.varint(0) * 2 + writer.varint(len(content)) + writer.varint(len(index) - 5)
    with pytest.raises(ValueError, match="overlap"):
        read_table(content + index + footer.ljust(40, b"\0") + writer.MAGIC)


def test_shapes_are_read() -> None:
    assert shape_of(writer.shape_message((7, 7, 20, 64))) == (7, 7, 20, 64)
    assert shape_of(b"") == ()
