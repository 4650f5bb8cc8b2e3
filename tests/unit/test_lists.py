"""Lists of names that people write, checklists, and what is chosen and allowed by them."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.choice import CHECKLIST, NAMES, choose
from trygon.labelling.classification import REASONS, Classifier
from trygon.labelling.lists import Given, Matcher, read_names, report
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.checklists import TAXA_TEXT, meta_of, write_archive

_CARNIVORE = ("Animalia", "Chordata", "Mammalia", "Carnivora")
_BIRD = ("Animalia", "Chordata", "Aves")
TAXA = [
    Taxon((*_CARNIVORE, "Felidae", "Panthera", "leo"), "lion"),
    Taxon((*_CARNIVORE, "Felidae", "Panthera", "onca"), "jaguar"),
    Taxon((*_CARNIVORE, "Felidae", "Lynx", "lynx"), "Eurasian lynx"),
    Taxon((*_CARNIVORE, "Canidae", "Vulpes", "vulpes"), "fox"),
    Taxon((*_CARNIVORE, "Canidae", "Vulpes", "lagopus"), "fox"),
    Taxon((*_BIRD, "Passeriformes", "Corvidae", "Corvus", "corax"), "raven"),
    Taxon((*_BIRD, "Passeriformes", "Muscicapidae", "Oenanthe", "oenanthe"), "wheatear"),
    Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "Apiales", "Apiaceae", "Oenanthe", "crocata"), "dropwort"),
]
TREE = TaxonTree.from_taxa(TAXA)
BANK = LabelBank(TREE, np.eye(len(TREE), dtype=np.float32), 20.0, "model", "digest", TextType.SCI)


def _match(*names: str, **ranks: str) -> list[tuple[str, list[str]]]:
    lineage = tuple(ranks.get(rank, "") for rank in RANKS)
    matches = Matcher(TREE).match([Given(line, name, (), lineage) for line, name in enumerate(names, 1)])
    return [(it.status, sorted(TREE.taxa[place].lineage[6] for place in it.positions)) for it in matches]


@pytest.mark.parametrize(
    ("name", "status", "epithets"),
    [
        ("Panthera leo", "exact", ["leo"]),
        ("panthera LEO", "exact", ["leo"]),
        ("Lion", "common", ["leo"]),
        ("Felidae", "exact", ["leo", "lynx", "onca"]),
        ("Lynx", "exact", ["lynx"]),
        ("Panthera oncus", "fuzzy", ["onca"]),
        ("fox", "ambiguous", []),
        ("Oenanthe", "ambiguous", []),
        ("unicorn", "unmatched", []),
        ("Felis silvestris", "unmatched", []),
    ],
)
def test_name_means_a_taxon_or_says_why_not(name: str, status: str, epithets: list[str]) -> None:
    assert _match(name) == [(status, epithets)]


def test_higher_ranks_settle_which_is_meant() -> None:
    assert _match("Oenanthe", kingdom="Plantae") == [("exact", ["crocata"])]
    assert _match("Oenanthe", phylum="Chordata") == [("exact", ["oenanthe"])]


@pytest.mark.parametrize(
    ("line", "status", "epithets"),
    [
        ("Plantae,Tracheophyta,Liliopsida,Asparagales,Orchidaceae,Corvus,", "unmatched", []),
        ("Animalia,Chordata,Aves,,Felidae,Panthera,leo", "exact", ["leo"]),  # another class of the same family
        ("Animalia,Chordata,Aves,,,Panthera,leo", "unmatched", []),
        ("Animalia,Craniata,Mammalia,,,Panthera,leo", "exact", ["leo"]),  # another phylum of the same class
        ("Animalia,Arthropoda,,,,Panthera,leo", "unmatched", []),
        (",,Reptilia,,,Varanus,varius", "exact", ["varius"]),  # some have its orders as classes
        (",,Aves,,,Varanus,varius", "unmatched", []),
        ("Animalia,Chordata,Aves,,,Panthera,leoo", "unmatched", []),
        ("Metazoa,Chordata,Mammalia,Feliformia,Pantheridae,Panthera,", "exact", ["leo", "onca"]),
        ("Animalia,Chordata,Mammalia,Carnivora,,,", "exact", ["leo", "lynx", "onca", "lagopus", "vulpes"]),
        ("Animalia,Arthropoda,Insecta,Hemiptera,Coreidae,Acanthocephala,", "exact", ["terminalis"]),
        ("Animalia,Acanthocephala,,,,,", "exact", ["moniliformis"]),
        ("Plantae,,,,,Proboscidea,", "unmatched", []),
        (",,,,,Proboscidea,", "unmatched", []),
        (",,,Proboscidea,,,", "exact", ["africana"]),
        (",,Collembola,,,,", "exact", ["nivalis"]),
        ("Animalia,Chordata,Proboscidea,,,,", "exact", ["africana"]),  # some have it as a class
    ],
)
def test_a_name_of_another_branch_is_no_label(tmp_path: Path, line: str, status: str, epithets: list[str]) -> None:
    more = [
        "Animalia,Acanthocephala,Archiacanthocephala,Moniliformida,Moniliformidae,Moniliformis,moniliformis",
        "Animalia,Arthropoda,Insecta,Hemiptera,Coreidae,Acanthocephala,terminalis",
        "Animalia,Arthropoda,Collembola,Collembola,Entomobryidae,Entomobrya,nivalis",
        "Animalia,Chordata,Squamata,,Varanidae,Varanus,varius",
        "Animalia,Chordata,Mammalia,Proboscidea,Elephantidae,Loxodonta,africana",
    ]
    tree = TaxonTree.from_taxa(
        [*TAXA, *(Taxon(tuple(it.split(","))) for it in more)]  # pyright: ignore[reportArgumentType]
    )
    (tmp_path / "list.csv").write_text(f"{','.join(RANKS)}\n{line}\n")
    (match,) = Matcher(tree).match(read_names(tmp_path / "list.csv", "--names"))
    assert (match.status, sorted(tree.taxa[it].lineage[6] for it in match.positions)) == (status, sorted(epithets))
    bare = [Given(1, name) for name in ("Acanthocephala", "Collembola")]
    assert [it.status for it in Matcher(tree).match(bare)] == ["ambiguous", "exact"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# mine\nlion\n\nPanthera onca,\n", ["lion", "Panthera onca"]),
        ("\ufeffscientificName;region\nPanthera leo;north\nLynx lynx;south\n", ["Panthera leo", "Lynx lynx"]),
        ("Common Name,count\nlion,3\nraven,4\n", ["lion", "raven"]),
        ("kingdom,genus,species\nAnimalia,Panthera,leo\nPlantae,Oenanthe,\n", ["Panthera leo", "Oenanthe"]),
        ('count,"notes\n(optional)",scientific\n3,,Panthera leo\n', ["Panthera leo"]),
        ('"lion\nraven\n' + "fox\n" * 50_000, ["lion", "raven", *["fox"] * 50_000]),
    ],
)
def test_list_is_read_in_the_ways_people_write_it(tmp_path: Path, text: str, names: list[str]) -> None:
    (tmp_path / "list.csv").write_text(text)
    assert [it.name for it in read_names(tmp_path / "list.csv", "--names")] == names


def test_a_catalogue_of_taxa_is_a_list_too(tmp_path: Path) -> None:
    TaxonTree.from_taxa([TAXA[0], TAXA[4]]).save(tmp_path / "country.parquet")
    names = read_names(tmp_path / "country.parquet", "--checklist")
    assert [(it.name, it.lineage[4]) for it in names] == [("Vulpes lagopus", "Canidae"), ("Panthera leo", "Felidae")]


def test_higher_taxa_of_an_archive_allow_nothing_more_than_its_species(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "cats.zip", {"meta.xml": meta_of(), "taxa.txt": TAXA_TEXT, "names.csv": "a\n"})
    assert [it.name for it in read_names(archive, "--checklist")] == ["Panthera leo"]
    choice = choose(BANK, (), None, str(archive))
    assert choice.allowed_N is not None
    assert [taxon.common for taxon, allowed in zip(TREE.taxa, choice.allowed_N, strict=True) if allowed] == ["lion"]


def test_common_name_beside_a_scientific_one_that_is_not_known_counts(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("scientific,common\nFelis leo Linnaeus 1758,lion\n")
    choice = choose(BANK, (), str(tmp_path / "list.csv"))
    assert [taxon.common for taxon in choice.bank.tree.taxa] == ["lion"]


def test_every_name_is_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("lion\nfox\nunicorn\nCanidae\n")
    choice = choose(BANK, ("Mammalia",), str(tmp_path / "mine.txt"))
    assert sorted(taxon.lineage[6] for taxon in choice.bank.tree.taxa) == ["lagopus", "leo", "vulpes"]
    rows = list(csv.DictReader(io.StringIO(report(choice.matches[NAMES]))))
    assert [(row["name"], row["status"], row["num_labels"]) for row in rows] == [
        ("lion", "common", "1"),
        ("fox", "ambiguous", "0"),
        ("unicorn", "unmatched", "0"),
        ("Canidae", "exact", "2"),
    ]
    assert "Vulpes lagopus" in rows[1]["meant"]
    (note,) = choice.notes
    assert note == "mine.txt: of 4 names 1 in no label (unicorn); 1 may mean several taxa (fox)"


def test_list_that_leaves_nothing_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("unicorn\n")
    with pytest.raises(UserError, match="none of its 1 names, such as 'unicorn'"):
        choose(BANK, (), str(tmp_path / "mine.txt"))
    (tmp_path / "mine.txt").write_text("\n# nothing\n")
    with pytest.raises(UserError, match="holds no name"):
        choose(BANK, (), str(tmp_path / "mine.txt"))
    (tmp_path / "mine.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        choose(BANK, (), str(tmp_path / "mine.txt"))


def _named(allowed: list[str], **probabilities: float) -> tuple[str, str]:
    allowed_N = np.asarray([taxon.lineage[6] in allowed for taxon in TREE.taxa])
    row = np.asarray([[probabilities.get(taxon.lineage[6], 0.0) for taxon in TREE.taxa]], np.float32)
    classifier = Classifier(BANK, 0.6, allowed_N=allowed_N)
    names, (answer,) = classifier.name(row), classifier.answers(row)
    return answer.taxon.scientific if answer.taxon else "", REASONS[names.reason_B[0]]


@pytest.mark.parametrize("num", [0, 2, 10_000])
def test_a_quotation_mark_that_nothing_closes_is_one_line(num: int, tmp_path: Path) -> None:
    (tmp_path / "park.csv").write_text('scientific\nPanthera leo\n"Lynx lynx\n' + "Vulpes vulpes\n" * num)
    with pytest.raises(
        UserError, match=r"--names .*park\.csv is not a CSV file .* quotation mark closed, .*: line 3: "
    ):
        read_names(tmp_path / "park.csv", "--names")


def test_what_stands_behind_a_closing_quotation_mark_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "park.csv").write_text('common,scientific\nlion,Panthera leo\n"cat" (feral),Felis catus\n')
    with pytest.raises(UserError, match="its value with it: line 3: ',' expected"):
        read_names(tmp_path / "park.csv", "--names")


def test_name_outside_the_checklist_moves_up_to_what_it_allows() -> None:
    assert _named(["leo"], leo=0.9, onca=0.1) == ("Panthera leo", "classifier")
    assert _named(["leo"], onca=0.9, leo=0.1) == ("Panthera", "geofence")
    assert _named(["leo"], lynx=0.9, leo=0.1) == ("Felidae", "geofence")
    assert _named(["corax"], lynx=0.9, leo=0.1) == ("Chordata", "geofence")
    assert _named(["crocata"], lynx=0.9, leo=0.1) == ("", "geofence")
    assert _named(["leo"], leo=0.5, onca=0.5) == ("Panthera", "rollup")


def test_checklist_allows_clades_and_changes_no_probability(tmp_path: Path) -> None:
    (tmp_path / "country.csv").write_text("scientificName\nFelidae\nCorvus corax\n")
    choice = choose(BANK, (), None, str(tmp_path / "country.csv"))
    assert len(choice.bank.tree) == len(TREE)
    assert choice.allowed_N is not None
    assert choice.allowed_N.sum() == 4
    assert [it.status for it in choice.matches[CHECKLIST]] == ["exact", "exact"]


@given(st.lists(st.text(max_size=20), max_size=5), st.lists(st.text(max_size=8), min_size=7, max_size=7))
def test_no_text_breaks_the_lookup(names: list[str], lineage: list[str]) -> None:
    matches = Matcher(TREE).match([Given(1, name, (), tuple(lineage)) for name in names])
    assert len(matches) == len(names)
    assert all((len(it.positions) > 0) == (it.status in ("exact", "common", "fuzzy")) for it in matches)


@given(st.lists(st.floats(0.001, 1), min_size=8, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_name_is_allowed_or_holds_what_is(weights: list[float], allowed: list[bool]) -> None:
    row = np.asarray([weights], np.float32) / sum(weights)
    names = Classifier(BANK, 0.3, allowed_N=np.asarray(allowed)).name(row)
    rank = int(names.rank_B[0])
    if rank >= 0:
        inside = TREE.clade_slice(Rank(rank), int(names.clade_BR[0, rank]))
        assert any(allowed[inside])
