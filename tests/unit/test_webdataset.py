"""BioCLIP's WebDataset form: its eleven members, reproducible bytes, and open_clip's own loader and trainer on it."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trygon.data.images import encode_jpeg
from trygon.data.webdataset import members, shard_name, write_sizes, write_webdataset
from trygon.taxonomy.captions import MIXED, caption, with_common
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.testing.tiny import TINY_CONFIG, TINY_SIDE

_LION = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo")
_MIDGE = ("Animalia", "Arthropoda", "Insecta", "Diptera", "Cecidomyiidae", "", "")


def _sample(sample_id: int, lineage: tuple[str, ...] = _LION, common: str | None = "lion") -> dict[str, Any]:
    pixels = np.random.default_rng(sample_id).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    image = encode_jpeg(Image.fromarray(pixels))
    return {"sample_id": sample_id, "image": image, **dict(zip(RANKS, lineage, strict=True)), "common": common}


def _write(folder: Path, num_shards: int = 2, size: int = 16, plain_text: bool = True) -> str:
    """Shards of the two taxa in turn; their address in braces."""
    sizes = {}
    for index in range(num_shards):
        ids = range(index * size, (index + 1) * size)
        samples = [_sample(i) if i % 2 else _sample(i, _MIDGE, None) for i in ids]
        sizes[shard_name(index)] = write_webdataset(folder / shard_name(index), samples, plain_text)
    write_sizes(folder, sizes)
    return str(folder / f"shard-{{000000..{num_shards - 1:06d}}}.tar")


def test_members_are_the_eleven_of_treeoflife_word_for_word() -> None:
    sample = _sample(7)
    texts = {name: data.decode() for name, data in members(sample).items() if name != "jpg"}
    taxonomic = "Animalia Chordata Mammalia Carnivora Felidae Panthera leo"
    tags = "kingdom Animalia phylum Chordata class Mammalia order Carnivora family Felidae genus Panthera species leo"
    assert members(sample)["jpg"] == sample["image"]
    assert texts == {
        "scientific_name.txt": "Panthera leo",
        "taxonomic_name.txt": taxonomic,
        "common_name.txt": "lion",
        "sci.txt": "a photo of Panthera leo.",
        "com.txt": "a photo of lion.",
        "taxon.txt": f"a photo of {taxonomic}.",
        "taxonTag.txt": f"a photo of {tags}.",
        "sci_com.txt": "a photo of Panthera leo with common name lion.",
        "taxon_com.txt": f"a photo of {taxonomic} with common name lion.",
        "taxonTag_com.txt": f"a photo of {tags} with common name lion.",
    }


def test_a_family_without_common_name_takes_the_published_fallbacks() -> None:
    texts = {name: data.decode() for name, data in members(_sample(7, _MIDGE, None)).items() if name != "jpg"}
    taxonomic = "Animalia Arthropoda Insecta Diptera Cecidomyiidae"
    assert texts["common_name.txt"] == taxonomic
    assert texts["com.txt"] == f"a photo of {taxonomic}."
    assert texts["taxon_com.txt"] == f"a photo of {taxonomic} with common name {taxonomic}."
    assert texts["sci.txt"] == "a photo of Cecidomyiidae."


def test_the_twelfth_member_mixes_the_five_text_types() -> None:
    taxon = with_common(Taxon.from_row(_sample(0)))
    drawn = {members(_sample(i), plain_text=True)["txt"].decode() for i in range(60)}
    assert drawn == {caption(taxon, text_type) for text_type in MIXED}


def test_samples_lie_in_the_tar_as_published_and_bytes_are_reproducible(tmp_path: Path) -> None:
    samples = [_sample(i) for i in (5, 2**62)]
    assert write_webdataset(tmp_path / "a.tar", iter(samples), plain_text=False) == 2
    write_webdataset(tmp_path / "b.tar", samples, plain_text=False)
    data = (tmp_path / "a.tar").read_bytes()
    assert data == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        assert {(info.mtime, info.uid, info.uname, info.mode) for info in tar} == {(0, 0, "", 0o644)}
    assert len(names) == 22
    # Members of one sample follow each other; readers of streams need that.
    assert [name.split(".")[0] for name in names] == ["0000000000000005"] * 11 + ["4000000000000000"] * 11


def test_nothing_appears_when_samples_end_in_an_error(tmp_path: Path) -> None:
    def broken() -> Any:
        yield _sample(1)
        raise RuntimeError("source is gone")

    with pytest.raises(RuntimeError, match="source is gone"):
        write_webdataset(tmp_path / "a.tar", broken())
    assert not list(tmp_path.iterdir())


@given(
    st.tuples(*[st.sampled_from(["", "Aa", "bb", "Ünï cø"])] * 7).filter(any),
    st.sampled_from([None, "", "grey wolf"]),
)
def test_no_text_is_blank_where_there_is_a_name(lineage: tuple[str, ...], common: str | None) -> None:
    sample = {"sample_id": 3, "image": b"x", **dict(zip(RANKS, lineage, strict=True)), "common": common}
    texts = [data.decode() for name, data in members(sample, plain_text=True).items() if name != "jpg"]
    assert all(texts)
    assert not any("of ." in text or "  " in text for text in texts)


def _loader(shards: str, batch_size: int) -> Any:
    """open_clip's own loader over shards, with the transform that it trains with."""
    from open_clip import SimpleTokenizer
    from open_clip.transform import image_transform
    from open_clip_train.data import get_wds_dataset

    args = SimpleNamespace(
        train_data=shards, train_num_samples=None, train_data_upsampling_factors=None, dataset_resampled=False,
        seed=0, workers=1, world_size=1, batch_size=batch_size,
    )  # fmt: skip
    transform = image_transform(TINY_SIDE, is_train=True)
    return get_wds_dataset(args, transform, is_train=True, tokenizer=SimpleTokenizer()).dataloader


