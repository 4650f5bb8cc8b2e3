"""BIOSCAN-1M is read in its publisher's forms."""

import json
import zipfile
from pathlib import Path

import pytest

from trygon.data.sources.bioscan import Bioscan
from trygon.testing.sources import lineage_of, read_all, rows_of, write_csv, write_files

BIOSCAN_HEADER = ["sampleid", "phylum", "class", "order", "family", "subfamily", "genus", "species", "image_file"]


BIOSCAN_ROWS = [
    ["s1", "Arthropoda", "Insecta", "Diptera", "Sciaridae", "x", "not_classified", "not_classified", "1_0.jpg"],
    ["s2", "Arthropoda", "Insecta", "Diptera", "Muscidae", "x", "Musca", "Musca domestica", "2_0.jpg"],
]


BIOSCAN_PICTURES = {"1_0.jpg": b"one", "2_0.jpg": b"two"}


def write_bioscan_table(folder: Path, kind: str) -> None:
    header = [*BIOSCAN_HEADER, "copyright_license", "copyright_holder"]
    rows = [[*row, "CreativeCommons - Attribution", "CBG Photography Group"] for row in BIOSCAN_ROWS]
    if kind == "tsv":
        write_csv(folder / "BIOSCAN_Insect_Dataset_metadata.tsv", [header, *rows], "\t")
    else:
        content = json.dumps([dict(zip(header, row, strict=True)) for row in rows])
        (folder / "BIOSCAN_Insect_Dataset_metadata.jsonld").write_text(content)


@pytest.mark.parametrize("kind", ["tsv", "jsonld"])
def test_bioscan_says_nothing_where_it_is_not_classified(tmp_path: Path, kind: str) -> None:
    write_bioscan_table(tmp_path, kind)
    rows = rows_of(Bioscan(str(tmp_path)))
    assert lineage_of(rows["1_0.jpg"]) == ("Animalia", "Arthropoda", "Insecta", "Diptera", "Sciaridae", "", "")
    assert rows["2_0.jpg"]["species"] == "Musca domestica"
    assert rows["2_0.jpg"]["rights_holder"] == "CBG Photography Group"
    assert rows["2_0.jpg"]["license"] == "CreativeCommons - Attribution"


@pytest.mark.parametrize("form", ["folders", "part zips", "one zip"])
def test_bioscan_pictures_in_every_form(tmp_path: Path, form: str) -> None:
    parts = {"part1/1_0.jpg": b"one", "part2/2_0.jpg": b"two"}
    (tmp_path / "cropped_256").mkdir()
    write_files(tmp_path / "original_256" / "part1", {"1_0.jpg": b"not this one"})
    if form == "folders":
        write_files(tmp_path / "cropped_256", parts)
    elif form == "part zips":
        for path, data in parts.items():
            with zipfile.ZipFile(tmp_path / "cropped_256" / f"{path[:5]}.zip", "w") as archive:
                archive.writestr(path, data)
    else:
        with zipfile.ZipFile(tmp_path / "cropped_256.zip", "w") as archive:
            archive.mkdir("cropped_256")
            for path, data in parts.items():
                archive.writestr(f"cropped_256/{path}", data)
    assert read_all(Bioscan(str(tmp_path))) == BIOSCAN_PICTURES
