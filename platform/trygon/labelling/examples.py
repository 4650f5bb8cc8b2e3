"""Examples of taxa, as vectors with names, made labels of a bank: what they are called is looked up in its tree, and
what that does not hold becomes a label of its own. Reads no picture and loads no model.

Shapes: S examples, D the width of vectors, N taxa, E taxa with examples, M taxa that are added.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.choice import Choice
from trygon.labelling.decisions import MOTORS, NOTHING, PEOPLE
from trygon.labelling.few_shot import Prototypes, TextScores
from trygon.labelling.lists import AMBIGUOUS, EXACT, Given, Match, Matcher, name_of_lineage
from trygon.storage import digest_texts
from trygon.taxonomy.names import clean_binomial, clean_lineage, clean_name
from trygon.taxonomy.taxon import RANKS, Lineage, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.wording import first_of

OWN = "own"
"""The status of a name that is in no label: it becomes one of its own."""

_KINDS = {"human": PEOPLE, "person": PEOPLE, "vehicle": MOTORS, "blank": NOTHING, "empty": NOTHING}
_ONLY_GENUS = ("sp", "spp")
_SCORES_AT_ONCE = 20_000_000
_MAX_TOLD = 5

EncodeTaxa = Callable[[Sequence[Taxon]], np.ndarray]
"""The text vectors of taxa that a bank does not hold: (M, D)."""


@dataclass(frozen=True)
class ExampleName:
    """A name of examples and the taxon that it means, None where it may be several; `status` is a word of `lists`, or
    OWN."""

    given: Given
    status: str
    taxon: Taxon | None
    meant: str


@dataclass(frozen=True)
class Examples:
    """What is known of them: `name_S` points into `names`, examples of one group were seen together."""

    names: tuple[ExampleName, ...]
    name_S: np.ndarray
    group_S: np.ndarray
    vector_SD: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, tree: TaxonTree) -> "Examples":
        """From EXAMPLE rows, less those that failed. `UserError` where none can be used."""
        usable = table.filter(table["vector"].is_valid())
        rows = usable.select(["name", *RANKS]).to_pylist()
        keys = [tuple(row.values()) for row in rows]
        distinct = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        named = find_names(tree, [_given(number, *key) for key, number in distinct.items()])
        if not any(it.taxon for it in named):
            raise UserError(
                "--examples: no picture with a name of one meaning can be used; see examples.csv in the run folder"
            )
        vector_SD = usable["vector"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1).astype(np.float32)
        name_S = np.asarray([distinct[key] for key in keys])
        return cls(tuple(named), name_S, usable["group"].to_numpy(), vector_SD)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user has to know of the names."""
        said = ((OWN, "in no label, and labels of their own"), (AMBIGUOUS, "left out: they may mean several taxa"))
        lists = [([it.given.name for it in self.names if it.status == status], words) for status, words in said]
        return tuple(
            f"examples: {len(some)} names are {words} ({first_of(some, _MAX_TOLD)})" for some, words in lists if some
        )

    def report(self, num_failed: dict[str, int]) -> str:
        """A CSV of what became of each name; `num_failed` of its pictures cannot be used."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["name", "status", "meant", "num_examples", "num_failed"])
        count = np.bincount(self.name_S, minlength=len(self.names))
        for it, number in zip(self.names, count.tolist(), strict=True):
            writer.writerow([it.given.name, it.status, it.meant, number, num_failed.get(it.given.name, 0)])
        return buffer.getvalue()


def _given(number: int, name: str, *lineage: str | None) -> Given:
    others = (name.replace("_", " "),) if "_" in name else ()
    return Given(number, name, others, tuple(rank or "" for rank in lineage))


def lineage_of(text: str) -> tuple[str, Lineage]:
    """A name, and the lineage where the text is one: names at the seven ranks from the kingdom down with semicolons
    between, of which the last ones may be missing."""
    if ";" not in text:
        return text, Taxon.from_row({}).lineage
    names = [name.strip() for name in text.split(";")][: len(RANKS)]
    lineage: Any = (*names, *("",) * (len(RANKS) - len(names)))
    return name_of_lineage(lineage), lineage


def find_names(tree: TaxonTree, names: Sequence[Given]) -> list[ExampleName]:
    """What each name means, in order: a label or clade of the tree, as it is written or without author and year,
    or else a taxon of its own."""
    matcher = Matcher(tree)
    matches = matcher.match(names)
    own = [place for place, it in enumerate(matches) if it.status != AMBIGUOUS and not _is_found(it)]
    for place, match in zip(own, matcher.match([_clean(names[place]) for place in own]), strict=True):
        matches[place] = match
    return [_named(tree, given, match) for given, match in zip(names, matches, strict=True)]


def _clean(given: Given) -> Given:
    """The name without what is no part of it: author and year, a genus that is said twice; `sp.` behind a genus says
    no more than the genus. As it was where anything else stands there: a subspecies, a hybrid, `sp. 2` are others."""
    if any(given.lineage):
        *above, genus, species = given.lineage
        epithet = _epithet(genus, species) if genus and species else None
        if epithet is None:
            return given
        lineage = clean_lineage((*above, genus, "" if epithet in _ONLY_GENUS else epithet))
        return Given(given.line, name_of_lineage(lineage), (), lineage)
    text = (given.others or (given.name,))[0]
    words = text.split()
    if len(words) == 2 and words[1].lower().rstrip(".") in _ONLY_GENUS:
        return Given(given.line, clean_name(words[0]) or given.name)
    # Two words that both begin with a capital may be a binomial, and in a longer name the author has one.
    genus, epithet = clean_binomial(text.capitalize() if len(words) == 2 else text)
    return Given(given.line, f"{genus} {epithet}") if epithet else given


def _epithet(genus: str, species: str) -> str | None:
    """The epithet in what a lineage says of the species, `sp` and the like too; None where more than an author follows
    it."""
    words = species.split()
    if len(words) > 1 and words[0].lower() == genus.lower():
        del words[0]
    epithet, author = words[0].lower(), words[1:]
    if epithet.rstrip(".") in _ONLY_GENUS:
        return None if author else epithet.rstrip(".")
    is_author = not author or author[0][0] == "(" or author[0][0].isupper()
    return epithet if is_author and epithet.replace("-", "").isalpha() else None


def _is_found(match: Match) -> bool:
    return match.taxon is not None and _agrees(match.taxon, match.given.lineage)


def _named(tree: TaxonTree, given: Given, match: Match) -> ExampleName:
    kind = _KINDS.get(given.name.lower())
    if kind:
        found = tree.find(kind.scientific)
        taxon = tree.taxon(found[0].start) if found else kind
        return ExampleName(given, EXACT, taxon, taxon.label)
    if match.taxon and _is_found(match):
        return ExampleName(given, match.status, match.taxon, match.meant)
    if match.status == AMBIGUOUS:
        return ExampleName(given, AMBIGUOUS, None, match.meant)
    taxon = _own(tree, given, match.given)
    return ExampleName(given, OWN, taxon, taxon.taxonomic)


def _agrees(taxon: Taxon, lineage: Sequence[str]) -> bool:
    return not any(one and one.lower() != other.lower() for one, other in zip(lineage, taxon.lineage, strict=True))


def _own(tree: TaxonTree, given: Given, clean: Given) -> Taxon:
    """A taxon that the tree lacks: of the lineage that was given; a binomial within its genus; else an animal."""
    if any(clean.lineage):
        return Taxon(clean.lineage)  # pyright: ignore[reportArgumentType]
    name = (clean.others or (clean.name,))[0]
    genus, _, epithet = name.partition(" ")
    genera = [tree.taxon(it.start) for it in tree.find(genus.capitalize(), Rank.GENUS)]
    if epithet and len(genera) == 1:
        return Taxon((*genera[0].lineage[: Rank.SPECIES], epithet))  # pyright: ignore[reportArgumentType]
    # Two words that only look like a binomial stay as they were.
    return Taxon(("Animalia", "", "", "", "", (given.others or (given.name,))[0] if epithet else name, ""))


def with_examples(
    choice: Choice, examples: Examples, archive_D: np.ndarray, encode_taxa: EncodeTaxa, alone: bool = False
) -> tuple[Choice, Prototypes]:
    """The choice with the examples' taxa among its labels, and the prototypes of these.

    The whole bank's tree named the examples. A taxon that is not chosen is added with its text vector of that bank;
    one that is not in it either with one of `encode_taxa`. What has examples may be reported. `alone`: nothing else is
    a label, and texts say nothing.
    """
    taxa = list({it.taxon.lineage: it.taxon for it in examples.names if it.taxon}.values())
    if alone:
        tree = TaxonTree.from_taxa(taxa)
        vector_ND = np.zeros((len(tree), choice.whole.vector_ND.shape[1]), np.float32)
        joined = replace(choice, bank=replace(choice.whole, tree=tree, vector_ND=vector_ND), allowed_N=None)
    else:
        joined = _add(choice, taxa, encode_taxa)
    place = dict(zip((taxon.lineage for taxon in taxa), joined.bank.tree.locate(taxa).tolist(), strict=True))
    places = np.asarray([place[it.taxon.lineage] if it.taxon else -1 for it in examples.names])
    taxon_S = places[examples.name_S]
    used = taxon_S >= 0
    vector_SD, taxon_S, group_S = examples.vector_SD[used], taxon_S[used], examples.group_S[used]
    num = len(joined.bank.tree)
    prototypes = Prototypes.of(vector_SD, taxon_S, group_S, archive_D, num, text_scores(joined.bank))
    return joined, prototypes


def _add(choice: Choice, taxa: list[Taxon], encode_taxa: EncodeTaxa) -> Choice:
    whole = choice.whole
    missing = [taxon for taxon, at in zip(taxa, choice.bank.tree.locate(taxa).tolist(), strict=True) if at < 0]
    vector_MD = np.zeros((len(missing), whole.vector_ND.shape[1]), np.float32)
    at_M = whole.tree.locate(missing)
    vector_MD[at_M >= 0] = whole.vector_ND[at_M[at_M >= 0]]
    unknown = np.flatnonzero(at_M < 0)
    if len(unknown):
        vector_MD[unknown] = encode_taxa([missing[row] for row in unknown])
    joined = choice.bank.with_taxa(missing, vector_MD)
    if choice.allowed_N is None:
        return replace(choice, bank=joined)
    allowed_N = np.ones(len(joined.tree), bool)
    allowed_N[np.setdiff1d(np.arange(len(joined.tree)), joined.tree.locate(missing))] = choice.allowed_N
    allowed_N[joined.tree.locate(taxa)] = True
    return replace(choice, bank=joined, allowed_N=allowed_N)


def text_scores(bank: LabelBank) -> TextScores:
    """What a bank's texts say of vectors, some taxa at a time: there may be a million."""

    def scores(vector_BD: np.ndarray, taxon_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rest_B = np.full(len(vector_BD), -np.inf)
        step = max(1, _SCORES_AT_ONCE // max(1, len(vector_BD)))
        scaled_BD = vector_BD * np.float32(bank.logit_scale)
        for start in range(0, len(bank.tree), step):
            score_BN = scaled_BD @ bank.vector_ND[start : start + step].T
            score_BN[:, taxon_E[(taxon_E >= start) & (taxon_E < start + step)] - start] = -np.inf
            rest_B = np.logaddexp(rest_B, np.logaddexp.reduce(score_BN, axis=1))
        return scaled_BD @ bank.vector_ND[taxon_E].T, rest_B

    return scores


def digest(table: pa.Table | None, alone: bool) -> str:
    """Of EXAMPLE rows: what naming with them depends on."""
    if table is None:
        return ""
    said = (str(list(row.values())) for row in table.select(["name", *RANKS, "group"]).to_pylist())
    vectors = table["vector"].combine_chunks().flatten().to_numpy()
    return digest_texts([str(alone), *said, str(table["vector"].is_valid().to_pylist()), vectors.tobytes().hex()])
