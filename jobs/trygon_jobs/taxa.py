"""Tables of taxa that users give: their names cleaned, and what is lost of them told."""

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa

from trygon.data.splits import depths
from trygon.taxonomy.darwin_core import UNNAMED
from trygon.taxonomy.names import clean_lineages
from trygon.taxonomy.tables import read_taxa


def read_clean(place: str) -> pa.Table:
    """The taxa of a table that name anything. Their names are cleaned as those of pictures are: the column of species
    may hold whole binomials, with their authors. A line tells what is left out."""
    left_out: Counter[str] = Counter()
    taxa = clean_lineages(read_taxa(place, left_out))
    named = taxa.filter(pa.array(depths(taxa) >= 0))
    left_out[UNNAMED] += taxa.num_rows - named.num_rows
    if told := reasons(left_out):
        print(f"{place}: rows left out: {told}")
    return named


def reasons(left_out: Mapping[str, int]) -> str:
    """What was left out, by reason, in words; blank where nothing was."""
    return ", ".join(f"{number} {reason}" for reason, number in left_out.items() if number)
