"""Each source is read in its publisher's format; what pictures there are and what is said of them fit together."""

import io
import os
import pickle
import tarfile
from pathlib import Path

import pytest

from trygon.data.sources.catalog import SOURCES, open_source, open_sources
from trygon.data.sources.eol import Eol
from trygon.data.sources.folder import Folder, PathList
from trygon.data.sources.inat21 import INat21
from trygon.data.sources.source import UNIT_FILES
from trygon.data.sources.tables import num_bad_lines, read_columns
from trygon.errors import UserError
from trygon.schemas import RECORD
from trygon.storage import join, write_bytes
from trygon.testing.s3 import s3_server, using
from trygon.testing.sources import LABELS_HEADER, RAVEN, lineage_of, read_all, rows_of, write_csv, write_files


def test_folder_with_labels_as_excel_writes_them(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    write_files(folder, {"a/b.JPG": b"b", "c.png": b"c", "notes.txt": b"n"})
    write_csv(folder / "labels.csv", [LABELS_HEADER, ["./a/b.JPG", *RAVEN, "Räven", "CC0", "Me"], ["", *[""] * 10]])
    (folder / "labels.csv").write_bytes(b"\xef\xbb\xbf" + (folder / "labels.csv").read_bytes())
    source = open_source(str(folder))
    rows = rows_of(source)
    assert source.name == "my photos"
    assert set(rows) == {"a/b.JPG"}
    assert num_bad_lines(source.records()) == 1
    assert rows["a/b.JPG"]["common"] == "Räven"
    assert rows["a/b.JPG"]["rights_holder"] == "Me"
    assert read_all(source) == {"a/b.JPG": b"b", "c.png": b"c"}


def test_what_labels_name_is_a_picture_whatever_its_ending(tmp_path: Path) -> None:
    named = {"a.heic": b"a", "b.JFIF": b"b", "c": b"c", "d.zip": b"d", "e.jpg": b"e"}
    write_files(tmp_path, {**named, "f.png": b"f", "g.heic": b"g", "h.zip": b"h"})
    write_csv(tmp_path / "labels.csv", [LABELS_HEADER, *([path, *RAVEN, "", "", ""] for path in named)])
    assert read_all(Folder(str(tmp_path))) == named | {"f.png": b"f"}


def test_names_that_are_no_utf8_are_read(tmp_path: Path) -> None:
    folder = tmp_path / ("train/00000_" + "_".join(RAVEN))
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"\xe9.jpg")).write_bytes(b"e")
    source = INat21(str(tmp_path))
    assert set(rows_of(source)) == set(read_all(source))
    (name,) = read_all(Folder(str(folder)))
    assert name == r"\xe9.jpg"


def test_labels_in_another_encoding_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.jpg": b"a"})
    write_csv(tmp_path / "labels.csv", [LABELS_HEADER, ["a.jpg", *RAVEN, "x", "", ""]])
    text = (tmp_path / "labels.csv").read_bytes()
    (tmp_path / "labels.csv").write_bytes(text.replace(b",x,", b",R\xe4ven,"))
    with pytest.raises(UserError, match=r"labels\.csv cannot be read as a table of text in UTF-8"):
        Folder(str(tmp_path)).records()


def test_labels_as_r_on_windows_writes_them(tmp_path: Path) -> None:
    write_csv(tmp_path / "labels.csv", [LABELS_HEADER, [".\\sub\\a.jpg", *RAVEN[:6], "NA", "NA", "NA", "NaN"]])
    row = rows_of(Folder(str(tmp_path)))["sub/a.jpg"]
    assert [row[name] for name in ("genus", "species", "common", "license", "rights_holder")] == [RAVEN[5], *[""] * 4]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_labels_end_as_any_system_ends_them(tmp_path: Path, end: str) -> None:
    lines = [",".join(LABELS_HEADER), *(f"{name}.jpg,{','.join(RAVEN)},a raven,," for name in "ab")]
    (tmp_path / "labels.csv").write_text(end.join(lines) + end, newline="")
    assert rows_of(Folder(str(tmp_path)))["b.jpg"]["common"] == "a raven"


def test_lines_that_are_no_rows_are_counted(tmp_path: Path) -> None:
    write_csv(tmp_path / "list.csv", [LABELS_HEADER, ["a.jpg", *RAVEN, "", "", ""], ["b.jpg", "Animalia"]])
    records = PathList(str(tmp_path / "list.csv")).records()
    assert records["source_id"].to_pylist() == ["a.jpg"]
    assert num_bad_lines(records) == 1


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_table_without_rows_has_none(tmp_path: Path, end: str) -> None:
    (tmp_path / "list.csv").write_text(",".join(LABELS_HEADER) + end)
    records = PathList(str(tmp_path / "list.csv")).records()
    assert (records.num_rows, num_bad_lines(records)) == (0, 0)
    assert records.schema.equals(RECORD)


@pytest.mark.parametrize("next_quote", ["", '"', '"of 9, or so"'])
@pytest.mark.parametrize("length", [5, 50_000])
def test_a_quotation_mark_that_nothing_closes(tmp_path: Path, length: int, next_quote: str) -> None:
    common = "c" * length
    lines = [f"{number}.jpg,{','.join(RAVEN)},{common},," for number in range(400)]
    lines[3] = f'3.jpg,{",".join(RAVEN)},{common},,"me'
    lines[7] = f"7.jpg,{','.join(RAVEN)},{common},,{next_quote}"
    lines[9] = f'9.jpg,{",".join(RAVEN)},"{common}\nin two lines",,'
    place = str(tmp_path / "list.csv")
    Path(place).write_text("\n".join([",".join(LABELS_HEADER), *lines]) + "\n")
    with pytest.raises(UserError, match=r"list\.csv is not a CSV .* line 5 has one that nothing closes"):
        PathList(place).records()
    foreign = read_columns(place, {"path": ("path",), "common": ("common",)})
    assert num_bad_lines(foreign) == 1 + (next_quote == '"')
    assert foreign.num_rows + num_bad_lines(foreign) == len(lines)
    assert f"{common}\nin two lines" in foreign["common"].to_pylist()


