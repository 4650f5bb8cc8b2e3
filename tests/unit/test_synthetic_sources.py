"""The synthetic sources: their formats are the real ones, and what is wrong in them is what the truth says."""

import csv
import io
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trygon.data.sources.catalog import open_source
from trygon.data.synthetic.parts import Part, plan, unfinished, write_part
from trygon.data.synthetic.pictures import picture, picture_size
from trygon.data.synthetic.recipe import Recipe, SourceKind
from trygon.data.synthetic.truth import TRUTH
from trygon.data.synthetic.world import DIRT_SHARES, Dirt, make_world
from trygon.storage import read_json
from trygon.taxonomy.names import clean_lineage
from trygon.taxonomy.taxon import RANKS, Rank

pytestmark = pytest.mark.slow

RECIPE = Recipe(images=500, sources=tuple(SourceKind), species=80, seed=3)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic")
    for part in plan(RECIPE, str(out), 90):
        write_part(part)
    return out


@pytest.fixture(scope="module")
def truth(out: Path) -> list[dict[str, Any]]:
    table = pq.read_table(out / "truth.parquet")
    assert table.schema == TRUTH
    return table.to_pylist()


def _place(out: Path, kind: str) -> str:
    return str(out / "photos") if kind == SourceKind.FOLDER else f"{kind}:{out / kind}"


@pytest.mark.parametrize("kind", list(SourceKind))
def test_readers_find_every_picture_with_its_bytes(kind: SourceKind, out: Path, truth: list[dict[str, Any]]) -> None:
    world, source = make_world(RECIPE), open_source(_place(out, kind))
    ids = {row["source_id"] for row in truth if row["source"] == kind}
    read = {found.source_id: found.data for unit in source.units() for found in source.read(unit)}
    assert set(read) == ids
    assert len(read) == len(world.records[kind])
    expected = Counter(picture(world, kind, serial) for serial in range(len(read)))
    assert Counter(read.values()) == expected


@pytest.mark.parametrize("kind", list(SourceKind))
def test_names_that_are_cleaned_are_the_true_ones(kind: SourceKind, out: Path, truth: list[dict[str, Any]]) -> None:
    found = {
        row["source_id"]: clean_lineage([row[rank] for rank in RANKS])
        for row in open_source(_place(out, kind)).records().to_pylist()
    }
    rows = [row for row in truth if row["source"] == kind]
    assert len(found) == len(rows)
    for row in rows:
        assert found[row["source_id"]] == tuple(row[rank] for rank in RANKS), row


def test_dirt_is_there_in_the_stated_shares(out: Path, truth: list[dict[str, Any]]) -> None:
    world, summary = make_world(RECIPE), read_json(out / "truth.json")
    listed = {kind: found["count"] for kind, found in summary["dirt"].items()}
    assert listed == Counter(row["dirt"] for row in truth if row["dirt"])
    assert set(listed) == {dirt.name.lower() for dirt in Dirt if dirt}
    assert summary["pictures"] == Counter(row["source"] for row in truth)
    for source, shares in DIRT_SHARES.items():
        number = len(world.records[source])
        for dirt, share in shares.items():
            made = sum(row["source"] == source and row["dirt"] == dirt.name.lower() for row in truth)
            assert made == max(1, round(share * number)), (source, dirt)
    assert summary["spellings"]["open"] > 0
    assert len(summary["homonyms"]) == 1


def test_each_kind_of_dirt_is_what_it_says() -> None:
    world = make_world(Recipe(images=4000, sources=tuple(SourceKind), seed=3))
    records = world.records[SourceKind.EOL]
    for dirt in list(Dirt)[1:]:
        serial = int((records.dirt == dirt).argmax())
        data = picture(world, SourceKind.EOL, serial)
        if records.copy_of[serial] >= 0:
            source = list(SourceKind)[records.copy_source[serial]]
            original = picture(world, source, int(records.copy_of[serial]))
            assert (data == original) == (dirt is not Dirt.NEAR_COPY)
            assert Image.open(io.BytesIO(data)).mode == "RGB"
        elif dirt is Dirt.NOT_AN_IMAGE:
            with pytest.raises(OSError, match="cannot identify"):
                Image.open(io.BytesIO(data))
        elif dirt is Dirt.TRUNCATED:
            with pytest.raises(OSError, match="truncated"):
                Image.open(io.BytesIO(data)).load()
        else:
            image = Image.open(io.BytesIO(data))
            assert image.size == picture_size(world, SourceKind.EOL, serial)
            assert (image.mode == "L") == (dirt is Dirt.GREY)
            assert (max(image.size) < 64) == (dirt is Dirt.TINY)


