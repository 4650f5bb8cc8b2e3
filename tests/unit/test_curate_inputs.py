"""What a curation reads, what it takes for the same, and what it tells before hours are spent. Without Ray."""

import zipfile
from pathlib import Path

import pytest

from trygon.data import curation
from trygon.data.curation import Job, list_parts, read_renders, render_jobs, run_jobs
from trygon.data.render import Rendering, load_backgrounds
from trygon.data.sources.folder import PathList
from trygon.errors import UserError
from trygon.storage import write_json
from trygon.taxonomy.resolution import Backbone
from trygon.taxonomy.taxon import RANKS
from trygon.testing.photos import draw_photo, write_labels, write_photo_folder
from trygon_jobs.curate import CurateConfig
from trygon_jobs.curate_inputs import open_inputs, read_records
from trygon_jobs.curate_output import Stage, claim, stands

LION = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo")


@pytest.fixture
def config(tmp_path: Path) -> CurateConfig:
    write_photo_folder(tmp_path / "photos", photos_per_species=1)
    return CurateConfig(out=str(tmp_path / "out"), source=(str(tmp_path / "photos"),))


def _table(path: Path, *lineage: str) -> str:
    path.write_text("\n".join([",".join(RANKS), ",".join(lineage)]) + "\n")
    return str(path)


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.tab", "a.txt", "a.parquet", "redlist.zip"])
def test_files_of_taxa_to_exclude_are_known_by_their_ending(name: str, config: CurateConfig, tmp_path: Path) -> None:
    write_photo_folder(tmp_path / "bench", photos_per_species=1)
    excluded = (str(tmp_path / name), str(tmp_path / "bench"))
    inputs = open_inputs(config.model_copy(update={"exclude": excluded}))
    assert inputs.tables == (str(tmp_path / name),)
    assert [source.name for source in inputs.benchmarks] == ["bench"]
    assert [source.name for source, _ in inputs.units] == ["bench", "photos"]


def test_a_table_to_exclude_that_names_no_species_is_told(config: CurateConfig, tmp_path: Path) -> None:
    def species(*lineage: str) -> set[tuple[str, str]]:
        excluded = (_table(tmp_path / "taxa.csv", *lineage),)
        return read_records(open_inputs(config.model_copy(update={"exclude": excluded})), None).species

    assert species(*LION[:-1], "Panthera leo") == {("Panthera", "leo")}
    for lineage in ((*LION[:-1], ""), ("", "", "", "", "", "", "leo")):
        with pytest.raises(UserError, match=r"--exclude .*taxa\.csv names no species, .*genus, species"):
            species(*lineage)


