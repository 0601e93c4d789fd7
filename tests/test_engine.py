"""What one training step does: recipe, ablations of the unit, labels, and that it learns."""

import dataclasses
import itertools
import warnings

import lightning as L
import pytest
import torch

from strf_cuda.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from strf_cuda.data import MARS
from strf_cuda.engine import Training, learning_rate
from strf_cuda.errors import InputError
from strf_cuda.modules import PATHS

DATA = DataConfig(height=32, width=16, people=2, clips=2, stride=2, workers=0)
SMALL = ModelConfig(width=16, depth=(1, 2, 2, 1))


@pytest.fixture(scope="module")
def tracklets(tiny_walkers):
    return MARS(tiny_walkers).train


class Watch(L.Callback):
    """Notes what the optimiser sees in every step."""

    def __init__(self):
        self.batches, self.losses, self.gradients, self.rates = [], [], [], []

    def on_train_batch_start(self, trainer, module, batch, index):
        self.batches.append(batch["index"].tolist())

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        self.gradients.append(
            {name: p.grad.abs().sum().item() for name, p in module.model.named_parameters() if p.grad is not None}
        )
        self.rates.append(optimizer.param_groups[0]["lr"])


def train_steps(tracklets, steps=2, epochs=1, seed=0, precision="32", optimizer=None, **model):
    """Runs the first steps of each epoch; returns what was seen and the module."""
    config = TrainConfig(
        seed=seed,
        epochs=epochs,
        data=DATA,
        model=dataclasses.replace(SMALL, **model),
        optimizer=optimizer or OptimizerConfig(),
    )
    module, watch = Training(config, tracklets), Watch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            limit_train_batches=steps,
            precision=precision,
            callbacks=[watch],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            reload_dataloaders_every_n_epochs=1,
        )
        trainer.fit(module)
    return watch, module


def unit_gradients(gradients):
    return {name: value for name, value in gradients.items() if ".unit." in name}


def test_the_paper_s_learning_rate_falls_to_a_tenth_every_50_epochs():
    for epoch in range(300):
        assert learning_rate(OptimizerConfig(), epoch, 300) == pytest.approx(3e-4 / 10 ** (epoch // 50), rel=1e-12)


def test_warm_up_rises_in_equal_steps_and_reductions_count_from_the_beginning():
    config = OptimizerConfig(learning_rate=1.0, warmup=3, decay_every=5, decay=0.1)
    rates = [learning_rate(config, epoch, 12) for epoch in range(12)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1] + [0.1] * 5 + [0.01] * 2, rel=1e-12)


@pytest.mark.parametrize("warmup", [0, 2])
def test_the_cosine_begins_at_the_full_rate_and_is_symmetric_about_half_of_it(warmup):
    config = OptimizerConfig(learning_rate=2.0, schedule="cosine", warmup=warmup)
    rates = [learning_rate(config, epoch, warmup + 8) for epoch in range(warmup + 8)]
    assert rates[:warmup] == pytest.approx([2 / 3, 4 / 3][:warmup])
    after = rates[warmup:]
    assert after[0] == 2 and after[4] == pytest.approx(1)
    assert all(after[i] + after[8 - i] == pytest.approx(2) for i in range(1, 8))
    assert after == sorted(after, reverse=True) and 0 < after[-1] < 0.1


def test_a_run_of_warm_up_and_cosine_uses_these_rates(tracklets):
    optimizer = OptimizerConfig(learning_rate=0.01, schedule="cosine", warmup=1)
    watch, _ = train_steps(tracklets, steps=1, epochs=3, optimizer=optimizer, unit="none", depth=(1, 1, 1, 1))
    assert watch.rates == [learning_rate(optimizer, epoch, 3) for epoch in range(3)] == [0.005, 0.01, 0.005]


def test_label_smoothing_reaches_the_loss(tracklets):
    plain, smooth = (
        train_steps(tracklets, steps=1, optimizer=OptimizerConfig(label_smoothing=share), unit="none")[0].losses
        for share in (0.0, 0.5)
    )
    assert plain != smooth


def test_every_step_uses_the_rate_of_its_epoch(tracklets):
    optimizer = OptimizerConfig(learning_rate=0.01, decay_every=2, decay=0.5)
    watch, _ = train_steps(tracklets, steps=2, epochs=5, optimizer=optimizer, unit="none", depth=(1, 1, 1, 1))
    assert watch.rates == [0.01] * 4 + [0.005] * 4 + [0.0025] * 2


def test_the_optimiser_is_adam_with_the_paper_s_settings_on_all_weights(tracklets):
    module = Training(TrainConfig(data=DATA, model=SMALL), tracklets)
    optimizer = module.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], group["betas"], group["eps"]) == (3e-4, 5e-4, (0.9, 0.999), 1e-8)
    assert not group["amsgrad"] and not group["decoupled_weight_decay"]
    assert {id(p) for p in group["params"]} == {id(p) for p in module.parameters()}
    assert all(p.requires_grad for p in group["params"])


