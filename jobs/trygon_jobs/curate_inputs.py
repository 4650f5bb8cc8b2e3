"""What a curation reads: its sources, the benchmarks and tables to keep out, and what they say. Decodes no picture."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pyarrow as pa

from trygon.cache import sample_folder
from trygon.data.selection import binomials, shows_species
from trygon.data.sources.catalog import has_kind, open_sources
from trygon.data.sources.listing import archive_states, tables_of
from trygon.data.sources.source import Source, Unit, is_picture
from trygon.data.sources.tables import num_bad_lines
from trygon.data.splits import of_clade
from trygon.errors import UserError
from trygon.storage import absolute, digest_texts, list_files, require_folder, state_of
from trygon.taxonomy.names import clean_lineages
from trygon.taxonomy.resolution import Backbone
from trygon.taxonomy.tables import SUFFIXES
from trygon.taxonomy.taxon import RANKS
from trygon_jobs.curate import CurateConfig
from trygon_jobs.taxa import read_clean


@dataclass(frozen=True)
class Inputs:
    """What there is to read. `units` are those of each source; benchmarks stand before the others."""

    benchmarks: tuple[Source, ...]
    units: tuple[tuple[Source, tuple[Unit, ...]], ...]
    tables: tuple[str, ...]
    """Of taxa that are kept out."""
    backbone: str
    backgrounds: str

    @cached_property
    def files(self) -> str:
        """A digest of which pictures there are, by their names, and of the states of archives."""
        units = [unit for _, own in self.units for unit in own]
        states = archive_states(units)
        return digest_texts(
            text for unit in units for text in (unit.uri, *(unit.members or [states.get(unit.uri, "")]))
        )

    @cached_property
    def listing(self) -> str:
        """A digest of `files` and of the states of all tables: where it is the same, they say the same."""
        tables = [place for source, units in self.units for place in tables_of(source.uri, units)]
        places = [*tables, *self.tables, *filter(None, [self.backbone])]
        return digest_texts([self.files, *(f"{place} {state_of(place)}" for place in places)])


def open_inputs(config: CurateConfig) -> Inputs:
    """List what a config names. `UserError` for what is not there."""
    if not config.source:
        hint = "Run `trygon sample`, or give --source."
        require_folder(sample_folder() / "photos", "the sample photos' folder", hint)
    texts = config.source or (str(sample_folder() / "photos"),)
    tables = [text for text in config.exclude if _is_table(text)]
    found = open_sources([*texts, *(text for text in config.exclude if text not in tables)])
    sources, benchmarks = found[: len(texts)], found[len(texts) :]
    return Inputs(
        tuple(benchmarks),
        tuple((source, tuple(source.units())) for source in (*benchmarks, *sources)),
        tuple(absolute(os.path.expanduser(text)) for text in tables),
        absolute(config.backbone) if config.backbone else "",
        _backgrounds(config),
    )


def _is_table(text: str) -> bool:
    """Whether something to exclude is a file of taxa, and no source."""
    return not has_kind(text) and PurePosixPath(text).suffix.lower() in SUFFIXES and not Path(text).is_dir()


def _backgrounds(config: CurateConfig) -> str:
    if config.backgrounds is None:
        found = sample_folder() / "backgrounds"
        return str(found) if config.views > 1 and found.is_dir() else ""
    if not any(is_picture(path) for path in list_files(config.backgrounds)):
        raise UserError(
            f"--backgrounds {config.backgrounds} holds no pictures: see how it is written, or leave it out for the "
            "sample's"
        )
    return absolute(config.backgrounds)


@dataclass(frozen=True)
class Records:
    """What the sources say of their pictures, by the sources' names: RECORD and `resolution`, with clean names.

    `species` are the (genus, epithet) that are kept out. `bad_lines` are how many lines of each source's tables say
    nothing: broken ones, and those of an id that was there before; sources without any are left out.
    """

    tables: dict[str, pa.Table]
    species: set[tuple[str, str]]
    bad_lines: dict[str, int]

    @property
    def num_rows(self) -> int:
        """How many pictures the sources speak of."""
        return sum(table.num_rows for table in self.tables.values())


def read_records(inputs: Inputs, backbone: Backbone | None) -> Records:
    """Read what all inputs say. `UserError` where a table of taxa to exclude names no species."""
    own = {source.name: source.records() for source, _ in inputs.units}
    bad = {name: num_bad_lines(it) + it.num_rows - len(it["source_id"].unique()) for name, it in own.items()}
    clean = {name: clean_lineages(table) for name, table in own.items()}
    tables = {name: _resolved(table, backbone) for name, table in clean.items()}
    species = set().union(
        *(binomials(table[source.name]) for source in inputs.benchmarks for table in (clean, tables)),
        *(_species_of(place, backbone) for place in inputs.tables),
    )
    # A backbone may know a name as a picture's source writes it, and not on the list with other ranks above it.
    renamed = [tables[name].filter(pa.array(shows_species(table, species))) for name, table in clean.items()]
    species = species.union(*map(binomials, renamed))
    return Records(tables, species, {name: number for name, number in bad.items() if number})


def check_clades(clades: Sequence[str], records: Records) -> None:
    """`UserError` for a clade to hold out that no source names, before hours are spent on pictures."""
    for name in clades:
        if not any(of_clade(table, name).any() for table in records.tables.values()):
            raise UserError(f"--holdout-clade {name}: no source names such a clade; see its spelling")


def _species_of(place: str, backbone: Backbone | None) -> set[tuple[str, str]]:
    """The (genus, epithet) of all species of a table, by their own names and by the backbone's."""
    taxa = read_clean(place)
    species = binomials(taxa) | binomials(_resolved(taxa, backbone))
    if not species:
        raise UserError(
            f"--exclude {place} names no species, so that nothing would be kept out: fill in genus and species "
            f"(of its columns {', '.join(RANKS)}), or give a checklist in Darwin Core's terms"
        )
    return species


def _resolved(records: pa.Table, backbone: Backbone | None) -> pa.Table:
    """Records or taxa, whose names are clean, matched to the backbone where there is one."""
    if backbone:
        return backbone.resolve(records)
    return records.append_column("resolution", pa.repeat("", records.num_rows))
