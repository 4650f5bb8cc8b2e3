"""Lists of an archive's files: COCO Camera Traps, Camtrap DP, Wildlife Insights, CSV; and files that they miss."""

import gzip
import io
import json
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from trygon.archive.inputs.beside import put_beside
from trygon.archive.inputs.listing import Archive, write_listing
from trygon.archive.inputs.lists import Entry
from trygon.archive.inputs.media import MediaFile
from trygon.errors import UserError
from trygon.lease import Hold
from trygon.storage import write_bytes
from trygon.testing.s3 import s3_server, using

NOON = datetime(2024, 5, 31, 12)


def _write(root: Path, files: dict[str, str | bytes]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())


def _rows(archive: Archive, tmp_path: Path, zone: str = "+00:00") -> tuple[dict[str, dict[str, Any]], int]:
    listing = write_listing(archive, tmp_path / "run", Hold(), zone=zone)
    rows = [row for batch in listing.batches() for row in batch.to_pylist()]
    return {row["path"]: row for row in rows}, listing.num_ignored


def test_coco_camera_traps_gives_times_locations_and_sequences(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "x/1.jpg", "location": 7, "seq_id": "s1", "datetime": "2024-05-31 12:00:00"},
        {"id": 2, "file_name": "x/2.jpg", "datetime": "no date"},
        {"id": 3, "file_name": "x/gone.jpg"},
        {"id": 4, "file_name": "../3.jpg"},
    ]
    _write(tmp_path / "in", {"x/1.jpg": b"1", "x/2.jpg": b"22", "x/more.jpg": b"", "3.jpg": b""})
    _write(tmp_path / "in", {"list.json": json.dumps({"info": {}, "images": images, "annotations": []})})
    rows, num_ignored = _rows(Archive(str(tmp_path / "in/list.json")), tmp_path)
    assert {path: row["failure"] for path, row in rows.items()} == {
        "x/1.jpg": None,
        "x/2.jpg": None,
        "x/gone.jpg": "missing",
        "../3.jpg": "outside",
    }
    first, second = rows["x/1.jpg"], rows["x/2.jpg"]
    assert (first["deployment"], first["timestamp"], first["sequence"], first["bytes"]) == ("7", NOON, "s1", 1)
    assert (second["deployment"], second["timestamp"], second["sequence"]) == ("x", None, None)
    assert num_ignored == 3  # the list itself and the files that it does not name


def test_raw_files_of_a_list_are_there_and_pictures_that_it_does_not_name_are_told(tmp_path: Path) -> None:
    _write(tmp_path / "in", {"a.NEF": b"1", "b.jpg": b"", "c.jpg": b"", "list.csv": "path\na.NEF\n"})
    listing = write_listing(Archive(str(tmp_path / "in/list.csv")), tmp_path / "run", Hold())
    (rows,) = (batch.to_pylist() for batch in listing.batches())
    assert [(row["path"], row["failure"]) for row in rows] == [("a.NEF", "unsupported")]
    assert listing.num_ignored == 3
    assert listing.notes == ("2 files of the archive are not in the list, and are left alone: 2 .jpg",)


@pytest.mark.parametrize(
    "text",
    [
        *("path;deployment\na,1.jpg;7\n", "path\tdeployment\na,1.jpg\t7\n", "path\na,1.jpg\n"),
        'path,"notes\r\n(of the day)",deployment\r\n"a,1.jpg",,7\r\n',
        "path;deployment\n\na,1.jpg;7\n;\n \n",
    ],
)
def test_list_of_a_spreadsheet_and_names_with_commas_are_read(text: str, tmp_path: Path) -> None:
    _write(tmp_path / "in", {"list.csv": text, "a,1.jpg": b"x"})
    rows, _ = _rows(Archive(str(tmp_path / "in/list.csv")), tmp_path)
    assert rows["a,1.jpg"]["deployment"] == ("7" if "deployment" in text else ".")


