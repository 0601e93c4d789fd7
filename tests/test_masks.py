"""The masks that are shown are those that the unit multiplies its input by."""

import pytest
import torch
from torch import nn

from strf_cuda.errors import InputError
from strf_cuda.masks import effective_positions, find_unit, strf_units, unit_masks
from strf_cuda.models import create_model, insert_units
from strf_cuda.modules import PATHS, STRF

ALL = {"temporal": PATHS[:2], "spatial": PATHS[2:]}


def small_model(**options):
    """Random weights, with BatchNorm statistics of random clips, so that no two positions are alike."""
    torch.manual_seed(0)
    model = create_model("p3dc", 4, width=16, depth=(1, 1, 1, 1), unit_options=options)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    model.train()(torch.randn(4, 3, 4, 64, 32))
    return model.eval()


@pytest.fixture(scope="module")
def clips():
    return torch.randn(2, 3, 4, 64, 32, generator=torch.Generator().manual_seed(1))


def input_and_output(model, unit, clips):
    seen = {}
    hook = strf_units(model)[unit].register_forward_hook(lambda _, inputs, out: seen.update(x=inputs[0], y=out))
    with torch.no_grad():
        model(clips)
    hook.remove()
    return seen["x"], seen["y"]


@pytest.mark.parametrize("integration", ["temporal_spatial", "spatial_temporal", "parallel"])
@pytest.mark.parametrize("paths", [PATHS, ("temporal_static", "spatial_coarse"), ("spatial_fine",)])
@pytest.mark.parametrize("unit", ["layer2.0.temporal", "layer3.0.temporal"])
def test_the_input_times_the_masks_is_the_output_of_the_unit(integration, paths, unit, clips):
    similarity = "dot" if unit.startswith("layer2") else "cosine"
    temperature = 0.5 if similarity == "dot" else None
    model = small_model(integration=integration, paths=paths, similarity=similarity, temperature=temperature)
    x, y = input_and_output(model, unit, clips)
    found = unit_masks(model, clips, unit)
    rows = x.flatten(3).flatten(1, 2)
    torch.testing.assert_close((rows @ found.total).view(x.shape), y.contiguous())
    for half in found.halves:
        rows = rows @ sum(found.masks[path] for path in half)
    torch.testing.assert_close(rows.view(x.shape), y.contiguous())
    groups = {name: tuple(path for path in group if path in paths) for name, group in ALL.items()}
    order = [PATHS] if integration == "parallel" else [groups[name] for name in integration.split("_")]
    assert found.halves == tuple(tuple(path for path in half if path in paths) for half in order if half)


def test_the_weights_of_every_position_sum_to_one_and_differ_between_paths(clips):
    found = unit_masks(small_model(temperature=0.5), clips, "layer2")
    assert found.size == (8, 4) and list(found.masks) == list(PATHS)
    for mask in found.masks.values():
        assert mask.shape == (2, 32, 32) and (mask >= 0).all()
        torch.testing.assert_close(mask.sum(1), torch.ones(2, 32))
    torch.testing.assert_close(found.total.sum(1), torch.full((2, 32), 4.0))
    masks = list(found.masks.values())
    assert not any(torch.allclose(masks[a], masks[b]) for a in range(4) for b in range(a))


def test_the_weights_of_a_position_are_its_column_as_a_map(clips):
    found = unit_masks(small_model(temperature=0.5), clips, "layer2")
    mask = found.masks["temporal_dynamic"]
    weights = found.weights(mask, 1, (5, 2))
    assert weights.shape == (8, 4)
    assert weights[3, 1] == pytest.approx(mask[1, 3 * 4 + 1, 5 * 4 + 2].item(), rel=1e-5)
    assert found.weights(found.total, 1, (5, 2)).sum().item() == pytest.approx(1)


def test_the_backend_of_the_model_changes_no_mask(clips):
    model = small_model(temperature=0.5)
    plain = unit_masks(model, clips)
    for unit in strf_units(model).values():
        unit.backend = "reference"
    torch.testing.assert_close(unit_masks(model, clips).total, plain.total)


def test_looking_leaves_the_model_as_it_was(clips):
    model = small_model()
    before = model(clips)
    hooks = [len(module._forward_pre_hooks) for module in model.modules()]
    unit_masks(model, clips)
    assert [len(module._forward_pre_hooks) for module in model.modules()] == hooks
    assert torch.equal(model(clips), before)


def test_the_masks_of_a_compiled_model_are_those_of_the_model(clips):
    model = small_model()
    expected = unit_masks(model, clips)
    model.compile(backend="eager")
    with torch.no_grad():
        model(clips)
    assert torch.equal(unit_masks(model, clips).total, expected.total)


def test_the_strongest_and_weakest_position_are_those_of_the_unit_s_input(clips):
    model = small_model()
    x, _ = input_and_output(model, "layer2.0.temporal", clips)
    squares = x.square().sum((1, 2))  # [B, H, W]
    found = unit_masks(model, clips, "layer2")
    for clip in range(2):
        assert squares[clip][found.strongest(clip)] == squares[clip].max()
        assert squares[clip][found.weakest(clip)] == squares[clip].min()


def test_effective_positions_count_equal_weights():
    weights = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    torch.testing.assert_close(effective_positions(weights), torch.tensor([1.0, 2, 4]))
    torch.testing.assert_close(effective_positions(weights.T, 0), torch.tensor([1.0, 2, 4]))


def test_units_of_any_model_are_found_by_layer_block_or_unit():
    model = insert_units(nn.Sequential(nn.Conv3d(16, 16, 3), nn.Conv3d(16, 16, 3)), {"0": STRF(16), "1": STRF(16)})
    assert list(strf_units(model)) == ["0", "1"] and find_unit(model) == "1" and find_unit(model, "0.unit") == "0"
    model = small_model()
    for name in ("layer3", "layer3.0", "layer3.0.temporal", "layer3.0.temporal.unit"):
        assert find_unit(model, name) == "layer3.0.temporal"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("layer", "unit 'layer' is no unit of the model: give one of layer2.0.temporal, layer3.0.temporal"),
        ("layer3.1", "unit 'layer3.1' is no unit of the model: give one of"),
        ("layer3.0.conv2", "; did you mean layer3.0.temporal?"),
    ],
)
def test_a_unit_that_does_not_exist_is_answered_with_those_that_do(name, sentence):
    with pytest.raises(InputError) as error:
        find_unit(small_model(), name)
    assert sentence in str(error.value)


def test_a_name_that_stands_for_several_units_is_refused():
    model = create_model("p3dc", 4, width=16, depth=(1, 3, 1, 1))
    with pytest.raises(InputError, match=r"'layer2' stands for layer2\.0\.temporal, layer2\.2\.temporal: give one of"):
        find_unit(model, "layer2")


@pytest.mark.parametrize("unit", [None, "gram", "nonlocal"])
def test_a_model_without_strf_units_is_refused(unit):
    model = create_model("p3dc", 4, unit=unit, width=16, depth=(1, 2, 1, 1))
    with pytest.raises(InputError, match="the model has no STRF units"):
        find_unit(model)


def test_masks_that_are_no_numbers_are_refused(clips):
    with pytest.raises(InputError, match=r"masks of layer3\.0\.temporal are not finite"):
        unit_masks(small_model(), clips * float("nan"))