def test_the_average_follows_weights_and_batch_norm_statistics_step_by_step(tracklets, monkeypatch):
    states, step = [], Training.on_train_batch_end

    def note(module, *arguments):
        states.append({name: value.clone() for name, value in module.model.state_dict().items()})
        step(module, *arguments)

    monkeypatch.setattr(Training, "on_train_batch_end", note)
    _, module = train_steps(tracklets, steps=2, epochs=2, optimizer=OptimizerConfig(0.01, ema=0.75))
    expected = dict(states[0])
    for state in states[1:]:
        expected = {name: 0.75 * expected[name] + 0.25 * value for name, value in state.items()}
    found = module.evaluated.state_dict()
    assert list(found) == list(states[0]) and len(states) == 4
    for name, value in found.items():
        if value.is_floating_point():  # the numbers of batches seen are of no use
            torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-5, msg=name)
    assert not torch.equal(found["bn1.running_mean"], states[-1]["bn1.running_mean"])


def test_an_average_changes_nothing_in_what_is_trained(tracklets):
    (plain, module), (watch, averaged) = (
        train_steps(tracklets, optimizer=OptimizerConfig(ema=decay)) for decay in (0.0, 0.9)
    )
    assert plain.losses == watch.losses and plain.gradients == watch.gradients
    assert module.average is None and module.evaluated is module.model
    state = averaged.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in module.model.state_dict().items())
    (group,) = averaged.configure_optimizers().param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in averaged.model.parameters()}


