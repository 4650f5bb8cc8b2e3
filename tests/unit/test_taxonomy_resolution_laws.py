"""What holds of names against any backbone, with hypothesis."""

import string
from collections.abc import Sequence

from backbones import backbone_of, resolve, row_of, taxa_of
from hypothesis import assume, given
from hypothesis import strategies as st

from trygon.taxonomy.names import clean_binomial
from trygon.taxonomy.taxon import RANKS

SEDGES = ("Plantae", "Tracheophyta", "Liliopsida", "Poales", "Cyperaceae")

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
    taxa = {row_of(other[: depth + 1]) for other in lineages if other[depth] == lineage[depth]}
    full = [taxon for taxon in taxa if _within(lineage, taxon)]
    return next((taxon for taxon in full if all(_within(other, taxon) for other in full)), lineage)


@given(checklists)
def test_a_backbone_s_own_names_are_exact_and_stay_themselves_or_gain_what_is_blank(
    lineages: list[tuple[str, ...]],
) -> None:
    resolved = backbone_of(lineages).resolve(taxa_of(lineages)).to_pylist()
    assert [tuple(row[rank] for rank in RANKS) for row in resolved] == [_fullest(it, lineages) for it in lineages]
    assert {row["resolution"] for row in resolved} == {"exact"}


synonym_lists = st.lists(st.tuples(st.sampled_from(["Longigenus albus", "Zus niger", "Leo"]), few), max_size=4)


@given(checklists, synonym_lists, st.lists(few, max_size=5))
def test_rows_stay_in_order_each_resolved_as_if_alone_and_twice_changes_nothing(
    lineages: list[tuple[str, ...]], synonyms: list[tuple[str, tuple[str, ...]]], rows: list[tuple[str, ...]]
) -> None:
    backbone = backbone_of(lineages, synonyms=synonyms)
    once = backbone.resolve(taxa_of(rows + rows[::-1]))
    alone = [resolve(backbone, *row) for row in rows]
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
    lineage, how = resolve(backbone_of(lineages), *SEDGES, "Carex", slip)
    assert (lineage[6], how) in {(meant, "fuzzy"), (slip, "ambiguous")}