def test_open_clips_loader_reads_every_sample_and_its_caption(tmp_path: Path) -> None:
    from open_clip import SimpleTokenizer

    loader = _loader(_write(tmp_path), batch_size=8)
    assert loader.num_samples == 32  # from sizes.json
    batches = list(loader)
    assert [images.shape for images, _ in batches] == [(8, 3, TINY_SIDE, TINY_SIDE)] * 4
    tokens = torch.cat([torch.as_tensor(np.asarray(texts)) for _, texts in batches])
    taxa = [
        with_common(Taxon.from_row(_sample(0, lineage, common)))
        for lineage, common in [(_LION, "lion"), (_MIDGE, None)]
    ]
    wanted = SimpleTokenizer()([caption(taxon, text_type) for taxon in taxa for text_type in MIXED])
    assert {tuple(row) for row in tokens.tolist()} <= {tuple(row) for row in wanted.tolist()}
    assert len(tokens) == 32


def test_the_eleven_members_alone_hold_no_caption_for_open_clips_loader(tmp_path: Path) -> None:
    from open_clip_train.data import filter_no_caption_or_no_image, tarfile_to_samples_nothrow

    for plain_text in (False, True):
        folder = tmp_path / str(plain_text)
        _write(folder, 1, plain_text=plain_text)
        samples: list[Any] = list(tarfile_to_samples_nothrow([{"url": str(folder / shard_name(0))}]))
        assert len(samples) == 16
        assert all({"jpg", "sci.txt", "taxontag_com.txt"} <= sample.keys() for sample in samples)  # lower case
        assert [filter_no_caption_or_no_image(sample) for sample in samples] == [plain_text] * 16


_TRAIN = """
import open_clip, sys
from open_clip_train.main import main

open_clip.add_model_config(sys.argv[1])
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_open_clip_trains_from_our_shards(tmp_path: Path) -> None:
    (tmp_path / "tiny-for-test.json").write_text(json.dumps(TINY_CONFIG["model_cfg"]))
    shards = _write(tmp_path / "shards")
    words = ["--model", "tiny-for-test", "--train-data", shards, "--dataset-type", "webdataset", "--batch-size", "8"]
    words += ["--epochs", "1", "--workers", "1", "--logs", str(tmp_path / "logs"), "--name", "run", "--warmup", "1"]
    words += ["--precision", "fp32", "--log-every-n-steps", "1"]
    command = [sys.executable, "-c", _TRAIN, str(tmp_path / "tiny-for-test.json"), *words]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    log = (tmp_path / "logs/run/out.log").read_text()
    assert "[32/32 (100%)]" in log
    assert (tmp_path / "logs/run/checkpoints/epoch_1.pt").is_file()