OPTIONS = {
    **{f"integration {name}": {"integration": name} for name in ("spatial_temporal", "parallel")},
    **{path: {"paths": (path,)} for path in PATHS},
    "temporal half": {"paths": PATHS[:2]},
    "spatial half": {"paths": PATHS[2:]},
    "one of each half": {"paths": (PATHS[3], PATHS[0])},
    "three paths in parallel": {"paths": PATHS[1:], "integration": "parallel"},
    **{
        f"pools {one} {other}": {"temporal_pool": one, "spatial_pool": other}
        for one, other in itertools.product(("max", "avg"), repeat=2)
    },
    **{f"resolutions {pair}": {"resolutions": pair} for pair in ((1, 1), (1, 5), (3, 5))},
    **{f"stages {stages}": {"stages": stages} for stages in ((1,), (2,), (4,), (2, 3, 4))},
    "reduction 4": {"reduction": 4},
    "temperature 1": {"temperature": 1.0},
    "recompute": {"recompute": True},
    **{kind: {"kind": kind} for kind in ("c2d", "i3d", "p3da", "p3db")},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_of_the_unit_trains(tracklets, options):
    """P3DB and P3DC start with zero temporal convolutions, so a unit in front of them gets no gradient at first."""
    watch, module = train_steps(tracklets, **options)
    assert len(watch.losses) == 2 and all(0 < loss < 100 for loss in watch.losses)
    first, second = map(unit_gradients, watch.gradients)
    stages = options.get("stages", (2, 3))
    assert {name.split(".")[0] for name in first} == {f"layer{stage}" for stage in stages}
    starts_at_zero = options.get("kind", "p3dc") in ("p3db", "p3dc")
    assert all((value == 0) == starts_at_zero for value in first.values()), first
    assert all(value > 0 for value in second.values()), second
    assert all(p.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("kind", ["c2d", "i3d", "p3da", "p3db", "p3dc"])
def test_a_unit_in_front_of_the_spatial_convolution_learns_from_the_first_step(tracklets, kind):
    watch, _ = train_steps(tracklets, steps=1, kind=kind, placement="spatial")
    (gradients,) = map(unit_gradients, watch.gradients)
    assert gradients and all(value > 0 for value in gradients.values())


@pytest.mark.parametrize("kind", ["i3d", "p3dc"])
@pytest.mark.parametrize("unit", ["gram", "nonlocal", "none"])
def test_the_units_to_compare_with_train(tracklets, unit, kind):
    watch, module = train_steps(tracklets, kind=kind, unit=unit)
    assert all(0 < loss < 100 for loss in watch.losses)
    assert not unit_gradients(watch.gradients[0])
    blocks = {name: value for name, value in watch.gradients[1].items() if ".appended." in name}
    assert bool(blocks) == (unit == "nonlocal")
    if unit == "nonlocal":  # its last normalisation starts at zero, so its weights follow in the second step
        moved = {name: value for name, value in blocks.items() if name.endswith(("out.weight", "g.weight"))}
        assert all(value > 0 for value in moved.values()), moved
    assert all(p.isfinite().all() for p in module.parameters())


def test_recomputing_the_units_changes_nothing(tracklets):
    kept, _ = train_steps(tracklets, kind="i3d")
    recomputed, _ = train_steps(tracklets, kind="i3d", recompute=True)
    assert kept.losses == recomputed.losses and kept.gradients == recomputed.gradients


def test_bfloat16_steps_keep_float32_weights(tracklets):
    watch, module = train_steps(tracklets, precision="bf16-mixed")
    plain, _ = train_steps(tracklets)
    assert watch.losses[0] == pytest.approx(plain.losses[0], rel=0.05) and watch.losses[0] != plain.losses[0]
    assert all(value > 0 for value in unit_gradients(watch.gradients[1]).values())
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_a_label_is_the_place_of_its_person(tracklets):
    module = Training(TrainConfig(data=DATA, model=SMALL), tracklets)
    assert module.model.classifier.out_features == len(module.person_ids) == 4
    for batch in module.train_dataloader():
        people = [module.person_ids[label] for label in batch["label"]]
        assert people == [tracklets[index].person_id for index in batch["index"]]


def test_each_epoch_and_each_seed_draws_other_batches(tracklets):
    first, again, other = (
        train_steps(tracklets, steps=3, epochs=2, seed=seed, unit="none", depth=(1, 1, 1, 1))[0].batches
        for seed in (0, 0, 1)
    )
    assert first == again and len(first) == 6
    assert first[:3] != first[3:] and first[:3] != other[:3]


def test_the_same_seed_gives_the_same_weights_to_begin_with(tracklets):
    def weights(seed):
        return Training(TrainConfig(seed=seed, data=DATA, model=SMALL), tracklets).model.conv1.weight

    torch.manual_seed(99)
    first = weights(3)
    assert torch.equal(first, weights(3)) and not torch.equal(first, weights(4))


def test_the_loss_of_one_batch_falls_when_it_is_trained_on(tracklets):
    config = TrainConfig(data=dataclasses.replace(DATA, clips=4, flip=0, erase=0), model=SMALL)
    module = Training(config, tracklets)
    batch = next(iter(module.train_dataloader()))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        losses.append(module.loss(*module.model(module.augmentation(batch["clip"])), batch["label"]).total)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]


def test_weights_are_loaded_from_a_file(tracklets, tmp_path):
    from strf_cuda.models import create_model

    image_model = create_model("c2d", 1000, unit=None, width=16, depth=SMALL.depth)
    state = {name: p for name, p in image_model.state_dict().items() if not name.startswith(("feature", "class"))}
    torch.save(state, tmp_path / "resnet.pth")
    model = dataclasses.replace(SMALL, weights=str(tmp_path / "resnet.pth"))
    module = Training(TrainConfig(data=DATA, model=model), tracklets)
    assert torch.equal(module.model.layer4[0].conv1.weight, image_model.layer4[0].conv1.weight)
    with pytest.raises(InputError, match="there is no weights file /no/such.pth"):
        Training(TrainConfig(data=DATA, model=dataclasses.replace(SMALL, weights="/no/such.pth")), tracklets)


def test_a_checkpoint_of_other_people_is_refused(tracklets):
    config = TrainConfig(data=DATA, model=SMALL)
    checkpoint = {"state_dict": Training(config, tracklets).state_dict(), "person_ids": [1, 2, 3]}
    with pytest.raises(InputError, match="the run was trained on 3 people, and the data set now has 4 or others"):
        Training(config, tracklets).on_load_checkpoint(checkpoint)
