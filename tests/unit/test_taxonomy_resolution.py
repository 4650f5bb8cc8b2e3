"""Names against a backbone: what is found, how it is marked, and what is left alone."""

import string
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trygon.errors import UserError
from trygon.taxonomy.names import clean_binomial
from trygon.taxonomy.resolution import Backbone
from trygon.taxonomy.tables import SYNONYM_SCHEMA, TAXA_SCHEMA, Checklist
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


def _row(lineage: Sequence[str]) -> tuple[str, ...]:
    return (*lineage, *[""] * (7 - len(lineage)))


def _taxa(lineages: Sequence[Sequence[str]], common: Sequence[str] | None = None) -> pa.Table:
    rows = [_row(lineage) for lineage in lineages]
    columns = [pa.array([row[rank] for row in rows], pa.string()) for rank in range(7)]
    return pa.table([*columns, pa.array(common or [""] * len(rows), pa.string())], schema=TAXA_SCHEMA)


def _backbone(
    lineages: Sequence[Sequence[str]],
    common: Sequence[str] | None = None,
    synonyms: Sequence[tuple[str, Sequence[str]]] = (),
) -> Backbone:
    accepted = _taxa([lineage for _, lineage in synonyms]).select(list(RANKS))
    names = pa.table([pa.array([name for name, _ in synonyms], pa.string()), *accepted.columns], schema=SYNONYM_SCHEMA)
    return Backbone.from_checklist(Checklist(_taxa(lineages, common), names))


BACKBONE = _backbone([*TAXA, *HOMONYMS], [*TAXA.values(), *[""] * len(HOMONYMS)], SYNONYMS)


def _resolve(*lineage: str, backbone: Backbone = BACKBONE) -> tuple[tuple[str, ...], str]:
    (row,) = backbone.resolve(_taxa([lineage])).to_pylist()
    return tuple(row[rank] for rank in RANKS), row["resolution"]


def _species(binomial: str, *above: str) -> tuple[tuple[str, ...], str]:
    return _resolve(*_row(above)[:5], *binomial.split(" "))


def test_exact_name_gets_the_backbone_s_lineage_and_common_name() -> None:
    resolved = BACKBONE.resolve(_taxa([["", "", "", "", "", "Panthera", "leo"], LION], ["", "king"])).to_pylist()
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
    assert _species(binomial, *above) == ((*_row(above)[:5], *binomial.split(" ")), "ambiguous")


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
    assert _resolve(*lineage) == (_row(lineage), "unresolved")


