"""Examples of taxa: where they come from, what their names mean, and how they join the labels."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trygon.archive.run_folder.examples import FILE, find_pictures, gather, mean_crop
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.reviews import ReviewLog
from trygon.archive.run_folder.sessions import bind
from trygon.archive.run_folder.tables import read_table
from trygon.data.images import encode_jpeg
from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.choice import choose
from trygon.labelling.classification import Classifier
from trygon.labelling.decisions import MOTORS, NOTHING, PEOPLE
from trygon.labelling.examples import Examples, find_names, lineage_of, with_examples
from trygon.labelling.lists import Given
from trygon.lease import Hold
from trygon.models.encoders import find_encoder
from trygon.models.folder import describe
from trygon.schemas import EXAMPLE
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.tiny import write_tiny_model

_CARNIVORE = ("Animalia", "Chordata", "Mammalia", "Carnivora")
TREE = TaxonTree.from_taxa(
    [
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "leo"), "lion"),
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "onca"), "jaguar"),
        Taxon((*_CARNIVORE, "Canidae", "Vulpes", "vulpes"), "fox"),
        Taxon((*_CARNIVORE, "Canidae", "Vulpes", "lagopus"), "fox"),
        Taxon(("Plantae", "Tracheophyta", "", "", "Apiaceae", "Oenanthe", "crocata"), ""),
    ]
)
DIM = 8
BANK = LabelBank(TREE, np.eye(len(TREE), DIM, dtype=np.float32), 20.0, "model", "digest", TextType.SCI)


def _means(*folders: str) -> list[tuple[str, str | None]]:
    """Status and lineage of names of folders."""
    names = [
        Given(number, name, (name.replace("_", " "),), lineage)
        for number, (name, lineage) in enumerate(map(lineage_of, folders))
    ]
    return [(it.status, it.taxon and it.taxon.taxonomic) for it in find_names(TREE, names)]


def test_names_of_folders_are_looked_up_and_others_become_labels() -> None:
    carnivore = " ".join(_CARNIVORE)
    assert _means("lion", "Panthera_onca", "Felidae", "Vulpes vulpis", "fox") == [
        ("common", f"{carnivore} Felidae Panthera leo"),
        ("exact", f"{carnivore} Felidae Panthera onca"),
        ("exact", f"{carnivore} Felidae"),
        ("fuzzy", f"{carnivore} Canidae Vulpes vulpes"),
        ("ambiguous", None),
    ]
    assert _means("Panthera pardus", "Stripes", "Animalia;Chordata;Aves;Passeriformes;Muscicapidae;Oenanthe") == [
        ("own", f"{carnivore} Felidae Panthera pardus"),
        ("own", "Animalia Stripes"),
        ("own", "Animalia Chordata Aves Passeriformes Muscicapidae Oenanthe"),  # the bird, not the plant
    ]
    kinds = [PEOPLE.taxonomic, MOTORS.taxonomic, NOTHING.taxonomic]
    assert [lineage for _, lineage in _means("human", "Vehicle", "blank")] == kinds


@pytest.mark.parametrize(
    ("folder", "status", "means"),
    [
        ("Panthera leo (Linnaeus, 1758)", "fuzzy", "Felidae Panthera leo"),
        ("Panthera pardus (Linnaeus, 1758)", "own", "Felidae Panthera pardus"),
        ("Panthera_pardus_fusca", "own", "Felidae Panthera pardus"),
        ("Panthera Pardus", "own", "Felidae Panthera pardus"),
        ("Panthera sp.", "exact", "Felidae Panthera"),
        ("Panthera_spp", "exact", "Felidae Panthera"),
        ("Animalia;Chordata;Mammalia;Carnivora;Felidae;Panthera;Panthera leo", "exact", "Felidae Panthera leo"),
        ("Animalia;Chordata;Mammalia;Carnivora;Felidae;Panthera;sp.", "exact", "Felidae Panthera"),
        (
            "Animalia;Chordata;Mammalia;Carnivora;Felidae;Felis;Felis chaus Schreber, 1777",
            "own",
            "Felidae Felis chaus",
        ),
    ],
)
def test_names_of_folders_are_read_as_people_write_them(folder: str, status: str, means: str) -> None:
    assert _means(folder) == [(status, f"{' '.join(_CARNIVORE)} {means}")]


@pytest.mark.parametrize(
    "species", ["leo persica", "Panthera leo persica", "domestic cat", "sp. 2", "cf. leo", "leo x onca", "cf. Leo"]
)
def test_what_is_finer_or_else_than_a_label_is_not_taken_for_it(species: str) -> None:
    above = f"{';'.join(_CARNIVORE)};Felidae;Panthera"
    ((status, lineage),) = _means(f"{above};{species}")
    assert status == "own"
    assert lineage == f"{above.replace(';', ' ')} {species}"


def test_names_that_are_no_scientific_ones_stay_as_they_are() -> None:
    assert _means("Red Thing", "Morph-3", "Stripes sp.", "Animalia;;;;;Morph-3", "Animalia;;;;;;spotted one") == [
        ("own", "Animalia Red Thing"),
        ("own", "Animalia Morph-3"),
        ("own", "Animalia Stripes"),
        ("own", "Animalia Morph-3"),
        ("own", "Animalia spotted one"),
    ]


def _table(**vectors: list[np.ndarray]) -> pa.Table:
    rows = [
        {"name": name, "place": f"{name}/{number}", "group": number, "vector": vector.astype(np.float16)}
        | dict.fromkeys(RANKS, "")
        for name, some in vectors.items()
        for number, vector in enumerate(some)
    ]
    return pa.Table.from_pylist(rows, EXAMPLE)


def _near(direction: int, count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(direction)
    vectors = np.eye(DIM)[direction] + rng.normal(0, 0.1, (count, DIM))
    return list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _no_texts(taxa: Any) -> np.ndarray:
    raise AssertionError("texts of these labels are known")


def test_new_label_is_named_where_texts_say_another_one() -> None:
    examples = Examples.of(_table(**{"Panthera pardus": _near(6), "lion": _near(0)}), TREE)
    encoded: list[str] = []

    def encode(taxa: Any) -> np.ndarray:
        encoded.extend(taxon.scientific for taxon in taxa)
        return np.eye(DIM)[[7] * len(taxa)]

    choice, prototypes = with_examples(choose(BANK, ()), examples, np.full(DIM, 0.1), encode)
    assert encoded == ["Panthera pardus"]
    assert len(choice.bank.tree) == len(TREE) + 1
    classifier = Classifier(choice.bank, prototypes=prototypes)
    found = [
        answer.taxon and answer.taxon.scientific for answer in classifier.classify(np.stack([*_near(6), *_near(1)]))
    ]
    assert found == ["Panthera pardus"] * 3 + [TREE.taxon(1).scientific] * 3
    assert choice.notes == ()
    assert "1 names are in no label" in examples.notes[0]
    assert examples.report({"lion": 2}).splitlines()[2].endswith(",3,2")


def test_what_has_examples_is_a_choice_and_may_be_reported(tmp_path: Path) -> None:
    (tmp_path / "country.csv").write_text("scientific\nVulpes vulpes\n")
    narrow = choose(BANK, ("Canidae",), checklist=str(tmp_path / "country.csv"))
    examples = Examples.of(_table(lion=_near(0), **{"Vulpes lagopus": _near(2)}), TREE)
    choice, prototypes = with_examples(narrow, examples, np.zeros(DIM), _no_texts)
    names = [taxon.scientific for taxon in choice.bank.tree.taxa]
    assert names == ["Vulpes lagopus", "Vulpes vulpes", "Panthera leo"]
    assert choice.allowed_N is not None
    assert choice.allowed_N.all()
    np.testing.assert_array_equal(choice.bank.vector_ND[2], BANK.vector_ND[TREE.find("Panthera leo")[0].start])
    assert prototypes.has_examples.tolist() == [True, False, True]


def test_alone_only_taxa_with_examples_are_labels() -> None:
    examples = Examples.of(_table(lion=_near(0), Stripes=_near(5), fox=_near(1)), TREE)
    choice, prototypes = with_examples(choose(BANK, ()), examples, np.zeros(DIM), _no_texts, alone=True)
    assert [taxon.scientific for taxon in choice.bank.tree.taxa] == ["Stripes", "Panthera leo"]
    probability_BN = Classifier(choice.bank, prototypes=prototypes).probabilities(np.stack([*_near(5), *_near(0)]))
    assert probability_BN.argmax(1).tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(UserError, match="no picture with a name of one meaning"):
        Examples.of(_table(fox=_near(1)), TREE)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=len(TREE), max_size=len(TREE)).filter(any))
def test_added_taxa_take_their_places_with_their_vectors(kept: list[bool]) -> None:
    rows, others = np.flatnonzero(kept), np.flatnonzero(~np.asarray(kept))
    whole = BANK.select(rows).with_taxa([TREE.taxon(int(row)) for row in others], np.asarray(BANK.vector_ND[others]))
    assert whole.tree.digest == TREE.digest
    np.testing.assert_array_equal(whole.vector_ND, BANK.vector_ND)


def _picture(shade: int) -> bytes:
    return encode_jpeg(Image.new("RGB", (40, 30), (shade, 255 - shade, 128)))


def test_pictures_are_embedded_once_and_broken_ones_are_told(tmp_path: Path) -> None:
    choice = find_encoder("torch", describe(str(write_tiny_model(tmp_path / "model"))))
    bind(tmp_path / "run", {"model": "m", "encoder": "torch"})
    shots = tmp_path / "shots"
    for number, name in enumerate(["lion/a.jpg", "lion/deep er/b.JPG", "Vulpes_lagopus/ü.jpeg"]):
        (shots / name).parent.mkdir(parents=True, exist_ok=True)
        (shots / name).write_bytes(_picture(80 * number))
    (shots / "lion/cut.jpg").write_bytes(_picture(9)[:-200])
    (shots / "lion/notes.txt").write_text("not one")
    (shots / "lose.jpg").write_bytes(_picture(1))
    told: list[int] = []
    table = gather([str(shots)], str(tmp_path / "run"), Hold(), lambda: choice, told.append)
    rows = {Path(row["place"]).name: row for row in table.to_pylist()}
    assert {name: row["failure"] for name, row in rows.items()} == {
        "a.jpg": None, "b.JPG": None, "cut.jpg": "truncated", "ü.jpeg": None
    }  # fmt: skip
    assert [row["name"] for row in rows.values()] == ["Vulpes_lagopus", "lion", "lion", "lion"]
    assert table.schema == EXAMPLE
    assert read_table(tmp_path / "run" / FILE).num_rows == 4

    def no_encoder() -> Any:
        raise AssertionError("nothing is new")

    (shots / "lion/cut.jpg").unlink()
    again = gather([str(shots)], str(tmp_path / "run"), Hold(), no_encoder, told.append)
    assert told == [4]
    assert again["vector"].to_pylist() == table.filter(table["failure"].is_null())["vector"].to_pylist()
    for place, message in ((tmp_path / "nowhere", "no such folder"), (shots / "lion/deep er", "in sub-folders")):
        with pytest.raises(UserError, match=message):
            find_pictures(str(place))


@pytest.mark.parametrize("place", ["my-crops", "./my-crops", ".//my-crops/", "deeper/../my-crops"])
def test_a_taxon_is_called_as_its_folder_however_the_examples_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("my-crops/red fox/north", "deeper"):
        Path(folder).mkdir(parents=True)
    Path("my-crops/red fox/north/1.jpg").write_bytes(b"a picture")
    assert [picture.name for picture in find_pictures(place)] == ["red fox"]
    monkeypatch.chdir("my-crops")
    assert [picture.name for picture in find_pictures(".")] == ["red fox"]


def _write_reviewed(run: Path, num: int, said: list[tuple[list[int], int, dict[str, Any]]]) -> None:
    """A run of one picture with so many detections, and what is said of them in events."""
    bind(run, {"model": "m", "encoder": "torch"})
    box = dict.fromkeys(("x", "y", "width", "height"), 0.1)
    about = {"media_id": 1, "category": "animal", "confidence": 0.9} | box
    detections = [{"detection_id": number, "vector": np.eye(DIM)[number % DIM]} | about for number in range(num)]
    Parts(run).commit(0, [{"media_id": 1, "path": "1.jpg", "deployment": "a", "detections": detections}])
    by = {"reviewed_by": "Ana", "reviewed_at": datetime(2026, 5, 31, tzinfo=UTC)}
    rows = [
        {"review_id": str(n), "observation_ids": ids, "event_id": event} | what | by
        for n, (ids, event, what) in enumerate(said)
    ]
    ReviewLog(run, Hold()).append(rows)


def test_what_people_named_brings_its_stored_vectors(tmp_path: Path) -> None:
    run = tmp_path / "run"
    lineage = dict(zip(RANKS, TREE.taxon(0).lineage, strict=True))
    lion = lineage | {"type": "animal", "rank": "species", "scientific": "a"}
    other = lion | {"scientific": "b"}
    said: list[tuple[list[int], int, dict[str, Any]]] = [
        *((list(range(55)), 1, lion), ([55], 2, lion), ([56], 3, {"type": "blank"})),
        *(([57], 3, lion), ([57], 3, other)),
    ]
    _write_reviewed(run, 60, said)
    table = gather([str(run)], str(run), Hold(), lambda: pytest.fail("no picture"), lambda num: None)
    counts = table.group_by(["name", "group"]).aggregate([([], "count_all")]).to_pylist()
    assert {(row["name"], row["group"]): row["count_all"] for row in counts} == {
        ("a", 1): 49,
        ("a", 2): 1,
        ("b", 3): 1,
    }
    assert table["vector"][0].as_py() == np.eye(DIM)[0].tolist()
    np.testing.assert_allclose(mean_crop(Parts(run), DIM), np.eye(DIM)[np.arange(60) % DIM].mean(0), atol=1e-3)
    bind(tmp_path / "other", {"model": "m", "encoder": "openvino"})
    with pytest.raises(UserError, match="another model or encoder"):
        gather([str(run)], str(tmp_path / "other"), Hold(), lambda: pytest.fail("no picture"), lambda num: None)


def test_homonyms_have_as_many_examples_as_other_taxa(tmp_path: Path) -> None:
    bird = ("Animalia", "Chordata", "Aves", "Suliformes", "Sulidae", "Morus")
    tree = ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Moraceae", "Morus")
    named = {"type": "animal", "scientific": "Morus"}
    said: list[tuple[list[int], int, dict[str, Any]]] = [
        (list(range(60 * at, 60 * at + 60)), at, named | dict(zip(RANKS, it, strict=False)))
        for at, it in enumerate((bird, tree))
    ]
    _write_reviewed(tmp_path / "run", 120, said)
    run = str(tmp_path / "run")
    table = gather([run], run, Hold(), lambda: pytest.fail("no picture"), lambda num: None)
    assert Counter(table["kingdom"].to_pylist()) == {"Animalia": 50, "Plantae": 50}