def test_the_benchmarks_species_are_in_eol_too(out: Path, truth: list[dict[str, Any]]) -> None:
    rare = {tuple(lineage) for lineage in read_json(out / "truth.json")["rare_species"]}
    shown = {tuple(row[rank] for rank in RANKS) for row in truth if row["source"] == "eol" and row["rare"]}
    assert rare <= shown
    (copy,) = (row for row in truth if row["dirt"] == "benchmark_copy")
    with (out / "rarespecies/metadata/rarespecies-catalog.csv").open() as file:
        catalog = {row["rarespecies_id"]: row for row in csv.DictReader(file)}
    original = catalog[copy["copy_of"]]
    assert copy["source_id"] == f"{original['eol_content_id']}_{original['eol_page_id']}"
    assert len({row["sciName"] for row in catalog.values()}) == len(rare)


def test_bioscan_is_labelled_as_deep_as_the_real_one() -> None:
    records = make_world(Recipe(images=5000, sources=(SourceKind.BIOSCAN,))).records[SourceKind.BIOSCAN]
    for rank, share in {Rank.FAMILY: 0.986, Rank.GENUS: 0.225, Rank.SPECIES: 0.075}.items():
        assert abs((records.rank >= rank).mean() - share) < 0.02


def test_pictures_of_species_have_a_long_tail() -> None:
    world = make_world(Recipe(images=22_000, sources=(SourceKind.EOL,), species=1000))
    counts = sorted(Counter(world.records[SourceKind.EOL].species.tolist()).values(), reverse=True)
    assert sum(counts[:100]) > 0.4 * sum(counts)
    assert counts[len(counts) // 2] < sum(counts) / 1000


def test_image_sets_and_manifests_are_eols(out: Path) -> None:
    with tarfile.open(out / "eol/image_set_01.tar.gz") as tar:
        members = tar.getmembers()
        assert members[0].name == "catalog.csv"
        assert all(member.mtime == 0 for member in members)
        catalog = list(csv.DictReader(io.TextIOWrapper(tar.extractfile(members[0]) or io.BytesIO())))
        assert [row["filename"] for row in catalog] == [member.name for member in members[1:]]
    lines = (out / "eol/media_manifest_1.csv").read_text().splitlines()
    assert lines[0].startswith("EOL content ID,EOL page ID,Medium Source URL,EOL Full-Size Copy URL,")
    assert len(lines) == 1 + len(make_world(RECIPE).records[SourceKind.EOL])


def test_only_the_first_manifest_has_a_header(tmp_path: Path) -> None:
    parts = [part for part in plan(RECIPE, str(tmp_path), 10) if part.kind == "manifest"]
    assert len(parts) > 2
    for part in parts[:2]:
        write_part(part)
    assert (tmp_path / "eol/media_manifest_1.csv").read_text().startswith("EOL content ID")
    assert (tmp_path / "eol/media_manifest_2.csv").read_text()[0].isdigit()


def test_a_part_made_again_or_by_another_worker_is_the_same(out: Path, tmp_path: Path) -> None:
    make_world.cache_clear()
    parts = plan(RECIPE, str(tmp_path), 90)
    assert unfinished(parts) == parts
    for part in parts[::-1]:
        write_part(part)
    assert not unfinished(parts)
    ours, theirs = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path, out)
    )
    assert ours == theirs


@pytest.mark.parametrize("images", [100, 101, 333])
@pytest.mark.parametrize("sources", [(kind,) for kind in SourceKind] + [(SourceKind.FOLDER, SourceKind.EOL)])
def test_small_and_partial_worlds_are_made(images: int, sources: tuple[SourceKind, ...]) -> None:
    recipe = Recipe(images=images, sources=sources, species=30)
    parts = plan(recipe, "unused", 50)
    assert sum(part.num_pictures for part in parts) == images
    assert {part.source for part in parts if isinstance(part, Part) and part.source} == set(sources)


def test_many_pictures_of_few_species_leave_some_out_of_the_benchmark() -> None:
    world = make_world(Recipe(images=40_000, sources=(SourceKind.EOL, SourceKind.RARESPECIES), species=30))
    assert len(set(world.rare_species.tolist())) == 22
    assert len(np.unique(world.records[SourceKind.EOL].species)) == 30
