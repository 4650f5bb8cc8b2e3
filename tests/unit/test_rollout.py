"""The file of models in versions: what `trygon models` writes, and what it refuses."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.models.model import load_model
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.served import TAXA, Served, write_served
from trygon.testing.tiny import write_tiny_model
from trygon_serving.catalogue import VersionSpec, one_version_each, read_catalogue, write_catalogue
from trygon_serving.rollout import Command, add_version, remove_version, run, set_share


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return write_served(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def spec(served: Served) -> VersionSpec:
    return VersionSpec(model=str(served.model_folder), labels={"names": str(served.labels_folder)})


def _shares(path: Path) -> dict[str, float]:
    return {version: spec.share for version, spec in read_catalogue(path)["starter"].items()}


def test_a_canary_and_its_way_back(spec: VersionSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "models.json"
    add_version(path, "starter/v1", spec)
    add_version(path, "starter/v2", spec)
    assert _shares(path) == {"v1": 1, "v2": 0}
    set_share(path, "starter/v2=0.1")
    assert _shares(path) == {"v1": 0.9, "v2": 0.1}
    add_version(path, "starter/v3", spec)
    set_share(path, "starter/v3=0.5")
    assert _shares(path) == {"v1": 0.45, "v2": 0.05, "v3": 0.5}
    set_share(path, "starter/v1=1")
    assert _shares(path) == {"v1": 1, "v2": 0, "v3": 0}
    remove_version(path, "starter/v3")
    run(Command(file=path))
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()] == [
        ["starter/v1", "share", "1"], ["starter/v2", "share", "0"]
    ]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=8))
@example([("b", 5e-324), ("a", 0.5)])
def test_shares_stay_a_whole(changes: list[tuple[str, float]]) -> None:
    """Whatever is asked for, what is written can be read, and a version that was given a share has it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "models.json"
        specs = {name: VersionSpec(model="/m", labels={"l": "/l"}, share=name == "a") for name in "abc"}
        write_catalogue(path, {"starter": specs})
        for version, share in changes:
            before = path.read_bytes()
            try:
                set_share(path, f"starter/{version}={share}")
            except UserError:
                assert path.read_bytes() == before
                continue
            assert _shares(path)[version] == share
            assert sum(_shares(path).values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"add": "starter"}, "say what it is"),
        ({"add": "starter/v1", "model": "MODEL", "labels": {"names": "LABELS"}}, "has it already"),
        ({"add": "star ter/v1", "model": "MODEL", "labels": {"names": "LABELS"}}, "give MODEL/VERSION"),
        ({"add": "starter/v2", "model": "/none", "labels": {"names": "LABELS"}}, "no such folder"),
        ({"add": "starter/v2", "model": "MODEL", "labels": {"names": "/none"}}, "not a finished LabelBank"),
        ({"remove": "starter/v1"}, "names no model"),
        ({"remove": "starter/v7"}, "has starter/v1"),
        ({"share": "starter/v1"}, "from 0 to 1"),
        ({"share": "starter/v1=2"}, "from 0 to 1"),
        ({"share": "starter/v1=nan"}, "from 0 to 1"),
        ({"share": "starter/v1=0"}, "no version of starter has a share"),
        (
            {"add": "starter/v2", "model": "MODEL", "labels": {"names": "LABELS"}, "share": "starter/v1=1"},
            "a command each",
        ),
        ({"remove": "starter/v1", "share": "starter/v1=1"}, "a command each"),
        ({"model": "MODEL"}, "name it with --add"),
        ({"labels": {"names": "LABELS"}, "share": "starter/v1=1"}, "name it with --add"),
        ({"add": "starter/v2\n", "model": "MODEL", "labels": {"names": "LABELS"}}, "give MODEL/VERSION"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    spec: VersionSpec, tmp_path: Path, words: dict[str, object], said: str
) -> None:
    path = tmp_path / "models.json"
    add_version(path, "starter/v1", spec)
    before = path.read_bytes()
    text = json.dumps(words).replace('MODEL"', f'{spec.model}"').replace("LABELS", spec.labels["names"])
    with pytest.raises(UserError, match=said):
        run(Command(file=path, **json.loads(text)))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "names no model"),
        ("[]", "the file"),
        ("{", "the file"),
        ('{"a": {}}', "no version of a has a share"),
        ('{"a": {"v1": {"model": "m", "labels": {"l": "x"}, "share": 0}}}', "no version of a has a share"),
        ('{"a": {"v1": {"model": "m", "labels": {}}}}', "a.v1.labels"),
        ('{"a": {"v1": {"model": "m", "labels": {"l": "x"}, "share": -1}}}', "a.v1.share"),
        ('{"a": {"v1": {"model": "m", "labels": {"l": "x"}, "shares": 1}}}', "a.v1.shares"),
        ('{"a/b": {"v1": {"model": "m", "labels": {"l": "x"}}}}', "a/b"),
    ],
)
def test_a_file_that_is_not_sound_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "models.json").write_text(content)
    with pytest.raises(UserError, match=said):
        read_catalogue(tmp_path / "models.json")
    with pytest.raises(UserError, match="trygon models"):
        read_catalogue(tmp_path / "none.json")


def test_places_are_as_seen_from_the_file(tmp_path: Path) -> None:
    labels = {"here": "labels", "there": "/labels", "far": "s3://bucket/labels"}
    spec = VersionSpec(model="hf-hub:some/model", labels=labels)
    write_catalogue(tmp_path / "models.json", {"a": {"v1": spec}})
    read = read_catalogue(tmp_path / "models.json")["a"]["v1"]
    assert read.model == "hf-hub:some/model"
    assert read.labels == labels | {"here": str(tmp_path / "labels")}


def test_label_sets_go_to_the_models_that_they_were_built_with(served: Served, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "other", 1)
    LabelBank.build(TaxonTree.from_taxa(TAXA), load_model(other, "cpu"), TextType.COM).save(tmp_path / "labels")
    models = {"a": str(served.model_folder), "b": str(other)}
    labels = {"mine": str(served.labels_folder), "theirs": str(tmp_path / "labels")}
    found = one_version_each(models, labels)
    assert {name: list(versions["v1"].labels) for name, versions in found.items()} == {"a": ["mine"], "b": ["theirs"]}
    with pytest.raises(UserError, match="has no --labels"):
        one_version_each(models, {"mine": labels["mine"]})
    with pytest.raises(UserError, match="none of the models"):
        one_version_each({"a": models["a"], "again": models["a"]}, {"theirs": labels["theirs"]})