def test_a_benchmark_species_that_the_backbone_renames_in_pictures_alone_is_kept_out(tmp_path: Path) -> None:
    """On the list its higher ranks are other ones, so that the backbone does not know it there."""
    rows = ["taxonID\tacceptedNameUsageID\tscientificName\ttaxonRank\t" + "\t".join(RANKS[:5])]
    rows += ["1\t\tPanthera leo\tspecies\t" + "\t".join(LION[:5]), "2\t1\tFelis leo\tspecies\t\t\t\t\t"]
    (tmp_path / "backbone.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "photos").mkdir()
    photos = [("a.jpg", *LION[:5], "Felis", "leo"), ("b.jpg", *LION), ("c.jpg", *LION[:5], "Felis", "catus")]
    (tmp_path / "photos" / "labels.csv").write_text(
        "\n".join(",".join(row) for row in [("path", *RANKS), *photos]) + "\n"
    )
    for name, *_ in photos:
        draw_photo(tmp_path / "photos" / name, 9, cutout=False)
    listed = _table(
        tmp_path / "list.csv", "Animalia", "Mollusca", "Gastropoda", "Littorinimorpha", "Aidae", "Felis", "leo"
    )
    config = CurateConfig(
        out=str(tmp_path / "out"),
        source=(str(tmp_path / "photos"),),
        exclude=(listed,),
        backbone=str(tmp_path / "backbone.tsv"),
    )
    records = read_records(open_inputs(config), Backbone.load(tmp_path / "backbone.tsv"))
    assert records.tables["photos"]["genus"].to_pylist() == ["Panthera", "Panthera", "Felis"]
    assert records.species == {("Felis", "leo"), ("Panthera", "leo")}


def test_what_a_backbone_lost_is_known(tmp_path: Path) -> None:
    rows = ["scientificName\ttaxonRank", "Panthera leo\tspecies", "Panthera onca", "(unknown)\tspecies"]
    (tmp_path / "taxa.tsv").write_text("\n".join(rows) + "\n")
    told = Backbone.load(tmp_path / "taxa.tsv").told()
    assert told["left_out"] == {"wrong number of columns": 1, "no usable name": 1}
    assert (told["taxa"], told["synonyms"]) == (2, 0)


def test_backgrounds_without_a_picture_are_told(
    config: CurateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = config.model_dump() | {"views": 2}
    (tmp_path / "grounds").mkdir()
    for place in ("~/typo", "~/grounds"):
        with pytest.raises(UserError, match=rf"--backgrounds {tmp_path}/{place[2:]} holds no pictures"):
            open_inputs(CurateConfig.model_validate(settings | {"backgrounds": place}))
    draw_photo(tmp_path / "grounds" / "a.jpg", 9, cutout=False)
    inputs = open_inputs(CurateConfig.model_validate(settings | {"backgrounds": "~/grounds"}))
    assert len(load_backgrounds(inputs.backgrounds)) == 1
    (tmp_path / "grounds" / "b.jpg").write_bytes(b"broken")
    load_backgrounds.cache_clear()
    with pytest.raises(UserError, match=r"the background .*b\.jpg cannot be used \(not_an_image\)"):
        load_backgrounds(inputs.backgrounds)


def test_an_archive_that_changed_is_another_curation_and_a_table_is_read_again(
    config: CurateConfig, tmp_path: Path
) -> None:
    def packed(content: bytes) -> None:
        with zipfile.ZipFile(tmp_path / "inat" / "train.zip", "w") as archive:
            archive.writestr("train/00000_" + "_".join(LION) + "/a.jpg", content)

    (tmp_path / "inat").mkdir()
    packed(b"damaged")
    config = config.model_copy(update={"source": (*config.source, f"inat21:{tmp_path / 'inat'}")})
    inputs = open_inputs(config)
    assert claim(config, inputs, read_records(inputs, None), []) is Stage.RENDERING
    assert not stands(config, inputs.listing)
    write_json(f"{config.out}/summary.json", {})
    assert stands(config, open_inputs(config).listing)
    assert not stands(config.model_copy(update={"seed": 1}), inputs.listing)
    write_labels(tmp_path / "photos", [])
    changed = open_inputs(config)
    assert (changed.files == inputs.files, stands(config, changed.listing)) == (True, False)
    packed(b"repaired, and longer")
    changed = open_inputs(config)
    with pytest.raises(UserError, match=r"holds another curation \(files\)"):
        claim(config, changed, read_records(changed, None), [])


def test_what_could_not_be_read_is_read_again_while_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curation, "spread", map)
    path = tmp_path / "a.jpg"
    path.mkdir()  # to open it is an error, as where a disk does not answer
    (tmp_path / "list.csv").write_text(",".join(["path", *RANKS]) + "\n" + ",".join(["a.jpg", *LION]) + "\n")
    source = PathList(str(tmp_path / "list.csv"))
    jobs = render_jobs([(source, source.units())], Rendering(side=32), str(tmp_path / "parts"), 16)
    assert _reasons(jobs, retry=True) == ["unreadable"]
    path.rmdir()
    draw_photo(path, 9, cutout=False)
    assert _reasons(jobs, retry=False) == ["unreadable"]
    assert _reasons(jobs, retry=True) == [""]
    path.unlink()
    assert _reasons(jobs, retry=True) == [""]


def _reasons(jobs: list[Job], retry: bool) -> list[str]:
    assert sum(run_jobs(jobs, retry)) == 1
    (parts,) = list_parts(jobs).values()
    return read_renders(parts, 0)["reason"].to_pylist()
