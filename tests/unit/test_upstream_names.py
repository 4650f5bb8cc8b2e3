"""What the published pipelines do with names where that is wrong, each with what is right.

Upstream are the scripts that made TreeOfLife-10M (github.com/Imageomics/bioclip), TreeOfLife-toolbox and TaxonoPy.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from trygon.taxonomy.names import clean_binomial, clean_lineage, clean_lineages
from trygon.taxonomy.resolution import Backbone
from trygon.taxonomy.tables import SYNONYM_SCHEMA, TAXA_SCHEMA, Checklist
from trygon.taxonomy.taxon import RANKS, Lineage, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree


def _lineage(*names: str) -> Lineage:
    return (*names, *[""] * (7 - len(names)))  # pyright: ignore[reportReturnType]


def _taxa(lineages: Sequence[Lineage]) -> pa.Table:
    columns = [pa.array(list(column), pa.string()) for column in zip(*lineages, strict=True)]
    return pa.table([*columns, pa.repeat("", len(lineages))], schema=TAXA_SCHEMA)


def _resolve(backbone: Sequence[Lineage], *row: str) -> tuple[Lineage, str]:
    built = Backbone.from_checklist(Checklist(_taxa(backbone), SYNONYM_SCHEMA.empty_table()))
    (resolved,) = built.resolve(_taxa([_lineage(*row)])).to_pylist()
    return _lineage(*(resolved[rank] for rank in RANKS)), resolved["resolution"]


def test_rules_of_upstream_that_are_right_hold() -> None:
    raw = [
        "Metazoa",
        "<i>Chordata</i>",
        "unknown",
        "(unidentified)",
        "pleasehelp",
        "",
        "Panthera leo (Linnaeus, 1758)",
    ]
    assert clean_lineage(raw) == ("Animalia", "Chordata", "", "", "", "Panthera", "leo")
    for text in [
        "leo ssp. persica",
        "leo subsp. persica",
        "leo var. persica",
        "leo L., Mill. & Smith",
        "leo Say 1823",
    ]:
        assert clean_binomial(text, "Panthera")[1] == "leo"
    for text in [
        "leo Say, 1823",
        "leo 1823",
        "leo A. Gray",
        "leo leo",
        "Panthera leo",
        "leo<br >Gray",
        "leo Say & Gray",
    ]:
        assert clean_binomial(text, "Panthera")[1] == "leo"


@pytest.mark.parametrize(
    ("raw", "genus", "upstream", "epithet"),
    [
        ("lupus familiaris", "Canis", "lupus familiaris", "lupus"),
        ("lupus x latrans", "Canis", "lupus x latrans", ""),
        ("× ludovicianus", "Pheucticus", "× ludovicianus", ""),
        ("sp. 1", "Canis", "sp. 1", ""),
        ("BOLD:AAA1234", "Culicoides", "bold:aaa", ""),
        ("sp. BOLD:AAB1234", "Culicoides", "sp. bold:aab", ""),
    ],
)
def test_what_upstream_keeps_as_an_epithet_is_none(raw: str, genus: str, upstream: str, epithet: str) -> None:
    assert clean_binomial(raw, genus)[1] == epithet != upstream
    # Nor does what upstream has published become one again.
    assert clean_binomial(upstream, genus)[1] == epithet


def test_species_of_several_words_is_not_its_last_word() -> None:
    # The toolbox takes the last word of the species: the subspecies, or the author.
    assert clean_lineage(["", "", "", "", "", "Canis", "Canis lupus familiaris"])[6] == "lupus"
    assert clean_lineage(["", "", "", "", "", "Canis", "Canis lupus Linnaeus"])[6] == "lupus"


# The names that upstream lists by hand, because its look-up by name alone cannot tell their two ranks apart.
TWO_RANKS = [
    *[("Animalia", "Arthropoda", name, name) for name in ("Collembola", "Diplura", "Protura")],
    *[("Bacteria", name, name) for name in ("Actinobacteria", "Aquificae", "Chlamydiae")],
    ("Protozoa", "Protozoa"),
]


@pytest.mark.parametrize("names", TWO_RANKS)
def test_a_name_at_two_ranks_stays_at_both(names: tuple[str, ...]) -> None:
    lineage = _lineage(*names)
    assert clean_lineage([name.upper() for name in lineage]) == lineage
    assert _resolve([lineage], *names) == (lineage, "exact")
    # Known to its upper rank only, it is not pushed down to the lower.
    upper = _lineage(*names[:-1])
    assert _resolve([lineage], *names[:-1]) == (upper, "exact")


def test_homonyms_are_told_apart_by_lineage_and_not_by_a_list() -> None:
    fly = _lineage("Animalia", "Arthropoda", "Insecta", "Diptera", "Asilidae", "Leptogaster", "flavipes")
    moth = _lineage("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Noctuidae", "Leptogaster", "flavipes")
    binomial = ("Leptogaster", "flavipes")
    assert _resolve([fly, moth], "Animalia", "Arthropoda", "Insecta", "Diptera", "", *binomial) == (fly, "exact")
    assert _resolve([fly, moth], "Animalia", "Arthropoda", "Insecta", "Lepidoptera", "", *binomial) == (moth, "exact")
    assert _resolve([fly, moth], "Animalia", "", "", "", "", *binomial)[1] == "ambiguous"


def test_a_homonym_of_which_the_backbone_has_only_the_other_keeps_its_own_lineage() -> None:
    # Upstream looks names up in a table of chains by the name alone: the only Leptogaster flavipes there is the one.
    moth = _lineage("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Noctuidae", "Leptogaster", "flavipes")
    for fly in (
        _lineage("Animalia", "Arthropoda", "Insecta", "Diptera", "Asilidae", "Leptogaster", "flavipes"),
        _lineage("Animalia", "Arthropoda", "Insecta", "Diptera", "", "Leptogaster", "flavipes"),
    ):
        beside = _lineage("Animalia", "Arthropoda", "Insecta", "Diptera", "Asilidae")
        assert _resolve([moth, beside], *fly) == (fly, "unresolved")


def test_a_hole_in_a_lineage_is_filled_and_does_not_end_what_is_looked_up() -> None:
    # Upstream starts from the highest rank without a hole above the species, here the order.
    bee = _lineage("Animalia", "Arthropoda", "Insecta", "Hymenoptera", "Apidae", "Apis", "mellifera")
    for hole in range(6):
        holed = [name if rank != hole else "" for rank, name in enumerate(bee)]
        if hole == 5:  # the genus stands in the binomial
            holed[6] = "Apis mellifera"
        assert _resolve([bee], *clean_lineage(holed)) == (bee, "exact")


def test_a_class_that_the_backbone_leaves_blank_is_not_lost_to_the_source() -> None:
    # Ray-finned fishes have no class in pybioclip's taxa, so that nothing finds them by it (its issue 111).
    goldfish = ("Cypriniformes", "Cyprinidae", "Carassius", "auratus")
    known = _lineage("Animalia", "Chordata", "", *goldfish)
    row = _lineage("Animalia", "Chordata", "Actinopterygii", *goldfish)
    assert _resolve([known], *row) == (row, "exact")


def test_a_species_that_is_there_twice_settles_on_the_fuller_lineage() -> None:
    # TaxonoPy cannot choose one path of several (its issue 1), though one is the other with holes.
    full = _lineage("Animalia", "Arthropoda", "Insecta", "Hymenoptera", "Apidae", "Apis", "mellifera")
    poor = _lineage("Animalia", "Arthropoda", "", "Hymenoptera", "", "Apis", "mellifera")
    for backbone in ([full, poor], [poor, full]):
        for row in (full, poor, _lineage("", "", "", "", "", "Apis", "mellifera")):
            assert _resolve(backbone, *row) == (full, "exact")


def test_common_names_do_not_hang_on_the_order_of_rows() -> None:
    # TaxonoPy takes the first of several (its issue 14), and its rows come in any order.
    lineage = _lineage("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Puma", "concolor")
    names = ["puma", "cougar", "", "mountain lion"]
    for order in (names, names[::-1], sorted(names)):
        tree = TaxonTree.from_taxa([Taxon(lineage, name) for name in order])
        assert tree.taxa == [Taxon(lineage, "cougar")]
        taxa = pa.table([*_taxa([lineage] * 4).columns[:7], pa.array(order)], schema=TAXA_SCHEMA)
        resolved = Backbone.from_checklist(Checklist(taxa, SYNONYM_SCHEMA.empty_table())).resolve(_taxa([lineage]))
        assert resolved["common"].to_pylist() == ["cougar"]


def test_scores_of_two_clades_are_not_summed_because_their_names_run_on_alike() -> None:
    # pybioclip sums under the names down to a rank, joined by spaces: a blank rank or a name of two words is enough.
    blanks = [_lineage("Animalia", "Aus", "", "Cus"), _lineage("Animalia", "", "Aus", "Cus")]
    words = [_lineage("Animalia", "Aus", "bus", "Cus"), _lineage("Animalia", "Aus bus", "", "Cus")]
    for pair in (blanks, words):
        assert len({" ".join(" ".join(lineage).split()) for lineage in pair}) == 1
        tree = TaxonTree.from_taxa([Taxon(lineage) for lineage in pair])
        assert [tree.roll_up(np.ones((1, 2)), rank).shape[1] for rank in Rank] == [1, 2, 2, 2, 2, 2, 2]


def test_family_of_one_class_is_not_renamed_after_another() -> None:
    # Charinidae are whip spiders; under Squamata the name once stood for boas.
    spiders = _lineage("Animalia", "Arthropoda", "Arachnida", "Amblypygi", "Charinidae")
    boas = _lineage("Animalia", "Chordata", "Reptilia", "Squamata", "Charinidae")
    assert clean_lineage(boas) == boas
    assert _resolve([spiders], *boas) == (boas, "unresolved")
    assert _resolve([spiders, boas], *boas) == (boas, "exact")
    assert _resolve([spiders, boas], *spiders) == (spiders, "exact")


def test_class_ids_hang_on_the_lineage_and_not_on_its_letters() -> None:
    # Upstream numbers classes by their names run together: these two are one there.
    one, other = _lineage("Animalia", "Aus", "Busa"), _lineage("Animalia", "Ausb", "Usa")
    assert "".join(one).lower() == "".join(other).lower()
    tree = TaxonTree.from_taxa([Taxon(one), Taxon(other)])
    assert [taxon.lineage for taxon in tree.taxa] == [one, other]
    assert all(ids.tolist() == [0, 1] for ids in tree.clade_ids[1:])


def test_all_sources_are_cleaned_by_the_same_rules() -> None:
    # Upstream brings BIOSCAN and EOL to one taxonomy, and leaves iNat21 as it is.
    rows = [
        ("Animalia", "Arthropoda", "Insecta", "Diptera", "Culicidae", "Aedes", "aegypti"),  # iNat21
        ("Animalia", "Arthropoda", "Insecta", "Diptera", "Culicidae", "Aedes", "Aedes aegypti"),  # BIOSCAN-1M
        (
            "Metazoa",
            "Arthropoda",
            "Insecta",
            "Diptera",
            "Culicidae",
            "",
            "<i>Aedes</i> (Stegomyia) aegypti (L., 1762)",
        ),
    ]
    columns = {rank: pa.array([row[place] for row in rows]) for place, rank in enumerate(RANKS)}
    cleaned = clean_lineages(pa.table(columns)).to_pylist()
    assert all(tuple(row.values()) == rows[0] for row in cleaned)


FELIDS = _lineage("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo")
BEAR = _lineage("Animalia", "Chordata", "Mammalia", "Carnivora", "Ursidae", "Ursus", "arctos")


def test_misspelt_doubles_become_one_and_are_marked() -> None:
    # TreeOfLife-10M holds both Ursus arctos and Ursus arctus.
    assert _resolve([BEAR, FELIDS], *BEAR[:6], "arctus") == (BEAR, "fuzzy")


def test_an_epithet_is_never_looked_up_as_a_genus() -> None:
    # TaxonoPy asked for the epithet alone, and got a genus of birds.
    bird = _lineage("Animalia", "Chordata", "Aves", "Gruiformes", "Rallidae", "Crex", "crex")
    row = _lineage("Animalia", "Chordata", "", "", "", "Anthropoides", "crex")
    assert _resolve([bird], *row) == (row, "unresolved")
    assert clean_lineage(["Animalia", "", "", "", "", "", "crex"])[5:] == ("", "")


def test_nothing_is_forced() -> None:
    # TaxonoPy accepted the best of what it got: "Giant stick insect" became the genus Giant.
    assert clean_lineage(["Animalia", "", "", "", "", "", "Giant stick insect"]) == _lineage("Animalia")
    assert clean_lineage(["Animalia", "", "", "", "", "Giant stick insect", ""]) == _lineage("Animalia")
    # And failed on ties: here they are told.
    twins = [_lineage("Animalia", "", "", "", family, "Bus", "minor") for family in ("Aidae", "Bidae")]
    row = _lineage("Animalia", "", "", "", "", "Bus", "minor")
    assert _resolve(twins, *row) == (row, "ambiguous")
