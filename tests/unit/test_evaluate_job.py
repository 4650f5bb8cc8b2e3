"""`trygon evaluate` as a job: when it is done already, and where it does not write. Without Ray."""

from pathlib import Path

import pytest
from PIL import Image

from trygon.data.images import encode_jpeg
from trygon.data.shards import shard_path, write_shard
from trygon.errors import UserError
from trygon.evaluation.zero_shot import tasks_of
from trygon.storage import read_json, write_json
from trygon.taxonomy.taxon import RANKS
from trygon.testing.tiny import write_tiny_model
from trygon_jobs.evaluate import EvaluateConfig, main


def _write(shards: Path, split: str, *epithets: str, common: str = "", image: bytes = b"") -> None:
    rows = [
        {"sample_id": number, "image": image or encode_jpeg(Image.new("RGB", (40, 40))), "split": split, "source": "t",
         "source_id": str(number), "common": common,
         **dict(zip(RANKS, ("Animalia", "P", "C", "O", "F", "Panthera", epithet), strict=True))}
        for number, epithet in enumerate(epithets)
    ]  # fmt: skip
    write_shard(shard_path(shards, split, 0), rows)


def test_other_species_to_choose_among_are_another_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, out = tmp_path / "shards", tmp_path / "out"
    config = EvaluateConfig(model=str(write_tiny_model(tmp_path / "tiny")), shards=str(shards), out=str(out))
    _write(shards, "val", "leo")
    for number, (epithets, common) in enumerate(
        [(("leo", "onca"), ""), (("leo", "onca", "uncia"), ""), (("leo", "onca", "uncia"), "cat")]
    ):
        _write(shards, "train", *epithets, common=common)
        main(config)
        assert "was complete" not in capsys.readouterr().out, number
        assert read_json(out / "metrics.json")["zero_shot/seen/taxon/species/chance"] == round(1 / len(epithets), 4)
        main(config)
        assert "was complete" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["open_clip_config.json", "plan.json"])
def test_the_folder_of_a_model_or_a_run_is_refused_and_stays_as_it_was(name: str, tmp_path: Path) -> None:
    for file in (name, "config.json"):
        write_json(tmp_path / "out" / file, {"kept": file})
    config = EvaluateConfig(model="m", shards=str(tmp_path / "shards"), out=str(tmp_path / "out"))
    with pytest.raises(UserError, match=rf"^--out .* holds .* \({name}\): give the evaluation a folder of its own$"):
        main(config)
    assert {path.name: read_json(path) for path in (tmp_path / "out").iterdir()} == {
        file: {"kept": file} for file in (name, "config.json")
    }


def test_a_broken_picture_ends_no_evaluation(tmp_path: Path) -> None:
    shards, out = tmp_path / "shards", tmp_path / "out"
    _write(shards, "train", "leo", "onca")
    _write(shards, "val", "leo", "onca", image=b"broken")
    main(EvaluateConfig(model=str(write_tiny_model(tmp_path / "tiny")), shards=str(shards), out=str(out)))
    assert read_json(out / "metrics.json")["zero_shot/seen/taxon/species/n"] == 2
    assert (out / "index.html").read_text().count("data:image/jpeg") == 2


def test_pictures_that_are_not_named_to_the_species_take_no_room_and_are_told(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    _write(shards, "train", "leo", "onca")
    config = EvaluateConfig(model=str(write_tiny_model(tmp_path / "tiny")), shards=str(shards), out="out")
    with pytest.raises(UserError, match="has no val or unseen shards"):
        main(config)
    _write(shards, "val", *[""] * 300)
    with pytest.raises(UserError, match="none of the val shards to a species that the train shards have"):
        main(config)
    _write(shards, "val", *[""] * 300, "leo", "onca")
    (task,) = tasks_of(shards, limit=2)
    assert [truth.lineage[-1] for truth in task.truths] == ["leo", "onca"]