@pytest.mark.parametrize("nothing", ["NA", "NaN", "nan", ""])
def test_what_tables_write_for_nothing_is_no_deployment_and_no_burst(nothing: str, tmp_path: Path) -> None:
    text = f"path,deployment,timestamp,sequence\nx/1.jpg,{nothing},{nothing},{nothing}\n"
    image = {"file_name": "x/1.jpg", "location": nothing, "seq_id": nothing, "datetime": nothing}
    _write(tmp_path / "in", {"list.csv": text, "list.json": json.dumps({"images": [image]}), "x/1.jpg": b"1"})
    for name in ("list.csv", "list.json"):
        listing = write_listing(Archive(str(tmp_path / "in" / name)), tmp_path / "run", Hold())
        (row,) = [row for batch in listing.batches() for row in batch.to_pylist()]
        assert (row["deployment"], row["timestamp"], row["sequence"]) == ("x", None, None)
        assert listing.notes == ()


def test_a_list_of_files_that_are_elsewhere_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "in", {"list.csv": "path\nhttps://pictures/1.jpg\n/card/2.jpg\ngone/3.jpg\n"})
    with pytest.raises(UserError, match=r"names 3 files, and none of them is in .*: say with --images"):
        _rows(Archive(str(tmp_path / "in/list.csv")), tmp_path)
    assert not (tmp_path / "run/listing.parquet").exists()


def test_camtrap_dp_gives_deployments_and_times_in_the_zone_of_the_project(tmp_path: Path) -> None:
    resources = [{"name": "media", "path": "media.csv.gz"}, {"name": "deployments", "path": "deployments.csv.gz"}]
    media = "mediaID,deploymentID,timestamp,filePath\nm1,north,2024-05-31T12:00:00+0000,media/1.jpg\n"
    places = "deploymentID,latitude,longitude,deploymentStart,deploymentEnd\n"
    places += "north,-1.5,36.25,2024-05-01T00:00:00Z,2024-06-01T00:00:00Z\n"
    files = {"datapackage.json": json.dumps({"resources": resources}), "media/1.jpg": b"x"}
    packed = {"media.csv.gz": gzip.compress(media.encode()), "deployments.csv.gz": gzip.compress(places.encode())}
    _write(tmp_path / "in", files | packed)
    for uri in (tmp_path / "in", tmp_path / "in/datapackage.json"):
        archive = Archive(str(uri))
        rows, _ = _rows(archive, tmp_path, "Africa/Nairobi")
        assert rows.keys() == {"media/1.jpg"}
        assert rows["media/1.jpg"]["deployment"] == "north"
        assert rows["media/1.jpg"]["timestamp"] == datetime(2024, 5, 31, 15)
        listing = write_listing(archive, tmp_path / "run", Hold())
        assert (listing.num_moved, listing.offsets) == (1, ("+00:00",))
        (place,) = archive.deployments("Africa/Nairobi")
        assert (place.latitude, place.longitude, place.start) == (-1.5, 36.25, datetime(2024, 5, 1, 3))