def test_list_of_paths_anywhere(tmp_path: Path) -> None:
    write_files(tmp_path, {"lists/near.jpg": b"near", "far/away": b"far"})
    paths = ["near.jpg", str(tmp_path / "far" / "away"), "gone.jpg", "near.jpg"]
    write_csv(tmp_path / "lists" / "birds.csv", [LABELS_HEADER, *([path, *RAVEN, "", "", ""] for path in paths)])
    source = open_source(f"list:{tmp_path / 'lists' / 'birds.csv'}")
    assert source.name == "birds"
    pictures = [(each.source_id, each.data, each.reason) for unit in source.units() for each in source.read(unit)]
    assert pictures == [(paths[0], b"near", ""), (paths[1], b"far", ""), (paths[2], b"", "missing")]
    assert source.records().num_rows == 4


def test_units_are_small_sorted_and_the_same_every_time(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{number:04}.jpg": b"" for number in range(UNIT_FILES + 1)})
    source = pickle.loads(pickle.dumps(Folder(str(tmp_path))))
    units = source.units()
    assert [len(unit.members) for unit in units] == [UNIT_FILES, 1]
    assert sorted(units[0].members) == list(units[0].members)
    assert units == Folder(str(tmp_path)).units()


def test_sources_on_s3_are_as_those_on_disk() -> None:
    corvid = "train/00000_" + "_".join(RAVEN)
    with s3_server("tree") as address, using(address):
        for root in ("s3://tree", f"s3://tree/of life?endpoint_override={address}"):
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz") as tar:
                info = tarfile.TarInfo("11_106_eol-full-size-copy.jpg")
                info.size = 3
                tar.addfile(info, io.BytesIO(b"eol"))
            write_bytes(join(root, "inat", corvid, "a b.jpg"), b"inat")
            write_bytes(join(root, "eol", "image_set_01.tar.gz"), packed.getvalue())
            labels = f"{','.join(LABELS_HEADER)}\n{join(root, 'inat', corvid, 'a b.jpg')},{','.join(RAVEN)},,,\n"
            write_bytes(join(root, "own", "labels.csv"), labels.encode())
            inat, eol = open_source(f"inat21:{join(root, 'inat')}"), open_source(f"eol:{join(root, 'eol')}")
            own = open_source(f"list:{join(root, 'own', 'labels.csv')}")
            assert read_all(inat) == {f"{corvid}/a b.jpg": b"inat"}
            assert lineage_of(rows_of(inat)[f"{corvid}/a b.jpg"]) == RAVEN
            assert read_all(eol) == {"11_106": b"eol"}
            assert read_all(own) == {join(root, "inat", corvid, "a b.jpg"): b"inat"}
            assert own.name == "labels"
            with pytest.raises(UserError, match=r"media_manifest_1\.csv: put"):
                eol.records()


@pytest.mark.parametrize("kind", SOURCES)
def test_an_empty_place_says_what_to_put_there(tmp_path: Path, kind: str) -> None:
    source = open_source(f"{kind}:{tmp_path / 'empty'}")
    assert pickle.loads(pickle.dumps(source)) == source
    for ask in (source.units, source.records):
        with pytest.raises(UserError, match=r"empty.*(put|cannot be read)"):
            ask()


def test_a_file_without_the_columns_is_told(tmp_path: Path) -> None:
    write_csv(tmp_path / "labels.csv", [["path", "kingdom"], ["a.jpg", "Animalia"]])
    with pytest.raises(UserError, match=r"labels\.csv has no column 'phylum'.*It needs the columns path"):
        Folder(str(tmp_path)).records()


def test_places_are_whole_for_workers_that_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert open_source("folder:.").uri == str(tmp_path)
    assert open_source("folder:.").name == tmp_path.name
    assert open_source("inat21:~/x").uri == "/home/somebody/x"


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(",".join(LABELS_HEADER).encode() + b"\n" + b"x" * (25 << 20))
    with pytest.raises(UserError, match=r"list\.csv cannot be read as a table of text"):
        PathList(str(tmp_path / "list.csv")).records()


def test_sources_are_told_in_a_line() -> None:
    told = ["inat21:/a", "birds=inat21:/b/", "s3://bucket/photos", "eol:s3://bucket/eol", "/c/x=eol:y"]
    opened = [(type(source), source.name, source.uri) for source in open_sources(told)]
    assert opened == [
        (INat21, "inat21", "/a"),
        (INat21, "birds", "/b"),
        (Folder, "photos", "s3://bucket/photos"),
        (Eol, "eol", "s3://bucket/eol"),
        (Folder, "x=eol:y", "/c/x=eol:y"),
    ]
    with pytest.raises(UserError, match=r"'inat' is no kind of source; the kinds are inat21, bioscan"):
        open_source("inat:/a")
    with pytest.raises(UserError, match="names no place"):
        open_source("eol:")


def test_two_sources_of_one_name_are_refused_until_one_is_named() -> None:
    with pytest.raises(
        UserError, match="two sources are called photos: name this one, as in photos2=folder:/a/photos"
    ):
        open_sources(["/a/photos", "/b/photos"])
    assert [source.name for source in open_sources(["photos2=folder:/a/photos", "/b/photos"])] == ["photos2", "photos"]
