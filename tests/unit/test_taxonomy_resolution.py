"""Names against a backbone: what is found, how it is marked, and what is left alone."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backbones import backbone_of, resolve, row_of, taxa_of

from trygon.errors import UserError
from trygon.taxonomy.resolution import Backbone
from trygon.taxonomy.taxon import RANKS

CATS = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae")
BIRDS = ("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae")
UMBELS = ("Plantae", "Tracheophyta", "Magnoliopsida", "Apiales", "Apiaceae")
SEDGES = ("Plantae", "Tracheophyta", "Liliopsida", "Poales", "Cyperaceae")
WHIP_SPIDERS = ("Animalia", "Arthropoda", "Arachnida", "Amblypygi", "Charinidae")
SPRINGTAILS = ("Animalia", "Arthropoda", "Collembola")

LION, OUNCE = (*CATS, "Panthera", "leo"), (*CATS, "Panthera", "uncia")
WHEATEAR, DROPWORT = (*BIRDS, "Oenanthe", "oenanthe"), (*UMBELS, "Oenanthe", "crocata")
TAXA = {
    LION: "lion",
    OUNCE: "snow leopard",
    (*CATS, "Lynx", "rufus"): "bobcat",
    WHEATEAR: "northern wheatear",
    DROPWORT: "hemlock water-dropwort",
    (*SEDGES, "Carex", "flacca"): "",
    (*SEDGES, "Carex", "nigra"): "",
    (*SEDGES, "Carex", "appropinquata"): "",
    (*SEDGES, "Carex", "atherodes"): "",
    (*SEDGES, "Carex", "atheroden"): "",
    (*SEDGES, "Carex", "smithii"): "",
    (*SEDGES, "Cyperus", "longissima"): "",
    (*WHIP_SPIDERS, "Charinus", "acosta"): "",
    CATS: "cats",
    SPRINGTAILS: "springtails",
}
# One binomial in two kingdoms, and one in two families of one order.
HOMONYMS = [
    ("Animalia", "Mollusca", "Gastropoda", "Littorinimorpha", "Aidae", "Agathis", "montana"),
    ("Plantae", "Tracheophyta", "Pinopsida", "Pinales", "Araucariaceae", "Agathis", "montana"),
    ("Animalia", "Arthropoda", "Insecta", "Diptera", "Aidae", "Bus", "minor"),
    ("Animalia", "Arthropoda", "Insecta", "Diptera", "Bidae", "Bus", "minor"),
]
SYNONYMS = [
    ("Felis leo", LION),
    ("Uncia uncia", OUNCE),
    ("Felis leo persica Meyer, 1826", LION),
    ("Leo", (*CATS, "Panthera")),
    ("Felis ambigua", LION),
    ("Felis ambigua", (*CATS, "Lynx", "rufus")),
    ("Puma concolor", (*CATS, "Leopardus", "pardalis")),
]


BACKBONE = backbone_of([*TAXA, *HOMONYMS], [*TAXA.values(), *[""] * len(HOMONYMS)], SYNONYMS)


def _resolve(*lineage: str, backbone: Backbone = BACKBONE) -> tuple[tuple[str, ...], str]:
    return resolve(backbone, *lineage)


def _species(binomial: str, *above: str) -> tuple[tuple[str, ...], str]:
    return _resolve(*row_of(above)[:5], *binomial.split(" "))


def test_exact_name_gets_the_backbone_s_lineage_and_common_name() -> None:
    resolved = BACKBONE.resolve(taxa_of([["", "", "", "", "", "Panthera", "leo"], LION], ["", "king"])).to_pylist()
    assert [tuple(row[rank] for rank in RANKS) for row in resolved] == [LION, LION]
    assert [row["resolution"] for row in resolved] == ["exact", "exact"]
    assert [row["common"] for row in resolved] == ["lion", "king"]


def test_another_system_of_higher_ranks_is_no_contradiction() -> None:
    assert _species("Carex flacca", "Plantae", "Streptophyta", "", "Poales", "Cyperaceae")[1] == "exact"
    assert _species("Carex flacca", "Viridiplantae", "", "", "Poales", "")[1] == "exact"
    assert _species("Panthera leo", "Animalia", "", "", "", "Pantheridae")[1] == "exact"


@pytest.mark.parametrize(
    ("binomial", "above", "family"),
    [
        ("Agathis montana", ("Plantae",), "Araucariaceae"),
        ("Agathis montana", ("Animalia",), "Aidae"),
        ("Agathis montana", ("", "Mollusca"), "Aidae"),
        ("Bus minor", ("Animalia", "", "", "", "Bidae"), "Bidae"),
        ("Oenanthe oenanthe", (), "Muscicapidae"),
    ],
)
def test_higher_ranks_settle_homonyms(binomial: str, above: tuple[str, ...], family: str) -> None:
    lineage, how = _species(binomial, *above)
    assert (lineage[4], how) == (family, "exact")


@pytest.mark.parametrize(
    ("binomial", "above"),
    [("Agathis montana", ()), ("Bus minor", ("Animalia", "Arthropoda", "Insecta", "Diptera")), ("Felis ambigua", ())],
)
def test_what_is_not_settled_is_ambiguous_and_left_as_it_is(binomial: str, above: tuple[str, ...]) -> None:
    assert _species(binomial, *above) == ((*row_of(above)[:5], *binomial.split(" ")), "ambiguous")


@pytest.mark.parametrize(
    "lineage",
    [
        ("Plantae", "", "", "", "", "Panthera", "leo"),
        ("Fungi", "", "", "", "", "Oenanthe", "crocata"),
        ("Plantae", "", "", "", "", "Felis", "leo"),  # a synonym
        ("Plantae", "", "", "", "", "Panthera", "leeo"),  # nearly
        ("Fungi", "", "", "", "", "Oenanthe"),
        # Charinidae: whip spiders, and a name once used for boas.
        ("Animalia", "Chordata", "Reptilia", "Squamata", "Charinidae"),
        ("Animalia", "Chordata", "Reptilia", "Squamata", "Boidae", "Charinus", "acosta"),
    ],
)
def test_a_homonym_elsewhere_in_the_tree_is_no_match(lineage: tuple[str, ...]) -> None:
    assert _resolve(*lineage) == (row_of(lineage), "unresolved")


FLIES, MOTHS = [
    ("Animalia", "Arthropoda", "Insecta", *rest) for rest in (("Diptera", "Asilidae"), ("Lepidoptera", ""))
]
DECAPODS = ("Animalia", "Arthropoda", "Malacostraca", "Decapoda", "Portunidae")
NOCTUIDS = (*MOTHS[:4], "Noctuidae")
KATYDIDS = (*MOTHS[:3], "Orthoptera", "Tettigoniidae")
LEAFHOPPERS = (*MOTHS[:3], "Hemiptera", "Cicadellidae")
ONE_HOMONYM = backbone_of(
    [
        (*NOCTUIDS, "Busia", "minor"),
        (*NOCTUIDS, "Leptogaster", "flavipes"),
        (*NOCTUIDS, "Longinoctua", "appropinquata"),
        (*KATYDIDS, "Tettigonia", "viridissima"),
        FLIES,
        LEAFHOPPERS,
        DECAPODS,
        BIRDS,
    ],
    synonyms=[("Busia minuta", (*NOCTUIDS, "Busia", "minor"))],
)


@pytest.mark.parametrize(
    "lineage",
    [
        (*DECAPODS, "Busia", "minor"),
        (*DECAPODS, "Busia", "minuta"),  # a synonym
        (*DECAPODS, "Longinoctua", "apropinquata"),  # nearly
        (*FLIES, "Leptogaster", "flavipes"),
        (*LEAFHOPPERS, "Tettigonia"),
        (*LEAFHOPPERS, "Tettigonia", "viridissima"),
        # One rank is enough where it is all that is given below, and the backbone knows it as another clade.
        ("Animalia", "Arthropoda", "Insecta", "Diptera", "", "Leptogaster", "flavipes"),
        ("Animalia", "Arthropoda", "Malacostraca", "", "", "Busia", "minor"),
        ("Animalia", "Chordata", "", "", "", "Busia", "minor"),
    ],
)
def test_a_homonym_in_the_same_phylum_is_no_match_where_the_backbone_has_only_the_other(
    lineage: tuple[str, ...],
) -> None:
    assert _resolve(*lineage, backbone=ONE_HOMONYM) == (row_of(lineage), "unresolved")


@pytest.mark.parametrize(
    "above",
    [
        ("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Erebidae"),  # another family of the same order
        ("Animalia", "Arthropoda", "Hexapoda", "Amphiesmenoptera", "Noctuidae"),  # the deepest is the same
        ("Animalia", "Arthropoda", "Insecta", "Macrolepidoptera", ""),  # no order of the backbone
    ],
)
def test_another_system_of_the_ranks_between_is_no_contradiction(above: tuple[str, ...]) -> None:
    assert _resolve(*above, "Busia", "minor", backbone=ONE_HOMONYM) == ((*NOCTUIDS, "Busia", "minor"), "exact")


FISH = ("Animalia", "Chordata", "", "Cypriniformes", "Cyprinidae")
GOLDFISH = (*FISH, "Carassius", "auratus")


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        # Nothing that the source knows is erased where the backbone is blank.
        (("Animalia", "Chordata", "Actinopterygii", *GOLDFISH[3:]), "Actinopterygii"),
        (("Animalia", "", "Actinopterygii", "Cypriniformes", "", *GOLDFISH[5:]), "Actinopterygii"),
        (("", "", "Actinopterygii", "", "", "Cyprinus", "auratus"), ""),  # below it, another genus
        (("Animalia", "Chordata", "Actinopterygii", *FISH[3:], "Cyprinus", "auratus"), "Actinopterygii"),
        (("Animalia", "Chordata", "Actinopterygii", "Cyprinoidei", *GOLDFISH[4:]), ""),
        (("Animalia", "Craniata", "Actinopterygii", *GOLDFISH[3:]), ""),
        (("Animalia", "Chordata", "", *GOLDFISH[3:]), ""),
    ],
)
def test_a_rank_that_the_backbone_leaves_blank_is_kept_between_names_that_agree(
    given: tuple[str, ...], resolved: str
) -> None:
    backbone = backbone_of([GOLDFISH], synonyms=[("Cyprinus auratus", GOLDFISH)])
    assert _resolve(*given, backbone=backbone)[0] == (*GOLDFISH[:2], resolved, *GOLDFISH[3:])


def test_a_species_listed_twice_is_its_fuller_lineage() -> None:
    bare = ("Animalia", "", "", "", "", "Panthera", "leo")
    for lineages in ([LION, bare], [bare, LION]):
        backbone = backbone_of(lineages, ["" if it == LION else "lion" for it in lineages], [("Felis leo", bare)])
        for row in (LION, bare, row_of(["", "", "", "", "", "Panthera", "leo"])):
            assert _resolve(*row, backbone=backbone) == (LION, "exact")
        assert _resolve(*bare[:5], "Felis", "leo", backbone=backbone) == (LION, "synonym")
        assert backbone.resolve(taxa_of([LION]))["common"].to_pylist() == ["lion"]
    # Of two that contradict each other neither is the fuller.
    twins = [row_of(["Animalia", "", "", "", family, "Panthera", "leo"]) for family in ("Felidae", "Pantheridae")]
    backbone = backbone_of([*twins, bare])
    assert _resolve("", "", "", "", "", "Panthera", "leo", backbone=backbone)[1] == "ambiguous"
    assert _resolve(*bare, backbone=backbone) == (bare, "exact")


def test_of_two_common_names_the_order_of_rows_does_not_choose() -> None:
    found = [
        backbone_of([LION, LION], names).resolve(taxa_of([LION]))["common"].to_pylist()
        for names in (["lion", "African lion"], ["African lion", "lion"])
    ]
    assert found == [["African lion"]] * 2


def test_synonyms_of_species_and_genera() -> None:
    assert _species("Felis leo", "Animalia") == (LION, "synonym")
    assert _species("Uncia uncia") == (OUNCE, "synonym")
    assert _resolve("Animalia", "", "", "", "", "Leo") == (row_of((*CATS, "Panthera")), "synonym")
    # Its accepted name stands nowhere else in the checklist.
    assert _species("Puma concolor") == ((*CATS, "Leopardus", "pardalis"), "synonym")
    assert _species("Leopardus pardalis") == ((*CATS, "Leopardus", "pardalis"), "exact")


def test_a_binomial_that_stands_for_a_genus_makes_no_synonym_of_its_own_genus() -> None:
    backbone = backbone_of([LION, (*CATS, "Felis", "catus")], synonyms=[("Felis fusca", (*CATS, "Panthera"))])
    assert _resolve(*CATS, "Felis", backbone=backbone) == (row_of((*CATS, "Felis")), "exact")
    other = backbone_of([LION], synonyms=[("Felis fusca", (*CATS, "Panthera"))])
    assert _resolve(*CATS, "Felis", backbone=other) == (row_of((*CATS, "Felis")), "unresolved")
    assert other.told()["synonyms"] == 0


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Carex flaccus", "flacca"),
        ("Carex flaccum", "flacca"),
        ("Carex niger", "nigra"),
        ("Carex smithi", "smithii"),
        ("Carex apropinquata", "appropinquata"),
        ("Carex appropinqata", "appropinquata"),
        ("Carex apporpinquata", "appropinquata"),
        ("Carex appropinqvatta", "appropinquata"),
        ("Carrex appropinquata", "appropinquata"),
    ],
)
def test_nearly_the_same_name_is_found_and_marked(written: str, meant: str) -> None:
    assert _species(written) == ((*SEDGES, "Carex", meant), "fuzzy")


@pytest.mark.parametrize("written", ["Panthera leoo", "Crex flacca", "Carex flacccca", "Carex apropinqvatta"])
def test_short_names_and_many_edits_are_not_nearly_the_same(written: str) -> None:
    assert _species(written)[0][5:] == tuple(written.split())


def test_a_slip_in_a_synonym_leads_to_its_accepted_name() -> None:
    assert _species("Unciaa uncia") == (OUNCE, "fuzzy")


def test_two_names_as_near_are_ambiguous() -> None:
    assert _species("Carex atherodex", *SEDGES) == ((*SEDGES, "Carex", "atherodex"), "ambiguous")


def test_an_epithet_that_is_used_elsewhere_is_no_slip() -> None:
    # longissima is a word of another genus: a species that the backbone lacks, and no sedge misspelt.
    backbone = backbone_of([*TAXA, (*SEDGES, "Carex", "longissina")])
    assert _resolve(*SEDGES, "Carex", "longissima", backbone=backbone)[1] == "unresolved"
    assert _resolve(*SEDGES, "Carex", "longissinna", backbone=backbone)[0][6] == "longissina"


def test_genus_and_epithet_are_not_both_guessed() -> None:
    assert _species("Carrex apropinquata")[1] == "unresolved"
    # The genus is there, so it is not a misspelt one.
    assert _species("Lynx leo")[1] == "unresolved"


def test_a_single_name_is_looked_up_at_its_own_rank_only() -> None:
    assert _resolve("Animalia", "", "", "", "Felidae") == (row_of(CATS), "exact")
    assert _resolve(*SPRINGTAILS)[1] == "exact"
    assert _resolve("Animalia", "Arthropoda", "", "Collembola")[1] == "unresolved"  # its class, not its order
    for name in ("Leo", "Giant", "Oenanthe"):
        assert _resolve("", "", "", name)[1] == "unresolved"
    assert _resolve("", "", "", "", "", "Flacca")[1] == "unresolved"  # an epithet, not a genus
    assert _resolve("Animalia") == (row_of(["Animalia"]), "exact")


def test_a_single_name_nearly_right_needs_its_surroundings() -> None:
    assert _resolve("Animalia", "Chordata", "", "Carnivora", "Felidea") == (row_of(CATS), "fuzzy")
    assert _resolve("Animalia", "", "", "", "Felidea")[1] == "unresolved"
    assert _resolve("Animalia", "Arthropoda", "", "", "Felidea")[1] == "unresolved"


def test_common_names_of_higher_taxa_are_their_own() -> None:
    rows = BACKBONE.resolve(taxa_of([CATS, (*CATS, "Panthera"), ["Animalia"]])).to_pylist()
    assert [row["common"] for row in rows] == ["cats", "", ""]


def test_species_of_a_known_genus_gets_its_higher_ranks_and_stays_unresolved() -> None:
    assert _species("Panthera spelaea") == ((*CATS, "Panthera", "spelaea"), "unresolved")
    assert _species("Panthera spelaea", "", "Chordata") == ((*CATS, "Panthera", "spelaea"), "unresolved")
    # Nothing is filled where a given rank says otherwise, nor from one of two genera of a name.
    other = ("Animalia", "", "", "", "Pantheridae", "Panthera", "spelaea")
    assert _resolve(*other) == (other, "unresolved")
    assert _species("Oenanthe nova") == (row_of(["", "", "", "", "", "Oenanthe", "nova"]), "unresolved")
    assert _species("Oenanthe nova", "Plantae") == ((*UMBELS, "Oenanthe", "nova"), "unresolved")


def test_backbone_is_cleaned_as_sources_are() -> None:
    backbone = backbone_of(
        [("Metazoa", "CHORDATA", "", "", "Felidae Fischer, 1817", "", "Panthera leo (Linnaeus, 1758)")],
        synonyms=[("Felis leo Linnaeus, 1758", ("Metazoa", "CHORDATA", "", "", "FELIDAE", "Panthera", "leo"))],
    )
    found = ("Animalia", "Chordata", "", "", "Felidae", "Panthera", "leo")
    assert _resolve("Animalia", "", "", "", "", "Panthera", "leo", backbone=backbone) == (found, "exact")
    assert _resolve("Animalia", "", "", "", "", "Felis", "leo", backbone=backbone) == (found, "synonym")


def test_other_columns_and_nulls(tmp_path: Path) -> None:
    pq.write_table(taxa_of(list(TAXA), list(TAXA.values())), tmp_path / "taxa.parquet")
    table = pa.table(
        {
            "place": pa.array([3, 1]),
            "species": pa.array(["leo", None]),
            "genus": ["Panthera", None],
            "resolution": ["", ""],
        }
        | {rank: pa.nulls(2, pa.string()) for rank in RANKS[:5]}
    )
    resolved = Backbone.load(tmp_path / "taxa.parquet").resolve(table)
    assert resolved.column_names == [*table.column_names, "common"]
    assert resolved["place"].to_pylist() == [3, 1]
    assert resolved["resolution"].to_pylist() == ["exact", "unresolved"]
    assert resolved["kingdom"].to_pylist() == ["Animalia", ""]
    assert resolved["common"].to_pylist() == ["lion", ""]
    assert BACKBONE.resolve(taxa_of([])).num_rows == 0


def test_empty_backbone_is_a_user_error() -> None:
    with pytest.raises(UserError, match="names no taxon"):
        backbone_of([[""]])
