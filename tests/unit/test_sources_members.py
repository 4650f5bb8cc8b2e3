"""Archives that are damaged or made to harm: what stands before the damage is read, and the damage is a picture."""

import gzip
import io
import os
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trygon.data.sources import members
from trygon.data.sources.members import Member, read_members, read_pictures
from trygon.data.sources.source import Picture, Unit, is_picture

PICTURES = {f"set/{number:03}.jpg": os.urandom(3_000) for number in range(20)}


def tar_bytes(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


WHOLE = tar_bytes(PICTURES)
PACKED = gzip.compress(WHOLE, 1)


def read(path: Path) -> list[Member]:
    return list(read_members(Unit(str(path)), is_picture))


def expect_damage(found: list[Member], name: str) -> dict[str, bytes]:
    """What was read before the damage."""
    assert found[-1] == Member(name, b"", "damaged_archive")
    return {member.path: member.data for member in found[:-1]}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", [100, 512, 3_584 * 5, 3_584 * 5 + 100, 3_584 * 5 + 1_000, 3_584 * 20])
def test_a_tar_cut_off_anywhere_gives_what_it_has_and_says_so(tmp_path: Path, end: int, packed: bool) -> None:
    path = tmp_path / "set.tar.gz"
    path.write_bytes(gzip.compress(WHOLE[:end]) if packed else WHOLE[:end])
    found = expect_damage(read(path), "set.tar.gz")
    assert list(found.items()) == list(PICTURES.items())[: end // 3_584]


@given(end=st.integers(20, len(PACKED) - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_gzip_cut_off_anywhere_gives_what_it_has_and_says_so(tmp_path: Path, end: int) -> None:
    (tmp_path / "set.tar.gz").write_bytes(PACKED[:end])
    found = expect_damage(read(tmp_path / "set.tar.gz"), "set.tar.gz")
    unpacked = len(zlib.decompressobj(wbits=31).decompress(PACKED[:end]))
    there = (unpacked + 3_584 - 3_512) // 3_584  # a picture is whole without the zeros that fill its last block
    assert list(found.items()) == list(PICTURES.items())[:there]


def test_a_garbled_header_in_the_middle_is_no_quiet_end(tmp_path: Path) -> None:
    data = bytearray(WHOLE)
    data[3_584 * 7 : 3_584 * 7 + 512] = b"\xaa" * 512
    (tmp_path / "set.tar").write_bytes(data)
    assert len(expect_damage(read(tmp_path / "set.tar"), "set.tar")) == 7


def test_a_bit_that_flipped_within_a_gzip_is_seen_by_its_sum(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(WHOLE, 0))  # level 0 stores: a flipped bit is a wrong byte and nothing else
    data[len(data) // 2] ^= 1
    (tmp_path / "set.tar.gz").write_bytes(data)
    assert len(expect_damage(read(tmp_path / "set.tar.gz"), "set.tar.gz")) == len(PICTURES)


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz", "set.zip"])
@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\x1f\x8b no gzip either", os.urandom(5_000)])
def test_what_is_no_archive_is_one_damaged_picture(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert expect_damage(read(tmp_path / name), name) == {}


def test_whole_archives_have_no_damage(tmp_path: Path) -> None:
    (tmp_path / "plain.tar").write_bytes(WHOLE)
    (tmp_path / "packed.tgz").write_bytes(gzip.compress(WHOLE))
    (tmp_path / "misnamed.tar").write_bytes(gzip.compress(WHOLE))
    for path in tmp_path.iterdir():
        assert {member.path: member.data for member in read(path)} == PICTURES


def test_a_zip_with_a_broken_member_gives_the_others(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in PICTURES.items():
            archive.writestr(name, data)
        place = archive.getinfo("set/005.jpg").header_offset
    data = bytearray(path.read_bytes())
    data[place + 500] ^= 1
    path.write_bytes(data)
    found = read(path)
    assert [member.path for member in found if member.reason] == ["set/005.jpg"]
    assert {member.path: member.data for member in found if not member.reason}.items() <= PICTURES.items()
    assert len(found) == len(PICTURES)


def test_a_zip_without_its_directory_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"x" * 1_000)
    path.write_bytes(path.read_bytes()[:-30])
    assert expect_damage(read(path), "set.zip") == {}


def test_links_devices_folders_and_other_files_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name in ("._a.jpg", "__MACOSX/a.jpg", "catalog.csv", "../../a.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    assert read(tmp_path / "set.tar") == [Member("../../a.jpg", b"x")]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.jpg", b"x")
    assert read(tmp_path / "set.zip") == [Member("a.jpg", b"x")]
    assert {path.name for path in tmp_path.iterdir()} == {"set.tar", "set.zip"}, "nothing is written to disk"


def test_what_is_too_large_is_told_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_MEMBER_BYTES", 10)
    contents = {"large.jpg": b"x" * 11, "small.jpg": b"x" * 10}
    (tmp_path / "set.tar").write_bytes(tar_bytes(contents))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
            (tmp_path / name).write_bytes(data)
    expected = [Member("large.jpg", b"", "too_large"), Member("small.jpg", b"x" * 10)]
    assert read(tmp_path / "set.tar") == expected
    assert read(tmp_path / "set.zip") == expected
    assert list(read_members(Unit(str(tmp_path), tuple(contents)), is_picture)) == expected


def test_a_name_of_a_gigabyte_is_not_read_into_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    (tmp_path / "set.tar").write_bytes(WHOLE[:3_584] + info.tobuf(tarfile.GNU_FORMAT) + b"a" * 2_048)
    assert len(expect_damage(read(tmp_path / "set.tar"), "set.tar")) == 1


def test_files_of_a_folder_that_cannot_be_read_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"x")
    unit = Unit(str(tmp_path), ("a.jpg", "folder.jpg", "gone.jpg"))
    expected = [Picture("a.jpg", b"x"), Picture("folder.jpg", b"", "unreadable"), Picture("gone.jpg", b"", "missing")]
    assert list(read_pictures(unit, str)) == expected


def test_names_that_are_no_utf8_can_be_stored(tmp_path: Path) -> None:
    name = b"R\xe4ven.jpg".decode("utf-8", "surrogateescape")
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    assert read(tmp_path / "set.tar") == [Member("R\\xe4ven.jpg", b"x")]


def test_memory_does_not_grow_with_the_members_of_a_tar(tmp_path: Path) -> None:
    import tracemalloc

    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for number in range(5_000):
            tar.addfile(tarfile.TarInfo(f"{number}.jpg"))
    peaks = []
    for _ in range(3):  # other threads of this process, such as a server's, take some too, now and then
        tracemalloc.start()
        count = sum(1 for _ in read_members(Unit(str(tmp_path / "set.tar")), is_picture))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == 5_000
    assert min(peaks) < 3_000_000
