"""A small checklist as a catalogue of species writes it."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

from trygon.taxonomy.tables import Checklist
from trygon.taxonomy.taxon import RANKS, Rank

LION = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo")
TERMS = ("taxonID", "parentNameUsageID", "acceptedNameUsageID", "scientificName", "taxonRank", "taxonomicStatus")
# id, parent, accepted, name with its authority, rank, status. The subfamily is walked through.
CATS = [
    ("1", "", "", "Animalia", "kingdom", "accepted"),
    ("2", "1", "", "Chordata Haeckel, 1874", "Phylum", "accepted"),
    ("3", "2", "", "Mammalia", "class", "accepted"),
    ("4", "3", "", "Carnivora Bowdich, 1821", "order", "accepted"),
    ("5", "4", "", "Felidae Fischer de Waldheim, 1817", "family", "accepted"),
    ("6", "5", "", "Pantherinae Pocock, 1917", "subfamily", "accepted"),
    ("7", "6", "", "Panthera Oken, 1816", "genus", "accepted"),
    ("8", "7", "", "Panthera leo (Linnaeus, 1758)", "species", "accepted"),
    ("9", "", "8", "Felis leo Linnaeus, 1758", "species", "synonym"),
    ("10", "", "9", "Leo (Leo) leo", "species", "synonym"),
    ("11", "8", "", "Panthera leo persica", "subspecies", "accepted"),
    ("12", "", "7", "Tigris Gray, 1843", "genus", "not accepted"),
]


def lineages_of(checklist: Checklist) -> list[tuple[str, ...]]:
    """The lineages of its taxa, blank where a rank is not known."""
    return [tuple(row[rank] for rank in RANKS) for row in checklist.taxa.to_pylist()]


def synonyms_of(checklist: Checklist) -> dict[str, tuple[str, ...]]:
    """The lineage that each synonym stands for."""
    return {row["name"]: tuple(row[rank] for rank in RANKS) for row in checklist.synonyms.to_pylist()}


def lion_up_to(rank: Rank) -> tuple[str, ...]:
    """The lion, or what stands above it at a rank."""
    return (*LION[: rank + 1], *[""] * (6 - rank))


META = """<?xml version="1.0" encoding="UTF-8"?>
<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">
  <core encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="0"
        rowType="http://rs.tdwg.org/dwc/terms/Taxon">
    <files><location>taxa.txt</location></files>
    <id index="0"/>{fields}
  </core>
  <extension encoding="UTF-8" fieldsTerminatedBy="," linesTerminatedBy="\\n" fieldsEnclosedBy='"' ignoreHeaderLines="1"
        rowType="http://rs.gbif.org/terms/1.0/VernacularName">
    <files><location>names.csv</location></files>
    <coreid index="1"/>
    <field index="2" term="http://rs.tdwg.org/dwc/terms/vernacularName"/>
    <field index="3" term="http://purl.org/dc/terms/language"/>
    <field index="4" term="http://rs.gbif.org/terms/1.0/isPreferredName"/>
  </extension>
</archive>"""


NAMES = """a,b,c,d,e
x,8,"lion, African",en,False
x,8,Löwe,de,true
x,8,lion,ENG,true
x,8,king of beasts,en,true
x,5,cats,en,
x,5,felids,en,0
x,99,nobody,en,true
"""


def write_archive(path: Path, members: Mapping[str, str | bytes]) -> Path:
    """A zip with these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def meta_of(terms: tuple[str, ...] = TERMS) -> str:
    """The description of an archive whose core has these columns."""
    fields = "".join(f'<field index="{at}" term="http://rs.tdwg.org/dwc/terms/{it}"/>' for at, it in enumerate(terms))
    return META.format(fields=fields)


TAXA_TEXT_WITH_HEADER = "".join("\t".join(row) + "\n" for row in [TERMS, *CATS])
TAXA_TEXT = "".join("\t".join(row) + "\n" for row in CATS)