def test_camtrap_dp_with_urls_is_found_under_the_names_that_copies_have(tmp_path: Path) -> None:
    """As Agouti writes it: an address without an extension, and the name that the camera gave."""
    head = "mediaID,deploymentID,timestamp,filePath,fileName,fileMediatype\n"
    rows = [
        "m1,D1,2024-05-31T12:00:00Z,https://agouti/m1/file,IMG_1.JPG,image/jpeg",
        "m2,D2,2024-05-31T12:00:01Z,https://agouti/m2/file,IMG_1.JPG,image/jpeg",
        "m3,D2,2024-05-31T12:00:02Z,https://agouti/m3/file,IMG_3.JPG,image/jpeg",
        "m4,D2,2024-05-31T12:00:03Z,https://agouti/m4/file,IMG_4.JPG,image/jpeg",
        "m5,D2,2024-05-31T12:00:04Z,https://agouti/m5/file,,video/mp4",
        "m6,D2,2024-05-31T12:00:05Z,https://agouti/m6/file,notes.txt,text/plain",
    ]
    package = json.dumps({"resources": [{"name": "media", "path": "media.csv"}]})
    _write(tmp_path / "in", {"datapackage.json": package, "media.csv": head + "\n".join(rows)})
    archive = Archive(str(tmp_path / "in"), str(tmp_path / "pictures"))
    _write(tmp_path / "pictures", {"more.jpg": b"x"})
    with pytest.raises(UserError, match=r"names 5 files, and none of them is in .*pictures: say with --images"):
        _rows(archive, tmp_path)
    _write(tmp_path / "pictures", {"D1/IMG_1.JPG": b"1", "D2/IMG_1.JPG": b"2", "IMG_3.JPG": b"3", "IMG_1.JPG": b"?"})
    listed, num_ignored = _rows(archive, tmp_path)
    assert {path: (row["deployment"], row["failure"]) for path, row in listed.items()} == {
        "D1/IMG_1.JPG": ("D1", None),
        "D2/IMG_1.JPG": ("D2", None),
        "IMG_3.JPG": ("D2", None),
        "agouti/m4/file/IMG_4.JPG": ("D2", "missing"),
        "agouti/m5/file.mp4": ("D2", "missing"),
    }
    assert num_ignored == 3  # two that the package does not name, and one that is no picture


def test_wildlife_insights_pictures_are_found_under_the_names_that_copies_have(tmp_path: Path) -> None:
    head = "project_id,deployment_id,image_id,filename,location,timestamp,common_name\n"
    rows = [
        "1,D1,i1,IMG_1.JPG,gs://wi/D1/i1.JPG,2024-05-31 12:00:00,lion",
        "1,D1,i1,IMG_1.JPG,gs://wi/D1/i1.JPG,2024-05-31 12:00:00,jackal",  # a row for each animal in the picture
        "1,D1,i2,IMG_2.JPG,gs://wi/D1/i2.JPG,2024-05-31 12:00:01,",
        "1,D2,i3,IMG_1.JPG,gs://wi/D2/i3.JPG,2024-05-31 12:00:02,",
        "1,D2,i4,IMG_4.JPG,gs://wi/D2/i4.JPG,2024-05-31 12:00:03,",
    ]
    places = "deployment_id,placename,longitude,latitude,start_date,end_date\nD1,x,36,-1,2024-05-01,2024-06-01\n"
    _write(tmp_path / "in", {"images_1.csv": head + "\n".join(rows), "deployments.csv": places})
    found = {"wi/D1/i1.JPG": b"1", "D1/i2.JPG": b"2", "D2/IMG_1.JPG": b"3", "IMG_4.JPG": b"4", "IMG_1.JPG": b"5"}
    _write(tmp_path / "pictures", dict[str, str | bytes](found))
    archive = Archive(str(tmp_path / "in"), str(tmp_path / "pictures"))
    listed, num_ignored = _rows(archive, tmp_path)
    assert {path: row["deployment"] for path, row in listed.items()} == {
        "wi/D1/i1.JPG": "D1",
        "D1/i2.JPG": "D1",
        "D2/IMG_1.JPG": "D2",
        "IMG_4.JPG": "D2",
    }
    assert num_ignored == 1  # IMG_1.JPG alone may be of D1 or of D2
    (place,) = archive.deployments("+00:00")
    assert (place.start, place.end) == (datetime(2024, 5, 1), datetime(2024, 6, 1, 23, 59, 59))


