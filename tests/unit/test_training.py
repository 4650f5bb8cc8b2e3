"""What is drawn at random, steps and checkpoints: without Ray."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip import SimpleTokenizer

from trygon.data.images import ResizeMode
from trygon.data.ingest import Preparation, draw_text_type
from trygon.data.plan import Leg, Plan, RowGroup
from trygon.errors import TrygonError, UserError
from trygon.models.model import Model, encode_text, load_model, save_model
from trygon.models.towers import build_network
from trygon.storage import digest_file, write_json
from trygon.taxonomy.captions import MIXED, TextType, caption
from trygon.taxonomy.clades import clade_keys
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.checkpoints import write_listed
from trygon.testing.s3 import Fault, FaultyS3, Kind, s3_server, using
from trygon.testing.tiny import TINY_CONFIG, TINY_SIDE, write_tiny_model
from trygon.training.checkpoint import (
    BrokenError,
    Position,
    blend,
    is_whole,
    load_state,
    load_weights,
    put_state,
    save_state,
    state_of,
)
from trygon.training.checkpoints import unfinished_run
from trygon.training.initial import write_checkpoint_model
from trygon.training.learner import DivergedError, Learner
from trygon.training.metrics import Figures, flops_per_sample
from trygon.training.objective import OBJECTIVES
from trygon.training.optimiser import optimiser_of, set_learning_rate
from trygon.training.reports import Gauges
from trygon.training.settings import TrainSettings
from trygon.training.staging import staged
from trygon.training.towers import Towers, trunk_of
from trygon.training.worker import Tally, num_cut_captions, steps_of
from trygon_jobs.ablate import _digest

LION = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo"), "lion")
DAISY = Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "Asterales", "Asteraceae", "Bellis", "perennis"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def test_draws_depend_on_sample_and_epoch_alone() -> None:
    preparation = Preparation(lambda: None, 8, ResizeMode.SQUASH, MIXED, seed=3)
    drawn = [draw_text_type(preparation, epoch, sample) for epoch in range(20) for sample in range(20)]
    assert drawn == [draw_text_type(preparation, epoch, sample) for epoch in range(20) for sample in range(20)]
    assert set(drawn) == set(MIXED)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_trimmed_captions_give_the_same_vectors_and_gradients(tiny: Path, groups: int) -> None:
    model = load_model(tiny)
    net: Any = model.net
    captions = [caption(taxon, it) for taxon in (LION, DAISY) for it in (TextType.TAXON_COM, TextType.SCI)]
    tokens = model.tokenizer([*captions, "a"])
    weight_BD = torch.randn(5, model.dim)
    whole = net.encode_text(tokens)
    trimmed = encode_text(net, tokens, groups)
    torch.testing.assert_close(trimmed, whole, atol=1e-5, rtol=1e-5)
    parameters = list(net.text.parameters())
    wanted, found = (torch.autograd.grad((it * weight_BD).sum(), parameters) for it in (whole, trimmed))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def _settings(initial: Path, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {"shards": (), "taxa": "", "metrics": "", "batch_size": 4, "warmup_steps": 2}
    rates: dict[str, Any] = {"image_learning_rate": 1e-3, "text_learning_rate": 1e-3}
    return TrainSettings(initial=str(initial), **(values | rates | changes))


def _samples(model: Model) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    taxa = (LION, DAISY, LION, DAISY)
    image = torch.randint(0, 255, (4, 3, TINY_SIDE, TINY_SIDE), dtype=torch.uint8)
    tokens = model.tokenizer([caption(taxon, TextType.TAXON) for taxon in taxa])
    return {"image": image, "tokens": tokens, "clades": torch.tensor([clade_keys(taxon.lineage) for taxon in taxa])}


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    "changes",
    [{}, {"ema_decay": 0.9, "precision": "bf16", "gradient_checkpointing": True}, {"precision": "fp16"}],
    ids=["fp32", "bf16", "fp16"],
)
def test_steps_lower_the_loss_and_a_checkpoint_goes_on(
    tiny: Path, tmp_path: Path, objective: str, changes: dict[str, Any]
) -> None:
    TaxonTree.from_taxa([LION, DAISY]).save(tmp_path / "taxa.parquet")
    settings = _settings(tiny, objective=objective, taxa=str(tmp_path / "taxa.parquet"), **changes)
    learner = Learner(load_model(tiny, "cpu"), settings)
    batch = _samples(learner.model)
    losses = [learner.step(batch, step, 20)["loss"] for step in range(8)]
    assert losses[-1] < losses[0]
    save_state(tmp_path, state_of(learner, Position(2, 8)))
    other = Learner(load_model(tiny, "cpu"), settings)
    assert load_state(tmp_path, other) == Position(2, 8)
    for step in (8, 9):
        assert learner.step(batch, step, 20) == pytest.approx(other.step(batch, step, 20), rel=1e-4)


def test_a_state_stays_as_it_was_while_training_goes_on(tiny: Path, tmp_path: Path) -> None:
    """It is written beside training."""
    learner = Learner(load_model(tiny, "cpu"), _settings(tiny, ema_decay=0.5, warmup_steps=0))
    learner.step(_samples(learner.model), 0, 10)
    state = state_of(learner, Position(1, 1))
    save_state(tmp_path, state)
    digest = digest_file(tmp_path / "state.pt")
    learner.step(_samples(learner.model), 1, 10)
    save_state(tmp_path, state)
    assert digest_file(tmp_path / "state.pt") == digest


@pytest.mark.slow
def test_a_compiled_tower_learns_the_same(tiny: Path) -> None:
    losses, flops = [], set[float]()
    for compiled in (False, True):
        learner = Learner(load_model(tiny, "cpu"), _settings(tiny, compile=compiled))
        batch = _samples(learner.model)
        flops.add(flops_per_sample(learner, batch))
        losses.append([learner.step(batch, step, 20)["loss"] for step in range(3)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    assert len(flops) == 1
    assert min(flops) > 0


def test_counting_operations_leaves_no_trace(tmp_path: Path) -> None:
    initial = _write_with_batch_norms(tmp_path)
    told = []
    for counts in (False, True):
        torch.manual_seed(3)
        learner = Learner(load_model(initial, "cpu"), _settings(initial))
        batch = _samples(learner.model)
        if counts:
            assert flops_per_sample(learner, batch) > 0
        told.append(learner.step(batch, 0, 20))
        told.append({name: it.clone() for name, it in learner.towers.state_dict().items()})
    assert told[0] == told[2]
    torch.testing.assert_close(told[1], told[3], rtol=0, atol=0)


def test_the_model_of_a_checkpoint_is_the_average_where_there_is_one(tiny: Path, tmp_path: Path) -> None:
    learner = Learner(load_model(tiny, "cpu"), _settings(tiny, ema_decay=0.5, warmup_steps=0))
    start = {name: tensor.clone() for name, tensor in learner.model.net.state_dict().items()}
    learner.step(_samples(learner.model), 0, 10)  # the average begins here
    first = {name: tensor.clone() for name, tensor in learner.model.net.state_dict().items()}
    learner.step(_samples(learner.model), 1, 10)
    save_state(tmp_path, state_of(learner, Position(1, 2)))
    weights, position = load_weights(tmp_path)
    assert position == Position(1, 2)
    for name, tensor in learner.model.net.state_dict().items():
        torch.testing.assert_close(weights[name], (first[name] + tensor) / 2)
    assert any(not torch.equal(weights[name], start[name]) for name in start)


@pytest.mark.parametrize("harm", ["cut", "changed", "unsealed"])
def test_a_checkpoint_that_is_not_whole_is_told(tiny: Path, tmp_path: Path, harm: str) -> None:
    learner = Learner(load_model(tiny, "cpu"), _settings(tiny))
    save_state(tmp_path, state_of(learner, Position()))
    assert is_whole(tmp_path)
    state = tmp_path / "state.pt"
    if harm == "unsealed":
        (tmp_path / "seal.json").unlink()
    else:
        data = bytearray(state.read_bytes())
        data[len(data) // 2] ^= 1
        state.write_bytes(data[: len(data) // 2] if harm == "cut" else data)
    assert not is_whole(tmp_path)
    with pytest.raises(BrokenError, match="is not whole"):
        load_state(tmp_path, learner)


def test_a_frozen_tower_stays(tiny: Path) -> None:
    learner = Learner(load_model(tiny, "cpu"), _settings(tiny, freeze_text_tower=True))
    before = {name: tensor.clone() for name, tensor in learner.model.net.state_dict().items()}
    learner.step(_samples(learner.model), 0, 1)
    after = learner.model.net.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not any(name.startswith("text.") for name in changed)


def test_features_of_open_clips_own_tower_are_its_vectors(tiny: Path) -> None:
    """LiT: all of the tower is frozen, and what it says of a picture is computed once."""
    model = load_model(tiny, "cpu")
    batch = _samples(model)
    towers = Towers(model)
    with torch.no_grad():
        feature = trunk_of(model.net.visual)(model.normalise(batch["image"]))
        once, _, _ = towers({"feature": feature, "tokens": batch["tokens"], "clades": batch["clades"]})
        anew, _, _ = towers(batch)
    torch.testing.assert_close(once.image_BD, anew.image_BD)
    learner = Learner(model, _settings(tiny, freeze_image_trunk=True))
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    learner.step({name: it for name, it in batch.items() if name != "image"} | {"feature": feature}, 0, 1)
    changed = {name for name, tensor in model.net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not any(name.startswith("visual.") for name in changed)


def test_a_loss_that_is_not_finite_changes_nothing(tiny: Path) -> None:
    learner = Learner(load_model(tiny, "cpu"), _settings(tiny))
    with torch.no_grad():
        learner.model.net.logit_scale.fill_(float("nan"))  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    before = {name: tensor.clone() for name, tensor in learner.model.net.state_dict().items()}
    with pytest.raises(DivergedError, match="not finite at step 4"):
        learner.step(_samples(learner.model), 3, 10)
    assert all(torch.equal(it, before[name]) for name, it in learner.model.net.state_dict().items() if it.ndim)


def test_gradients_in_half_precision_that_stay_no_numbers_end_training(tiny: Path) -> None:
    """With a finite loss: a scaler passes each of these steps over, and would for ever."""
    learner = Learner(load_model(tiny, "cpu"), _settings(tiny, precision="fp16"))
    net: Any = learner.model.net
    net.visual.proj.register_hook(lambda gradient: gradient * math.nan)
    batch = _samples(learner.model)
    before = net.visual.proj.detach().clone()
    for step in range(30):
        told = learner.step(batch, step, 100)
        assert math.isfinite(told["loss"])
        assert told["passed_over"] == 1
    with pytest.raises(DivergedError, match="a gradient is not finite at step 31"):
        learner.step(batch, 30, 100)
    assert torch.equal(net.visual.proj, before)


def _tally(tiny: Path, objective: str, device: str) -> Tally:
    """What the worker counts in a step whose captions are all too long, and one of whose pictures is broken."""
    taxa = TaxonTree.from_taxa([LION, DAISY])
    taxa.save(tiny / "taxa.parquet")
    settings = _settings(tiny, objective=objective, taxa=str(tiny / "taxa.parquet"))
    learner = Learner(load_model(tiny, device), settings)
    batch = _samples(learner.model) | {"tokens": learner.model.tokenizer(["a lion " * 100] * 4)}
    batch["broken"] = torch.tensor([False, True, False, False])
    batches = staged([batch], learner.model.device, 60)
    plan, figures = Plan.of([RowGroup("a", 0, 8)], 1, 1, 4, 0), Figures(learner.model.device, 4, settings.precision)
    return next(steps_of(Leg(0, 0, 1), plan, learner, batches, figures, None, Gauges()))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.requires_gpu)])
def test_a_classifier_reads_no_captions_that_could_be_too_long(tiny: Path, device: str) -> None:
    for objective, num_cut in (("clip", 4), ("classes", 0)):
        tally = _tally(tiny, objective, device)
        assert tally == Tally(tally.loss, broken=1, cut=num_cut)


def test_captions_that_fill_the_context_are_counted_whatever_fills_the_others(tiny: Path) -> None:
    tokenizer = load_model(tiny, "cpu").tokenizer
    tokens = tokenizer(["a lion", "a lion " * 100, ""])
    assert num_cut_captions(tokens, tokenizer([""])[0]) == 1
    end = 1  # as SigLIP has it: no start, and filled up with the end
    tokens = torch.tensor([[7, 8, end, end], [7, 8, 9, end], [end] * 4])
    assert num_cut_captions(tokens, torch.full((4,), end)) == 1


@pytest.mark.slow
def test_a_checkpoint_that_does_not_arrive_whole_fails_and_the_older_one_stays(tiny: Path, tmp_path: Path) -> None:
    """An S3 that keeps something else than it was given, and says nothing."""
    state = state_of(Learner(load_model(tiny, "cpu"), _settings(tiny)), Position())
    fault = Fault(Kind.CHANGE, 1, ("PUT",), r"/leg-000002/state\.pt$")
    with s3_server("runs") as server, FaultyS3(server, [fault]) as faulty, using(faulty.address):
        put_state("s3://runs/leg-000001", state, tmp_path)
        with pytest.raises(TrygonError, match="the checkpoint s3://runs/leg-000002 did not arrive whole"):
            put_state("s3://runs/leg-000002", state, tmp_path)
        assert [is_whole(f"s3://runs/leg-00000{number}") for number in (1, 2)] == [True, False]


def test_another_run_starts_from_what_one_had_come_to(tiny: Path, tmp_path: Path) -> None:
    """As after a divergence: of the two checkpoints the later one is damaged."""
    run = tmp_path / "run"
    learner = Learner(load_model(tiny, "cpu"), _settings(tiny, objective="siglip", warmup_steps=0))
    learner.step(_samples(learner.model), 0, 10)
    states = [write_listed(run / "checkpoints/run", *steps) for steps in ((4,), (4, 8))]
    save_state(states[0], state_of(learner, Position(1, 4)))
    (states[1] / "state.pt").write_text("half of it")
    write_json(run / "config.json", {"initial": {"model": str(tiny)}})
    checkpoint = unfinished_run(str(run))
    assert checkpoint
    assert _digest(str(run)) == digest_file(f"{checkpoint}/seal.json")  # by which an ablation tells it from others
    assert checkpoint == str(states[0])
    assert write_checkpoint_model(tmp_path / "model", str(run), checkpoint) == 4
    loaded = load_model(tmp_path / "model", "cpu").net.state_dict()
    for name, tensor in learner.model.net.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor)
    save_model(run, learner.model.net, TINY_CONFIG, learner.model.tokenizer)
    assert unfinished_run(str(run)) is None  # it came to its end
    assert unfinished_run(str(tmp_path / "nothing")) is None


def test_long_gradients_are_cut(tiny: Path) -> None:
    learner = Learner(load_model(tiny, "cpu"), _settings(tiny, max_gradient_norm=0.01))
    assert learner.step(_samples(learner.model), 0, 10)["gradient_norm"] > 0.01
    norms = [it.grad.norm() for it in learner.towers.parameters() if it.grad is not None]
    assert float(torch.stack(norms).norm()) == pytest.approx(0.01, rel=1e-3)


def test_a_model_with_a_bias_is_one_that_open_clip_loads(tiny: Path, tmp_path: Path) -> None:
    learner = Learner(load_model(tiny, "cpu"), _settings(tiny, objective="siglip", warmup_steps=0))
    learner.step(_samples(learner.model), 0, 10)
    save_model(tmp_path, learner.model.net, TINY_CONFIG, learner.model.tokenizer)
    loaded: Any = load_model(tmp_path, "cpu").net
    net: Any = learner.model.net
    assert loaded.logit_bias.item() == net.logit_bias.item() != -10
    assert loaded.logit_scale.item() == net.logit_scale.item()


def test_all_samples_of_one_taxon_teach_nothing_and_harm_nothing(tiny: Path) -> None:
    learner = Learner(load_model(tiny, "cpu"), _settings(tiny, objective="clip_taxa"))
    batch = _samples(learner.model)
    batch["clades"] = batch["clades"][:1].expand(4, -1)
    assert learner.step(batch, 0, 10)["loss"] == pytest.approx(learner.step(batch, 1, 10)["loss"], abs=0.2)


def test_early_layers_learn_slower(tiny: Path) -> None:
    towers = Towers(load_model(tiny, "cpu"))
    optimiser = optimiser_of(towers, _settings(tiny, layer_decay=0.5, text_learning_rate=2e-3))
    peaks = {id(it): group["peak"] for group in optimiser.param_groups for it in group["params"]}
    rates = {name: peaks[id(it)] for name, it in towers.named_parameters()}
    assert rates["net.visual.conv1.weight"] == pytest.approx(1e-3 * 0.5**3)  # before two blocks and what follows them
    assert rates["net.visual.transformer.resblocks.0.attn.in_proj_weight"] == pytest.approx(1e-3 * 0.5**2)
    assert rates["net.visual.transformer.resblocks.1.attn.in_proj_weight"] == pytest.approx(1e-3 * 0.5)
    assert rates["net.visual.proj"] == rates["net.logit_scale"] == 1e-3
    assert rates["net.text.token_embedding.weight"] == pytest.approx(2e-3 * 0.5**3)
    assert rates["net.text.text_projection"] == 2e-3
    decays = {id(it): group["weight_decay"] for group in optimiser.param_groups for it in group["params"]}
    assert {decays[id(it)] for it in towers.parameters() if it.ndim < 2} == {0.0}


def _write_with_batch_norms(folder: Path) -> Path:
    vision = {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64}
    config = TINY_CONFIG | {"model_cfg": TINY_CONFIG["model_cfg"] | {"vision_cfg": vision}}
    save_model(folder, build_network(config["model_cfg"], None), config, SimpleTokenizer())
    return folder


def test_pieces_of_a_batch_need_layers_that_do_not_see_it(tmp_path: Path) -> None:
    _write_with_batch_norms(tmp_path)
    with pytest.raises(UserError, match="batch normalisation"):
        Learner(load_model(tmp_path, "cpu"), _settings(tmp_path, micro_batch=2))
    Learner(load_model(tmp_path, "cpu"), _settings(tmp_path, micro_batch=2, freeze_image_trunk=True))


def test_layers_that_see_the_batch_see_all_of_it_when_workers_left(tmp_path: Path) -> None:
    _write_with_batch_norms(tmp_path)
    learners = [Learner(load_model(tmp_path, "cpu"), _settings(tmp_path, most_workers=most)) for most in (0, 4)]
    alone, left = (learner.step(_samples(learner.model), 0, 10) for learner in learners)
    assert left == pytest.approx(alone, rel=1e-4)


def test_learning_rate_rises_then_falls() -> None:
    optimiser = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))], "peak": 2.0}], lr=1.0)
    shares = [set_learning_rate(optimiser, step, 10, 2) for step in range(10)]
    assert shares[0] == 0.5
    assert max(shares) == 1
    assert shares[-1] < 0.1
    assert optimiser.param_groups[0]["lr"] == 2 * shares[-1]


def test_blended_weights_lie_between_initial_and_trained() -> None:
    trained, initial = {"w": torch.ones(2), "n": torch.tensor(7)}, {"w": torch.zeros(2), "n": torch.tensor(0)}
    blended = blend(trained, initial, 0.25)
    assert torch.equal(blended["w"], torch.full((2,), 0.75))
    assert blended["n"] == 7
    assert torch.equal(blend(trained, initial, 0.0)["w"], trained["w"])
    assert blend(trained | {"bias": torch.ones(())}, initial, 0.25)["bias"] == 1  # which training has added
