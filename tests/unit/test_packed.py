"""Zip and tar files as archives: read in place, and what in them is refused, as rows with reasons."""

import gzip
import io
import random
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trygon.archive.inputs import tarred, zipped
from trygon.archive.inputs.listing import Archive, write_listing
from trygon.archive.inputs.media import MediaFile
from trygon.archive.inputs.packed import index_of, list_members
from trygon.errors import UserError
from trygon.lease import Hold
from trygon.storage import exists, write_bytes
from trygon.testing.s3 import s3_server, using

CONTENT = {f"cam {n % 3}/100EK113/IMG_{n:04d}.JPG": random.Random(n).randbytes(3000 + n) for n in range(40)}
NAMES = ["a.zip", "a.tar", "a.tar.gz", "a.TGZ"]


def _pack(name: str, files: dict[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    files = list(files.items()) if isinstance(files, dict) else files
    if name.endswith(".zip"):
        with zipfile.ZipFile(buffer, "w") as packed:
            for number, (path, data) in enumerate(files):
                packed.writestr(zipfile.ZipInfo(path), data, 8 if number % 2 else 0)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w" if name.endswith(".tar") else "w:gz") as tar:
        for path, data in files:
            header = tarfile.TarInfo(path)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture(params=["disk", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "disk":
        yield str(tmp_path)
        return
    with s3_server("packed") as address, using(address):
        yield f"s3://packed/{tmp_path.name}"


@pytest.mark.parametrize("name", NAMES)
def test_members_are_read_in_place_in_any_order(root: str, name: str) -> None:
    write_bytes(f"{root}/{name}", _pack(name, CONTENT | {"__MACOSX/cam 0/._IMG_1.JPG": b"", "cam 0/notes.txt": b"x"}))
    archive = Archive(f"{root}/{name}", index=f"{root}/index")
    files = {file.path: file for file in archive.files()}
    assert set(files) == set(CONTENT) | {"cam 0/notes.txt"}
    assert {file.deployment for file in files.values()} == {"cam 0", "cam 1", "cam 2"}
    for path in random.Random(0).sample(sorted(CONTENT), len(CONTENT)):
        assert files[path].bytes == len(CONTENT[path])
        assert archive.read(path, files[path].member) == CONTENT[path]
    path = max(CONTENT)
    # Without the index, as who looks at a picture of a run that was moved.
    assert Archive(f"{root}/{name}").read(path, files[path].member) == CONTENT[path]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", NAMES)
def test_of_entries_of_one_name_the_last_counts_and_the_others_are_told(tmp_path: Path, name: str) -> None:
    entries = [("cam/1.jpg", b"old"), ("cam/2.jpg", b"another"), ("cam/1.jpg", b"older"), ("cam/1.jpg", b"newest")]
    (tmp_path / name).write_bytes(_pack(name, entries))
    archive = Archive(str(tmp_path / name))
    listing = write_listing(archive, tmp_path / "run", Hold())
    (rows,) = (batch.to_pylist() for batch in listing.batches())
    assert {row["path"]: archive.read(row["path"], row["member"]) for row in rows} == {
        "cam/1.jpg": b"newest", "cam/2.jpg": b"another"
    }  # fmt: skip
    assert listing.num_files == len(rows) == 2
    (note,) = listing.notes
    assert note.startswith("2 entries of packed files have the name of a later one, such as 'cam/1.jpg'")


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_what_leads_out_is_nested_or_a_bomb_is_a_row_with_a_reason(tmp_path: Path, name: str) -> None:
    odd = ["../../etc/1.jpg", "/abs/2.jpg", "C:\\x\\3.jpg", "inner/4.ZIP", "ok/5.jpg"]
    files = dict.fromkeys(odd, b"x")
    (tmp_path / name).write_bytes(_pack(name, files))
    listed = {file.path: file.failure for file in list_members(str(tmp_path / name))}
    assert listed["../../etc/1.jpg"] == listed["/abs/2.jpg"] == "outside"
    assert name == "a.tar" or listed["C:/x/3.jpg"] == "outside"
    assert (listed["inner/4.ZIP"], listed["ok/5.jpg"]) == ("nested", None)
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_bomb_and_encrypted_entries_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _pack("a.zip", {"1.jpg": b"", "2.jpg": bytes(3_000_000), "3.jpg": b"secret"})
    entry = data.rindex(b"PK\1\2")
    data = data[: entry + 8] + b"\1" + data[entry + 9 :]  # the flag of encryption, in the last one's entry
    (tmp_path / "a.zip").write_bytes(data)
    monkeypatch.setattr(zipped, "MAX_BYTES", 1_000_000)
    files = {file.path: file for file in list_members(str(tmp_path / "a.zip"))}
    assert files["3.jpg"].failure == "encrypted"
    assert files["2.jpg"].failure is None  # as it lies about its size
    with pytest.raises(OSError, match="larger than a picture may be"):
        Archive(str(tmp_path / "a.zip")).read("2.jpg", files["2.jpg"].member)
    monkeypatch.setattr("trygon.archive.inputs.names.MAX_BYTES", 1_000_000)
    assert {it.path: it.failure for it in list_members(str(tmp_path / "a.zip"))}["2.jpg"] == "too_large"


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (20, 1 << 31, "too_large"),  # what it has packed
        (20, 6, "damaged_archive"),  # of a stored entry of 5 bytes
        (42, 1 << 31, "damaged_archive"),  # where it lies
    ],
)
def test_entry_that_cannot_be_is_a_row_with_a_reason(tmp_path: Path, at: int, value: int, reason: str) -> None:
    data = bytearray(_pack("a.zip", {"1.jpg": b"frame", "2.jpg": b"whole"}))
    struct.pack_into("<L", data, data.index(b"PK\1\2") + at, value)
    (tmp_path / "a.zip").write_bytes(data)
    assert [file.failure for file in list_members(str(tmp_path / "a.zip"))] == [reason, None]


def test_entry_beyond_what_a_disk_can_have_is_a_row_with_a_reason(tmp_path: Path) -> None:
    wide = struct.pack("<2HQ", 1, 8, 1 << 63)
    data = _pack("a.zip", {"1.jpg": b"frame"})
    start, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    entry = bytearray(data[start:end])
    struct.pack_into("<H", entry, 30, len(wide))
    struct.pack_into("<L", entry, 42, 0xFFFFFFFF)
    last = bytearray(data[end:])
    struct.pack_into("<L", last, 12, len(entry) + len(wide))
    (tmp_path / "a.zip").write_bytes(data[:start] + entry + wide + last)
    assert [file.failure for file in list_members(str(tmp_path / "a.zip"))] == ["damaged_archive"]


class _Pipe(io.BytesIO):
    """What a zip is written to as it goes: the sizes and checksums of its entries stand in the directory alone."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError("a pipe has no place")


def test_damage_is_seen_in_a_zip_that_was_written_as_it_went(tmp_path: Path) -> None:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w") as packed:
        packed.writestr("1.jpg", b"whole" * 100)
        packed.writestr("2.jpg", b"other" * 100)
    data = bytearray(pipe.getvalue())
    assert data[6] & 0x8
    data[data.index(b"other")] ^= 255
    (tmp_path / "a.zip").write_bytes(data)
    archive = Archive(str(tmp_path / "a.zip"))
    first, second = archive.files()
    assert archive.read(first.path, first.member) == b"whole" * 100
    with pytest.raises(OSError, match="checksum"):
        archive.read(second.path, second.member)


def test_damaged_entry_is_an_oserror_and_links_of_a_tar_are_refused(tmp_path: Path) -> None:
    data = bytearray(_pack("a.zip", CONTENT))
    data[200] ^= 255
    (tmp_path / "a.zip").write_bytes(data)
    first = next(iter(list_members(str(tmp_path / "a.zip"))))
    with pytest.raises(OSError, match="checksum"):
        Archive(str(tmp_path / "a.zip")).read(first.path, first.member)
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        header = tarfile.TarInfo("link.jpg")
        header.type, header.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(header)
    assert [file.failure for file in list_members(str(tmp_path / "b.tar"))] == ["unsupported"]


@pytest.mark.parametrize("name", NAMES)
def test_file_that_breaks_off_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(_pack(name, CONTENT)[:-30_000])
    with pytest.raises(UserError, match="copy it again, or unpack it") as caught:
        list(list_members(str(tmp_path / name)))
    assert "\n" not in str(caught.value)


def _list_tar(data: bytes, name: str) -> list[MediaFile]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tarred, "open_input", lambda place: io.BytesIO(gzip.compress(data, 1) if ".gz" in name else data)
        )
        return list(list_members(name))


@given(st.integers(0, 20), st.sampled_from(["a.tar", "a.tar.gz"]))
@example(8, "a.tar")  # 4 files of 2 blocks, and none of the zeros behind them
@example(9, "a.tar.gz")
def test_tar_is_whole_where_it_ends_with_zeros_and_else_refused(num_blocks: int, name: str) -> None:
    files = {f"{n}.jpg": b"frame" for n in range(4)}
    data = _pack("a.tar", files)
    assert len(_list_tar(data[: 9 * 512], name)) == len(files)
    if num_blocks > 8:
        assert len(_list_tar(data[: num_blocks * 512], name)) == len(files)
    else:
        with pytest.raises(UserError, match="no whole tar file"):
            _list_tar(data[: num_blocks * 512], name)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize("damage", [b"other", bytes(512)])
def test_tar_with_a_damaged_header_loses_no_file_in_silence(name: str, damage: bytes) -> None:
    data = bytearray(_pack("a.tar", {f"{n}.jpg": b"frame" for n in range(4)}))
    data[4 * 512 : 4 * 512 + len(damage)] = damage
    with pytest.raises(UserError, match="neither a file nor its end stands at 2,048"):
        _list_tar(bytes(data), name)


def test_missing_file_is_one_line(root: str) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        list(list_members(f"{root}/no.zip"))


def test_cards_packed_one_by_one_lie_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "north").mkdir()
    (tmp_path / "north/card 1.zip").write_bytes(_pack("a.zip", CONTENT))
    (tmp_path / "north/card 2.zip").write_bytes(b"PK broken")
    (tmp_path / "north/1.jpg").write_bytes(b"loose")
    archive = Archive(str(tmp_path))
    files = {file.path: file for file in archive.files()}
    assert files.pop("north/card 2.zip").failure == "damaged_archive"
    assert set(files) == {"north/1.jpg", *(f"north/card 1.zip/{path}" for path in CONTENT)}
    for path, data in CONTENT.items():
        file = files[f"north/card 1.zip/{path}"]
        assert archive.read(file.path, file.member) == data


def test_each_gzip_of_a_folder_has_its_index(root: str) -> None:
    for number in range(2):
        write_bytes(f"{root}/cards/{number}/a.tar.gz", _pack("a.tar.gz", CONTENT | {"1.jpg": bytes([number])}))
    archive = Archive(f"{root}/cards", index=f"{root}/run/index")
    files = {file.path: file for file in archive.files() if file.path.endswith("gz/1.jpg")}
    indices = [index_of(archive.index, f"{number}/a.tar.gz") for number in range(2)]
    assert all(map(exists, indices))
    assert len({index_of(archive.index, ""), *indices}) == 3
    for number in range(2):
        file = files[f"{number}/a.tar.gz/1.jpg"]
        assert archive.read(file.path, file.member) == bytes([number])


_NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0\\"), min_size=1, max_size=20)
_PICTURES = st.dictionaries(_NAME.map(lambda it: f"x{it}.jpg"), st.binary(max_size=2000), max_size=8)


@given(_PICTURES, st.binary(max_size=100), st.binary(max_size=300))
@example({"x.jpg": b"frame"}, b"", b"PK\5\6")
@example({"x.jpg": b"frame"}, b"before", b"PK\5\6" + bytes(16) + b"\2\0")
def test_zip_is_read_as_the_standard_library_reads_it(files: dict[str, bytes], before: bytes, comment: bytes) -> None:
    buffer = io.BytesIO(_pack("a.zip", files))
    with zipfile.ZipFile(buffer, "a") as packed:
        packed.comment = comment
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        data = before + buffer.getvalue()
        patch.setattr(zipped, "open_input", lambda place: io.BytesIO(data))
        patch.setattr(zipped, "read_ranges", lambda place, ranges: [data[first:last] for first, last in ranges])
        for file in zipped.list_zip("a.zip", ""):
            found[file.path] = zipped.read_zip("a.zip", file.member or "", "")
    assert found == files


def _many(num: int, said: int) -> bytes:
    """A zip with the entry of one file again and again, without zip64."""
    data = _pack("a.zip", {"1.jpg": b"frame"})
    start, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    entries = data[start:end] * num
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, said & 0xFFFF, said & 0xFFFF, len(entries), start, 0)
    return data[:start] + entries + last


def test_zip_has_the_entries_of_its_directory_though_their_count_has_only_16_bits(tmp_path: Path) -> None:
    place = tmp_path / "a.zip"
    place.write_bytes(_many(65_540, 65_540))
    assert sum(1 for _ in list_members(str(place))) == 65_540
    for said in (2, 4):
        place.write_bytes(_many(3, said))
        with pytest.raises(UserError, match=f"directory has 3 entries and says {said}[)]"):
            list(list_members(str(place)))


def test_zip_beyond_4_gib_without_zip64_is_refused_in_one_line(tmp_path: Path) -> None:
    place = tmp_path / "a.zip"
    with place.open("wb") as file:
        file.seek(1 << 32)  # nothing is written there: the disk keeps a hole
        file.write(_pack("a.zip", CONTENT))
    with pytest.raises(UserError, match=r"over 4 GiB, and was written without zip64.*unpack it"):
        list(list_members(str(place)))


@given(st.binary(max_size=300), st.integers(0, 2000), st.integers(1, 50))
def test_any_bytes_are_a_listing_or_one_line(noise: bytes, at: int, length: int) -> None:
    data = bytearray(_pack("a.zip", dict(list(CONTENT.items())[:3])))
    data[len(data) - min(at, len(data)) :][:length] = noise
    start = max(0, len(data) - at)
    data[start : start + length] = noise
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipped, "open_input", lambda place: io.BytesIO(bytes(data)))
        try:
            files: list[MediaFile] = list(zipped.list_zip("a.zip", ""))
        except UserError:
            return
    assert all(file.member for file in files)
