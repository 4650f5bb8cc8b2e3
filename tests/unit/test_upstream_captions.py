"""What BioCLIP's published scripts get wrong about captions, each beside what is right here."""

import random
import tarfile
from pathlib import Path

import pytest
from open_clip_train.data import tarfile_to_samples_nothrow

from trygon.data.images import ResizeMode
from trygon.data.ingest import Preparation, draw_step_text_type, draw_text_type
from trygon.data.webdataset import members, write_webdataset
from trygon.taxonomy.captions import MIXED, TextType, caption, with_common
from trygon.taxonomy.taxon import RANKS, Taxon

# BIOSCAN-1M names most of its insects down to the family: every tenth picture of TreeOfLife-10M.
MIDGE = Taxon(("Animalia", "Arthropoda", "Insecta", "Diptera", "Cecidomyiidae", "", ""))
GNAT = Taxon(("Animalia", "Arthropoda", "Insecta", "Diptera", "Sciaridae", "", ""))
LION = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo"), "lion")


def upstream_sci(taxon: Taxon) -> str:
    """Genus and epithet alone go into upstream's caption."""
    return f"a photo of {' '.join(taxon.lineage[5:]).strip()}."


@pytest.mark.parametrize("text_type", list(TextType))
def test_lineages_without_genus_do_not_share_one_empty_caption(text_type: TextType) -> None:
    assert upstream_sci(MIDGE) == upstream_sci(GNAT) == "a photo of ."
    texts = [caption(with_common(taxon), text_type) for taxon in (MIDGE, GNAT)]
    assert texts[0] != texts[1]
    assert all("Cecidomyiidae" in text or "Sciaridae" in text for text in texts)
    assert not any("of  " in text or "of ." in text for text in texts)


def test_text_type_is_drawn_for_each_sample_and_not_once_for_the_whole_batch() -> None:
    """The paper speaks of images; upstream seeds with the step, and all of a batch of 32,768 get one text type."""
    random.seed(7)
    upstream = {random.choice(MIXED)} | {random.Random(7).choice(MIXED) for _ in range(99)}
    preparation = Preparation(lambda: None, 8, ResizeMode.SQUASH, MIXED, seed=0)
    ours = [draw_text_type(preparation, 0, sample_id) for sample_id in range(500)]
    assert len(upstream) == 1
    assert all(60 < ours.count(text_type) < 140 for text_type in MIXED)


def test_the_draw_per_step_is_upstreams_own_where_it_is_asked_for() -> None:
    published = (TextType.SCI, TextType.COM, TextType.TAXON, TextType.SCI_COM, TextType.TAXON_COM)
    for step in range(200):
        random.seed(step)
        assert published[draw_step_text_type(published, step)] == random.choice(published)


def test_tagged_types_can_be_trained_on() -> None:
    """Upstream's loader makes names of members lower case, so that `--text_type taxonTag` matches none; and the tagged
    types are never in its mix."""
    tagged = (TextType.TAXON_TAG, TextType.TAXON_TAG_COM)
    preparation = Preparation(lambda: None, 8, ResizeMode.SQUASH, tagged, seed=0)
    assert {draw_text_type(preparation, 0, sample_id) for sample_id in range(50)} == set(tagged)
    assert caption(LION, TextType.TAXON_TAG).startswith("a photo of kingdom Animalia phylum Chordata")


def test_stock_open_clip_finds_a_caption_in_our_shards_and_no_tagged_one(tmp_path: Path) -> None:
    sample = {"sample_id": 1, "image": b"jpg", **dict(zip(RANKS, LION.lineage, strict=True)), "common": "lion"}
    write_webdataset(tmp_path / "a.tar", [sample])
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert "0000000000000001.taxonTag.txt" in tar.getnames()
    (read,) = tarfile_to_samples_nothrow([{"url": str(tmp_path / "a.tar")}])
    assert read
    assert "taxonTag.txt" not in read
    assert read["taxontag.txt"] == members(sample)["taxonTag.txt"]
    assert read["txt"].decode() in {caption(LION, text_type) for text_type in MIXED}


def test_common_names_fall_back_as_published() -> None:
    """To the scientific name, then to all names; upstream's rule, kept for the shards and for training."""
    wolf = Taxon((*LION.lineage[:5], "Canis", "lupus"))
    assert caption(with_common(wolf), TextType.COM) == "a photo of Canis lupus."
    assert caption(with_common(wolf), TextType.SCI_COM) == "a photo of Canis lupus with common name Canis lupus."
    assert caption(with_common(MIDGE), TextType.COM) == f"a photo of {MIDGE.taxonomic}."
    # Its evaluation leaves out what is not there, and so do our labels.
    assert caption(wolf, TextType.SCI_COM) == "a photo of Canis lupus."


def test_blank_ranks_leave_no_double_spaces_in_what_labels_are_encoded_from() -> None:
    """The toolbox joins all seven ranks and the common name, blank or not, before it encodes them."""
    gapped = Taxon(("Animalia", "Chordata", "", "Cypriniformes", "", "Carassius", "auratus"), "goldfish")
    upstream = " ".join(gapped.lineage) + " " + gapped.common
    assert "  " in upstream
    for text_type in TextType:
        assert "  " not in caption(gapped, text_type)
    expected = "a photo of Animalia Chordata Cypriniformes Carassius auratus with common name goldfish."
    assert caption(gapped, TextType.TAXON_COM) == expected


def test_captions_are_made_while_training_reads() -> None:
    """Upstream bakes seven captions into each sample: another wording means another 10 million files."""
    texts = {caption(LION, TextType.COM, template) for template in ("a photo of {name}.", "{common}, a {family}")}
    assert texts == {"a photo of lion.", "lion, a Felidae"}