FLIES, MOTHS = [
    ("Animalia", "Arthropoda", "Insecta", *rest) for rest in (("Diptera", "Asilidae"), ("Lepidoptera", ""))
]
DECAPODS = ("Animalia", "Arthropoda", "Malacostraca", "Decapoda", "Portunidae")
NOCTUIDS = (*MOTHS[:4], "Noctuidae")
KATYDIDS = (*MOTHS[:3], "Orthoptera", "Tettigoniidae")
LEAFHOPPERS = (*MOTHS[:3], "Hemiptera", "Cicadellidae")
ONE_HOMONYM = _backbone(
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
    assert _resolve(*lineage, backbone=ONE_HOMONYM) == (_row(lineage), "unresolved")


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
    backbone = _backbone([GOLDFISH], synonyms=[("Cyprinus auratus", GOLDFISH)])
    assert _resolve(*given, backbone=backbone)[0] == (*GOLDFISH[:2], resolved, *GOLDFISH[3:])


def test_a_species_listed_twice_is_its_fuller_lineage() -> None:
    bare = ("Animalia", "", "", "", "", "Panthera", "leo")
    for lineages in ([LION, bare], [bare, LION]):
        backbone = _backbone(lineages, ["" if it == LION else "lion" for it in lineages], [("Felis leo", bare)])
        for row in (LION, bare, _row(["", "", "", "", "", "Panthera", "leo"])):
            assert _resolve(*row, backbone=backbone) == (LION, "exact")
        assert _resolve(*bare[:5], "Felis", "leo", backbone=backbone) == (LION, "synonym")
        assert backbone.resolve(_taxa([LION]))["common"].to_pylist() == ["lion"]
    # Of two that contradict each other neither is the fuller.
    twins = [_row(["Animalia", "", "", "", family, "Panthera", "leo"]) for family in ("Felidae", "Pantheridae")]
    assert (
        _resolve(*_row(["", "", "", "", "", "Panthera", "leo"]), backbone=_backbone([*twins, bare]))[1] == "ambiguous"
    )
    assert _resolve(*bare, backbone=_backbone([*twins, bare])) == (bare, "exact")


def test_of_two_common_names_the_order_of_rows_does_not_choose() -> None:
    found = [
        _backbone([LION, LION], names).resolve(_taxa([LION]))["common"].to_pylist()
        for names in (["lion", "African lion"], ["African lion", "lion"])
    ]
    assert found == [["African lion"]] * 2


def test_synonyms_of_species_and_genera() -> None:
    assert _species("Felis leo", "Animalia") == (LION, "synonym")
    assert _species("Uncia uncia") == (OUNCE, "synonym")
    assert _resolve("Animalia", "", "", "", "", "Leo") == (_row((*CATS, "Panthera")), "synonym")
    # Its accepted name stands nowhere else in the checklist.
    assert _species("Puma concolor") == ((*CATS, "Leopardus", "pardalis"), "synonym")
    assert _species("Leopardus pardalis") == ((*CATS, "Leopardus", "pardalis"), "exact")


def test_a_binomial_that_stands_for_a_genus_makes_no_synonym_of_its_own_genus() -> None:
    backbone = _backbone([LION, (*CATS, "Felis", "catus")], synonyms=[("Felis fusca", (*CATS, "Panthera"))])
    assert _resolve(*CATS, "Felis", backbone=backbone) == (_row((*CATS, "Felis")), "exact")
    other = _backbone([LION], synonyms=[("Felis fusca", (*CATS, "Panthera"))])
    assert _resolve(*CATS, "Felis", backbone=other) == (_row((*CATS, "Felis")), "unresolved")
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
    backbone = _backbone([*TAXA, (*SEDGES, "Carex", "longissina")])
    assert _resolve(*SEDGES, "Carex", "longissima", backbone=backbone)[1] == "unresolved"
    assert _resolve(*SEDGES, "Carex", "longissinna", backbone=backbone)[0][6] == "longissina"


def test_genus_and_epithet_are_not_both_guessed() -> None:
    assert _species("Carrex apropinquata")[1] == "unresolved"
    # The genus is there, so it is not a misspelt one.
    assert _species("Lynx leo")[1] == "unresolved"


def test_a_single_name_is_looked_up_at_its_own_rank_only() -> None:
    assert _resolve("Animalia", "", "", "", "Felidae") == (_row(CATS), "exact")
    assert _resolve(*SPRINGTAILS)[1] == "exact"
    assert _resolve("Animalia", "Arthropoda", "", "Collembola")[1] == "unresolved"  # its class, not its order
    for name in ("Leo", "Giant", "Oenanthe"):
        assert _resolve("", "", "", name)[1] == "unresolved"
    assert _resolve("", "", "", "", "", "Flacca")[1] == "unresolved"  # an epithet, not a genus
    assert _resolve("Animalia") == (_row(["Animalia"]), "exact")


def test_a_single_name_nearly_right_needs_its_surroundings() -> None:
    assert _resolve("Animalia", "Chordata", "", "Carnivora", "Felidea") == (_row(CATS), "fuzzy")
    assert _resolve("Animalia", "", "", "", "Felidea")[1] == "unresolved"
    assert _resolve("Animalia", "Arthropoda", "", "", "Felidea")[1] == "unresolved"


def test_common_names_of_higher_taxa_are_their_own() -> None:
    rows = BACKBONE.resolve(_taxa([CATS, (*CATS, "Panthera"), ["Animalia"]])).to_pylist()
    assert [row["common"] for row in rows] == ["cats", "", ""]


def test_species_of_a_known_genus_gets_its_higher_ranks_and_stays_unresolved() -> None:
    assert _species("Panthera spelaea") == ((*CATS, "Panthera", "spelaea"), "unresolved")
    assert _species("Panthera spelaea", "", "Chordata") == ((*CATS, "Panthera", "spelaea"), "unresolved")
    # Nothing is filled where a given rank says otherwise, nor from one of two genera of a name.
    other = ("Animalia", "", "", "", "Pantheridae", "Panthera", "spelaea")
    assert _resolve(*other) == (other, "unresolved")
    assert _species("Oenanthe nova") == (_row(["", "", "", "", "", "Oenanthe", "nova"]), "unresolved")
    assert _species("Oenanthe nova", "Plantae") == ((*UMBELS, "Oenanthe", "nova"), "unresolved")


def test_backbone_is_cleaned_as_sources_are() -> None:
    backbone = _backbone(
        [("Metazoa", "CHORDATA", "", "", "Felidae Fischer, 1817", "", "Panthera leo (Linnaeus, 1758)")],
        synonyms=[("Felis leo Linnaeus, 1758", ("Metazoa", "CHORDATA", "", "", "FELIDAE", "Panthera", "leo"))],
    )
    found = ("Animalia", "Chordata", "", "", "Felidae", "Panthera", "leo")
    assert _resolve("Animalia", "", "", "", "", "Panthera", "leo", backbone=backbone) == (found, "exact")
    assert _resolve("Animalia", "", "", "", "", "Felis", "leo", backbone=backbone) == (found, "synonym")


def test_other_columns_and_nulls(tmp_path: Path) -> None:
    pq.write_table(_taxa(list(TAXA), list(TAXA.values())), tmp_path / "taxa.parquet")
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
    assert BACKBONE.resolve(_taxa([])).num_rows == 0


def test_empty_backbone_is_a_user_error() -> None:
    with pytest.raises(UserError, match="names no taxon"):
        _backbone([[""]])


# Few names at each rank: homonyms, gaps and shared epithets are then the rule.
few = st.tuples(
    *[st.sampled_from(["", "Animalia", "Plantae"])],
    *[st.sampled_from(["", "Aus", "Bus"])] * 3,
    *[st.sampled_from(["Aidae", "Bidae"])],
    *[st.sampled_from(["Longigenus", "Longigenis", "Zus"])],
    *[st.sampled_from(["", "albus", "alba", "longissimus", "longissima", "lonigssimus", "niger"])],
)
checklists = st.lists(few, min_size=1, max_size=12)


def _within(poor: Sequence[str], full: Sequence[str]) -> bool:
    return all(not name or name == other for name, other in zip(poor, full, strict=True))


def _fullest(lineage: tuple[str, ...], lineages: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The lineage, or the one at the same rank that has all its names and those of all others that do."""
    depth = max(rank for rank in range(7) if lineage[rank])
    taxa = {_row(other[: depth + 1]) for other in lineages if other[depth] == lineage[depth]}
    full = [taxon for taxon in taxa if _within(lineage, taxon)]
    return next((taxon for taxon in full if all(_within(other, taxon) for other in full)), lineage)


@given(checklists)
def test_a_backbone_s_own_names_are_exact_and_stay_themselves_or_gain_what_is_blank(
    lineages: list[tuple[str, ...]],
) -> None:
    resolved = _backbone(lineages).resolve(_taxa(lineages)).to_pylist()
    assert [tuple(row[rank] for rank in RANKS) for row in resolved] == [_fullest(it, lineages) for it in lineages]
    assert {row["resolution"] for row in resolved} == {"exact"}


synonym_lists = st.lists(st.tuples(st.sampled_from(["Longigenus albus", "Zus niger", "Leo"]), few), max_size=4)


@given(checklists, synonym_lists, st.lists(few, max_size=5))
def test_rows_stay_in_order_each_resolved_as_if_alone_and_twice_changes_nothing(
    lineages: list[tuple[str, ...]], synonyms: list[tuple[str, tuple[str, ...]]], rows: list[tuple[str, ...]]
) -> None:
    backbone = _backbone(lineages, synonyms=synonyms)
    once = backbone.resolve(_taxa(rows + rows[::-1]))
    alone = [_resolve(*row, backbone=backbone) for row in rows]
    got = [(tuple(row[rank] for rank in RANKS), row["resolution"]) for row in once.to_pylist()]
    assert got == alone + alone[::-1]
    twice = backbone.resolve(once)
    assert twice.select(list(RANKS)).equals(once.select(list(RANKS)))
    for before, after in zip(once["resolution"].to_pylist(), twice["resolution"].to_pylist(), strict=True):
        assert after == (before if before in {"ambiguous", "unresolved"} else "exact")


words = st.text(string.ascii_lowercase, min_size=9, max_size=14).filter(lambda word: clean_binomial(word, "Carex")[1])


@given(st.lists(words, min_size=1, max_size=6, unique=True), st.data())
def test_one_slip_in_a_long_epithet_is_mended_or_ambiguous(epithets: list[str], data: st.DataObject) -> None:
    meant = data.draw(st.sampled_from(epithets))
    place = data.draw(st.integers(0, len(meant) - 2))
    letter = data.draw(st.sampled_from(string.ascii_lowercase))
    slip = data.draw(
        st.sampled_from(
            [
                meant[:place] + meant[place + 1 :],
                meant[:place] + letter + meant[place:],
                meant[:place] + letter + meant[place + 1 :],
                meant[:place] + meant[place + 1] + meant[place] + meant[place + 2 :],
            ]
        )
    )
    assume(slip not in epithets)
    lineages = [(*SEDGES, "Carex", epithet) for epithet in epithets]
    lineage, how = _resolve(*SEDGES, "Carex", slip, backbone=_backbone(lineages))
    assert (lineage[6], how) in {(meant, "fuzzy"), (slip, "ambiguous")}