@pytest.mark.parametrize("kind", ["coco", "csv", "camtrap-dp", "wildlife-insights"])
def test_times_in_another_spelling_are_told(kind: str, tmp_path: Path) -> None:
    times = ["5/31/2024 18:30", "2024-05-31 12:00:00", "31.05.2024", ""]
    images = [{"file_name": f"{number}.jpg", "datetime": time} for number, time in enumerate(times)]
    rows = [f"{number}.jpg,{time}" for number, time in enumerate(times)]
    files = {
        "coco": {"list.json": json.dumps({"images": images})},
        "csv": {"list.csv": "\n".join(["path,timestamp", *rows])},
        "camtrap-dp": {
            "datapackage.json": json.dumps({"resources": [{"name": "media", "path": "media.csv"}]}),
            "media.csv": "\n".join(["filePath,timestamp", *rows]),
        },
        "wildlife-insights": {
            "images.csv": "\n".join(["filename,timestamp", *rows]),
            "deployments.csv": "deployment_id\n",
        },
    }[kind]
    _write(tmp_path / "in", {**files, **{f"{number}.jpg": b"x" for number in range(4)}})
    place = next(iter(files)) if kind in ("coco", "csv") else ""
    listing = write_listing(Archive(str(tmp_path / "in" / place)), tmp_path / "run", Hold())
    (note,) = listing.notes
    assert note.startswith("2 times of the list cannot be read, such as '5/31/2024 18:30'")
    found = {row["path"]: row["timestamp"] for batch in listing.batches() for row in batch.to_pylist()}
    assert found == {"0.jpg": None, "1.jpg": NOON, "2.jpg": None, "3.jpg": None}


def test_csv_list_on_s3_names_pictures_in_a_zip(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("a/1.jpg", b"one")
    with s3_server("lists") as address, using(address):
        write_bytes(
            "s3://lists/frames.csv",
            "\ufeffRelativePath,File,DateTime,Station\na,1.jpg,2024:05:31 12:00:00,N\n".encode(),
        )
        write_bytes("s3://lists/frames.zip", buffer.getvalue())
        archive = Archive("s3://lists/frames.csv", "s3://lists/frames.zip")
        rows, _ = _rows(archive, tmp_path)
        row = rows["a/1.jpg"]
        assert (row["deployment"], row["timestamp"]) == ("N", NOON)
        assert archive.read(row["path"], row["member"]) == b"one"


def test_files_are_found_by_any_of_their_names_and_named_once() -> None:
    entries = [Entry(("a/1.jpg", "1.jpg"), "A"), Entry(("b/1.jpg", "1.jpg"), "B"), Entry(("b/1.jpg",), "again")]
    files = [MediaFile("b/1.jpg", 1), MediaFile("1.jpg", 1), MediaFile("c.jpg", 1)]
    found = [(it.path, it.camera, it.failure, it.unlisted) for it in put_beside(files, [*entries, Entry(("z.jpg",))])]
    assert found == [
        ("b/1.jpg", "B", None, False),
        ("1.jpg", None, None, True),
        ("c.jpg", None, None, True),
        ("a/1.jpg", "A", "missing", False),
        ("z.jpg", None, "missing", False),
    ]
    assert [it.unlisted for it in put_beside(files, [])] == [True] * 3
    assert [it.failure for it in put_beside([], entries)] == ["missing", "missing"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"images": [{"file": "x.jpg"}]}', "no file_name"),
        ("a.json", '{"images": []}', "has no images"),
        ("a.json", '{"images": [', "no JSON"),
        ("a.csv", "species,count\nlion,1\n", "line 2: a row without a path"),
        ("a.csv", "path,species\na.jpg,lion\n\n,lion\n", "line 4: a row without a path"),
        ("a.csv", b"path\n\xff\xfe\n", "CSV file in UTF-8"),
        ("a.csv", "path,deployment\na.jpg,7\nb, c.jpg,7\n", "line 3: 3 values for 2 columns"),
        ("datapackage.json", '{"resources": [{"name": "media", "path": "../media.csv"}]}', "no table 'media'"),
        ("datapackage.json", "[]", "no table 'media'"),
        ("list.csv", 'path\n1.jpg\n"2.jpg\n3.jpg\n', "each quotation mark closed"),
        ("a.rar", "Rar!", "no kind of file that is known here"),
    ],
)
def test_wrong_list_is_one_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    _write(tmp_path, {name: content})
    archive = Archive(str(tmp_path / name))
    with pytest.raises(UserError, match=message) as caught:
        _require_and_list(archive)
    assert "\n" not in str(caught.value)


def _require_and_list(archive: Archive) -> None:
    archive.require()
    list(archive.files())
