"""The models: parameter counts, the folded frames against plain Conv3d, where units stand, and weights from files."""

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import plain_resnet
from strf_cuda import STRF, InputError
from strf_cuda.models import create_model, insert_units, load_imagenet_weights, load_trained_weights
from strf_cuda.models.blocks import KINDS
from strf_cuda.models.frames import TemporalConv, channels_last, fold, unfold
from strf_cuda.modules import GramUnit, NonLocalBlock
from test_contents import POINTER

DEPTH = (2, 3, 3, 2)


def small(kind="p3dc", seed=0, **options):
    """A narrow model whose every weight is random, so that nothing is hidden behind a zero."""
    torch.manual_seed(seed)
    model = create_model(kind, 7, **{"width": 16, "depth": DEPTH, **options}).eval()
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif "temporal" in name or "norm.weight" in name:
            tensor.normal_(0, 0.2)
    return model


def clips(batch=2, frames=3, height=64, width=32):
    return torch.randn(batch, 3, frames, height, width, generator=torch.Generator().manual_seed(3))


def units_of(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, (STRF, GramUnit, NonLocalBlock))}


@pytest.mark.parametrize(
    ("kind", "unit", "parameters"),
    [
        ("c2d", None, 24_792_753),
        ("c2d", "nonlocal", 32_151_217),
        ("i3d", None, 28_921_521),
        ("i3d", "strf", 28_978_865),
        ("p3da", None, 25_480_881),
        ("p3da", "strf", 25_538_225),
        ("p3db", None, 25_480_881),
        ("p3db", "strf", 25_538_225),
        ("p3dc", None, 25_480_881),
        ("p3dc", "strf", 25_538_225),
    ],
)
def test_parameter_counts_are_those_of_table_2(kind, unit, parameters):
    with torch.device("meta"):
        model = create_model(kind, 625, unit=unit)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_the_command_prints_our_counts_beside_the_papers():
    run = subprocess.run([sys.executable, "-m", "strf_cuda.models"], capture_output=True, text=True, check=True)
    lines = [line.split() for line in run.stdout.splitlines()]
    assert ["P3DC", "25,480,881", "25.481", "25.48"] in lines
    assert ["+", "STRF", "28,978,865", "28.979", "28.97"] in lines
    assert ["+", "non-local", "32,151,217", "32.151", "-"] in lines


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [dict(unit=None), dict(), dict(placement="spatial"), dict(unit="nonlocal")], ids=str
)
@pytest.mark.parametrize("as_channels_last", [False, True])
def test_folded_frames_equal_plain_conv3d(kind, options, as_channels_last):
    model = small(kind, **options).double()
    x = clips().double()
    units = {name.removesuffix(".unit"): unit for name, unit in units_of(model).items()} | {"kind": kind}
    expected = plain_resnet.features(model.state_dict(), x, DEPTH, units)
    with torch.no_grad():
        out = model(channels_last(x) if as_channels_last else x)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)


def test_the_plain_formulation_has_units_to_compare():
    assert len(units_of(small())) == 4
    assert len(units_of(small(unit="nonlocal"))) == 2


@pytest.mark.parametrize("stride", [1, 2])
def test_the_temporal_convolution_equals_conv3d_with_gradients(stride):
    torch.manual_seed(0)
    conv, x = TemporalConv(4, stride).double(), torch.randn(2, 4, 5, 6, 3, dtype=torch.float64)
    results = []
    for function in (conv, lambda y: torch.nn.functional.conv3d(y, conv.weight, None, conv.stride, conv.padding)):
        leaf = channels_last(x).clone().requires_grad_()
        out = function(leaf)
        results.append((out, *torch.autograd.grad(out.square().sum(), (leaf, conv.weight))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_folding_a_channels_last_clip_is_a_view():
    x = channels_last(clips())
    frames = fold(x)
    assert frames.data_ptr() == x.data_ptr() and frames.is_contiguous(memory_format=torch.channels_last)
    assert unfold(frames, 3).data_ptr() == x.data_ptr() and torch.equal(unfold(frames, 3), x)


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_keeps_the_channels_last_memory(kind):
    model, strides = small(kind), []
    for module in model.modules():
        if hasattr(module, "in_channels") or isinstance(module, STRF):
            module.register_forward_hook(lambda m, i, o: strides.append(channels_last(o).data_ptr() == o.data_ptr()))
    model(clips())
    assert strides and all(strides)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", ["strf", "nonlocal"])
def test_weights_of_every_rank_become_channels_last_by_either_name_and_compute_the_same(kind, unit):
    model, clips = small(kind, unit=unit).eval(), torch.randn(2, 3, 4, 64, 32)
    ranked = {4: torch.channels_last, 5: torch.channels_last_3d}
    with torch.no_grad():
        expected = model(clips)
        for name in ranked.values():
            assert model.to("cpu", memory_format=torch.contiguous_format) is model.to(memory_format=name)
            weights = [each for each in model.parameters() if each.dim() in ranked]
            assert all(each.is_contiguous(memory_format=ranked[each.dim()]) for each in weights)
            assert any(not each.is_contiguous() for each in weights)
            torch.testing.assert_close(model(clips), expected, rtol=1e-4, atol=1e-4)
    assert model.to(torch.float64, memory_format=torch.channels_last).conv1.weight.dtype == torch.float64


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_starts_as_c2d_with_the_same_image_weights(kind, tmp_path):
    image = small("c2d", unit=None, seed=1)
    save_file({k: v for k, v in image.state_dict().items() if "classifier" not in k and "feature" not in k},
              tmp_path / "image.safetensors")  # fmt: skip
    model = small(kind, unit=None, seed=2)
    load_imagenet_weights(model, str(tmp_path / "image.safetensors"))
    torch.testing.assert_close(model.feature_maps(clips()), image.feature_maps(clips()), rtol=1e-4, atol=1e-5)


def test_a_fresh_temporal_block_starts_as_its_spatial_half():
    torch.manual_seed(0)
    for kind in ("p3da", "p3db", "p3dc"):
        block = create_model(kind, 3, unit=None, width=16, depth=DEPTH).layer2[0]
        x = torch.randn(2, 32, 3, 8, 4)
        torch.testing.assert_close(block._middle(x), block.conv2(x))


@pytest.mark.parametrize(
    ("options", "places"),
    [
        (dict(), ["layer2.0.temporal", "layer2.2.temporal", "layer3.0.temporal", "layer3.2.temporal"]),
        (dict(placement="spatial", stages=(3,)), ["layer3.0.conv2", "layer3.2.conv2"]),
        (dict(stages=(1, 4)), ["layer1.0.temporal", "layer4.0.temporal"]),
        (dict(kind="i3d", stages=(2,)), ["layer2.0.conv2", "layer2.2.conv2"]),
        (dict(unit=None), []),
    ],
)
def test_units_stand_where_the_paper_puts_them(options, places):
    model = small(**options)
    assert sorted(name.removesuffix(".unit") for name in units_of(model)) == places


def test_full_size_units_are_in_blocks_0_2_and_0_2_4_and_non_local_blocks_follow_1_3_and_1_3_5():
    with torch.device("meta"):
        strf, nonlocal_ = create_model("p3dc", 10), create_model("c2d", 10, unit="nonlocal")
    assert [n for n in units_of(strf)] == [
        f"layer{s}.{b}.temporal.unit" for s, b in ((2, 0), (2, 2), (3, 0), (3, 2), (3, 4))
    ]
    assert [n for n in units_of(nonlocal_)] == [
        f"layer{s}.{b}.appended" for s, b in ((2, 1), (2, 3), (3, 1), (3, 3), (3, 5))
    ]


def test_training_returns_logits_and_features_and_evaluation_features():
    model = small()
    assert model(clips()).shape == (2, model.feature_size) == (2, 512)
    logits, features = model.train()(clips())
    assert logits.shape == (2, 7) and features.shape == (2, 512)


@pytest.mark.parametrize("kind", KINDS)
def test_the_backward_pass_copies_no_gradient_of_a_view_that_was_changed(kind):
    todo, seen = [small(kind).train()(clips())[0].grad_fn], set()
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [following for following, _ in node.next_functions]
    names = [node.name() for node in seen]
    assert sum(name.startswith("ReluBackward") for name in names) == 3 * sum(DEPTH) + 1
    assert "CopySlices" not in names


def test_units_can_stand_in_a_model_that_is_not_ours():
    monai_nets = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(0)
    model = monai_nets.resnet18(spatial_dims=3, n_input_channels=3, num_classes=5).eval()
    x = torch.randn(2, 3, 8, 32, 32)
    keys, before = set(model.state_dict()), model(x)
    unit = STRF(128)
    insert_units(model, {"layer2.1.conv1": unit, "layer3.0.conv1": STRF(128)})
    seen = {}
    conv = model.layer2[1].conv1
    unit.register_forward_hook(lambda m, inputs, output: seen.update(given=inputs[0], mixed=output))
    conv.register_forward_hook(lambda m, inputs, output: seen.update(taken=inputs[0], convolved=output))
    after = model(x)
    assert torch.equal(seen["taken"], seen["given"]) and not torch.equal(seen["mixed"], seen["given"])
    expected = nn.functional.conv3d(seen["mixed"], conv.weight, None, conv.stride, conv.padding)
    assert torch.equal(seen["convolved"], expected) and not torch.equal(after, before)
    assert set(model.state_dict()) - keys == {"layer2.1.conv1.unit.weight", "layer3.0.conv1.unit.weight"}
    after.sum().backward()
    assert unit.weight.grad.abs().sum() > 0


def test_a_convolution_with_a_unit_is_still_of_its_class():
    model = insert_units(nn.Sequential(nn.Conv3d(16, 16, 3), nn.Conv3d(16, 16, 3)), {"0": STRF(16)})
    one, other = model
    assert isinstance(one, nn.Conv3d) and type(one).__name__ == type(other).__name__ == "Conv3d"
    assert type(insert_units(nn.Conv3d(16, 16, 1), {"": STRF(16)})) is type(one) is not type(other)
    copied = copy.deepcopy(one)
    assert type(copied) is type(one) and copied.unit is not one.unit and copied.weight is not one.weight
    assert repr(one).startswith("Conv3d(\n  16, 16, kernel_size=(3, 3, 3), stride=(1, 1, 1)\n  (unit): STRF(")


REGISTERED = {"weight_norm": parametrizations.weight_norm, "spectral_norm": parametrizations.spectral_norm}


@pytest.mark.parametrize("first", ["units", "parametrization"])
@pytest.mark.parametrize("name", REGISTERED)
def test_parametrizations_come_and_go_before_units_and_after(name, first):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv3d(16, 4, 3, padding=1)), torch.randn(1, 16, 2, 4, 3)
    unit = STRF(16)
    if first == "units":
        insert_units(model, {"0": unit})
    (conv,) = model
    REGISTERED[name](conv)
    other = copy.deepcopy(model)  # of the same class as the model
    if first == "parametrization":
        insert_units(model, {"0": unit})
        assert not hasattr(other[0], "unit")
        torch.testing.assert_close(other.eval()(x), nn.functional.conv3d(x, other[0].weight, conv.bias, padding=1))
    model.eval()
    expected = nn.functional.conv3d(unit(x), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(copy.deepcopy(model)(x), expected)
    with pytest.raises(
        RuntimeError, match="Serialization of parametrized modules is only supported through state_dict"
    ):
        pickle.dumps(model)
    parametrize.remove_parametrizations(conv, "weight")
    torch.testing.assert_close(model(x), expected)
    assert set(model.state_dict()) == {"0.weight", "0.bias", "0.unit.weight"} and type(conv).__name__ == "Conv3d"


def test_a_lazy_convolution_takes_a_unit_once_it_knows_its_channels():
    model, x = nn.Sequential(nn.LazyConv3d(4, 3, padding=1)), torch.randn(1, 16, 2, 4, 3)
    for unit in (STRF(16), GramUnit()):
        with pytest.raises(
            InputError, match=r"layer '0' is a LazyConv3d that has seen no input yet: run the model once"
        ):
            insert_units(model, {"0": unit})
    model(x)
    insert_units(model, {"0": STRF(16)})
    torch.testing.assert_close(
        model(x), nn.functional.conv3d(model[0].unit(x), model[0].weight, model[0].bias, padding=1)
    )


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_model_with_units_can_be_traced(backend):
    model = insert_units(nn.Sequential(nn.Conv3d(16, 4, 1)), {"0": STRF(16, pool=("max", "avg"), backend=backend)})
    example, x = (torch.randn(shape).double() for shape in ((1, 16, 2, 4, 3), (2, 16, 3, 5, 6)))
    traced = torch.jit.trace(model.double(), example)
    torch.testing.assert_close(traced(x), model(x))
    gradients = [torch.autograd.grad(module(x).square().sum(), model.parameters()) for module in (traced, model)]
    torch.testing.assert_close(*gradients)
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    buffer.seek(0)
    torch.testing.assert_close(torch.jit.load(buffer)(x), model(x))


def test_what_was_compiled_without_units_is_not_taken_for_a_model_with_them():
    torch._dynamo.reset()
    plain, x = small(unit=None, depth=(1, 1, 1, 1)), clips()
    compiled = torch.compile(plain, backend="eager")
    assert torch.equal(compiled(x), plain(x))
    for unit in ("strf", "gram"):
        model = small(unit=unit, depth=(1, 1, 1, 1))
        assert torch.equal(torch.compile(model, backend="eager")(x), model(x)) and not torch.equal(model(x), plain(x))
    with torch.no_grad():
        without = compiled(x)
        insert_units(plain, {"layer2.0.temporal": STRF(32)})
        assert torch.equal(compiled(x), plain(x)) and not torch.equal(plain(x), without)


def test_a_model_with_units_can_be_copied_pickled_and_compiled():
    model, x = small(), clips()
    expected = model(x)
    buffer = io.BytesIO(pickle.dumps(model))
    for other in (copy.deepcopy(model), pickle.load(buffer)):
        assert torch.equal(other(x), expected)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("units", "sentence"),
    [
        ({"layer2.0.con2": STRF(32)}, "no layer 'layer2.0.con2'; did you mean layer2.0.con"),
        ({"layer2.0.bn2": STRF(32)}, "layer 'layer2.0.bn2' is a FrameBatchNorm2d, but a unit stands in front"),
        ({"layer2.0.conv2": STRF(64)}, "takes 32 channels, but the unit for it has 64"),
        ({"layer2.0.temporal": STRF(32)}, "'layer2.0.temporal' already has a unit"),
        ({"layer2.0.conv3": STRF(32)}, "forward of layer 'layer2.0.conv3' was replaced"),
    ],
)
def test_wrong_places_for_units_are_named_and_change_nothing(units, sentence):
    model = small()
    model.layer2[0].conv3.forward = lambda x: x
    before = len(units_of(model))
    with pytest.raises(InputError, match=sentence):
        insert_units(model, {"layer4.0.conv2": STRF(128), **units})
    assert len(units_of(model)) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(kind="p3d"), "kind is 'p3d', but it must be one of c2d, .*; did you mean p3d"),
        (dict(unit="strff"), "unit is 'strff', .*; did you mean strf"),
        (dict(placement="time"), "placement is 'time'"),
        (dict(stages=(2, 5)), r"stages are \(2, 5\)"),
        (dict(depth=(1, 1, 1)), r"depth is \(1, 1, 1\)"),
        (dict(width=8), "16 channels are not divisible by the reduction 32"),
    ],
)
def test_bad_model_options_are_refused_with_their_value(options, sentence):
    options = {"width": 16, "depth": DEPTH, "unit_options": {"reduction": 32}} | options
    with pytest.raises(InputError, match=sentence):
        create_model(options.pop("kind", "p3dc"), 5, **options)


@pytest.fixture
def image_weights():
    """A state dict with torchvision's names, classifier included."""
    state = small("c2d", unit=None).state_dict()
    state = {k: v for k, v in state.items() if not k.startswith(("classifier", "feature_norm"))}
    return state | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def test_weights_without_batch_counters_load_as_old_torchvision_files_have_none(image_weights, tmp_path):
    state = {k: v for k, v in image_weights.items() if "num_batches" not in k}
    torch.save(state, tmp_path / "old.pth")
    model = small("p3da", seed=5)
    load_imagenet_weights(model, str(tmp_path / "old.pth"))
    assert torch.equal(model.layer3[0].conv2.weight, state["layer3.0.conv2.weight"])
    assert torch.equal(model.layer2[0].temporal.weight[:, :, 1, 0, 0], torch.eye(32))


def test_wrong_weights_are_refused_and_the_entry_is_named(image_weights, tmp_path):
    model, path = small(), tmp_path / "weights.pth"

    def refusal(state):
        torch.save(state, path)
        with pytest.raises(InputError) as error:
            load_imagenet_weights(model, str(path))
        return str(error.value)

    before = {k: v.clone() for k, v in model.state_dict().items()}
    name = "layer2.0.conv2.weight"
    assert refusal({k: v for k, v in image_weights.items() if k != name}) == f"{path} lacks the entry {name}"
    assert refusal(image_weights | {"layer9.w": torch.zeros(1)}) == f"{path} has an unexpected entry layer9.w"
    assert "(3, 3), but the model needs (32, 32, 3, 3)" in refusal(image_weights | {name: torch.zeros(3, 3)})
    assert "does not hold a state dict" in refusal([1, 2])
    for content, said in (
        (b"no zip\0file", "weights.pth is damaged, or holds other things"),
        (b"Entry not found", "weights.pth is text, which begins with 'Entry not found'"),
        (b"<!doctype html><html>", "weights.pth is a page of HTML"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            load_imagenet_weights(model, str(path))
    (tmp_path / "weights.safetensors").write_bytes(POINTER)
    with pytest.raises(InputError, match="weights.safetensors is a Git LFS pointer"):
        load_imagenet_weights(model, str(tmp_path / "weights.safetensors"))
    with pytest.raises(InputError, match="there is no weights file /no/such"):
        load_imagenet_weights(model, "/no/such.pth")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def fresh(kind="p3dc", **options):
    """A model as a run begins with, of which all but the temporal convolutions is random."""
    torch.manual_seed(9)
    return create_model(kind, 7, **{"width": 16, "depth": DEPTH, **options}).eval()


@pytest.mark.parametrize("unit", [None, "nonlocal"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_begins_with_the_function_of_a_trained_c2d_model(kind, unit):
    """The feature is the same, not only the maps: its normalisation comes along. So do non-local blocks."""
    trained, model = small("c2d", unit=unit), fresh(kind, unit=unit)
    notes = load_trained_weights(model, trained, "c2d.ckpt", same_people=True)
    torch.testing.assert_close(model(clips()), trained(clips()), rtol=1e-4, atol=1e-5)
    assert torch.equal(model.classifier.weight, trained.classifier.weight)
    assert notes == {
        "c2d": ["the model begins with the weights of c2d.ckpt"],
        "i3d": ["the model begins with the weights of c2d.ckpt, 4 3x3 convolutions as the middle frame of 3x3x3 ones"],
    }.get(
        kind,
        [
            "the model begins with the weights of c2d.ckpt",
            "these weights lack what begins as in a fresh model: 4 temporal convolutions",
        ],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_the_same_kind_gives_all_its_weights_and_a_classifier_for_the_same_people_alone(kind):
    trained, model = small(kind), fresh(kind)
    assert load_trained_weights(model, trained, "a.ckpt", same_people=True) == [
        "the model begins with the weights of a.ckpt"
    ]
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in trained.state_dict().items())
    model, other = fresh(kind), fresh(kind)
    assert load_trained_weights(model, trained, "a.ckpt", same_people=False)[1:] == [
        "these weights lack what begins as in a fresh model: 1 classifier",
        "these weights have what does not fit into the model and is left aside: 1 classifier",
    ]
    assert torch.equal(model.classifier.weight, other.classifier.weight)
    assert torch.equal(model(clips()), trained(clips()))


UNITS_AND_CONVOLUTIONS = "4 units, 4 temporal convolutions"


@pytest.mark.parametrize(
    ("before", "now", "lacked", "left"),
    [
        (dict(unit=None), dict(), "4 units", None),
        (dict(), dict(unit=None), None, "4 units"),
        (dict(kind="p3da"), dict(), UNITS_AND_CONVOLUTIONS, UNITS_AND_CONVOLUTIONS),
        (dict(kind="p3da"), dict(kind="i3d"), "4 units", UNITS_AND_CONVOLUTIONS),
        (dict(), dict(kind="c2d", unit=None), None, UNITS_AND_CONVOLUTIONS),
        (dict(placement="spatial"), dict(), "4 units", "4 units"),
        (dict(unit_options=dict(reduction=8)), dict(), "4 units", "4 units"),
        (
            dict(unit_options=dict(paths=("temporal_static", "spatial_coarse"))),
            dict(unit_options=dict(paths=("temporal_dynamic", "spatial_fine"))),
            "4 units",
            "4 units",
        ),
        (dict(unit="nonlocal"), dict(), "4 units", "2 non-local blocks"),
        (dict(stages=(2,)), dict(stages=(2, 3, 4)), "3 units, 1 temporal convolution", None),
    ],
)
def test_what_trained_weights_lack_and_what_has_no_place_is_named_and_stays_fresh(before, now, lacked, left):
    trained, model, untouched = small(**before), fresh(**now), fresh(**now).state_dict()
    notes = load_trained_weights(model, trained, "a.ckpt", same_people=True)[1:]
    assert notes == [
        *([f"these weights lack what begins as in a fresh model: {lacked}"] if lacked else []),
        *([f"these weights have what does not fit into the model and is left aside: {left}"] if left else []),
    ]
    given = trained.state_dict()
    for name, tensor in model.state_dict().items():
        part = any(mark in name for mark in (".unit.", ".temporal."))
        kept = torch.equal(tensor, untouched[name]) if part else True
        taken = name in given and torch.equal(tensor, given[name])
        inflated = not part and tensor.dim() == 5 and torch.equal(tensor[:, :, 1], given[name])
        assert taken or inflated or (part and kept and lacked), name


def test_units_trained_with_other_options_are_loaded_and_the_options_named():
    trained, model = small(unit_options=dict(similarity="dot")), fresh(unit_options=dict(integration="parallel"))
    assert load_trained_weights(model, trained, "a.ckpt", same_people=True)[1:] == [
        "the units of these weights were trained with other options: integration temporal_spatial, similarity dot, "
        "temperature 4.0"
    ]
    assert torch.equal(model.layer2[0].temporal.unit.weight, trained.layer2[0].temporal.unit.weight)


def test_trained_weights_of_another_size_or_of_3x3x3_convolutions_without_a_place_are_refused():
    model = fresh()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for options, sentence in [
        (dict(width=32), "the weights of a.ckpt have width 32 and depth [2, 3, 3, 2], but the model has width 16 and "),
        (dict(depth=(1, 1, 1, 1)), "the weights of a.ckpt have width 16 and depth [1, 1, 1, 1], but the model has "),
        (dict(kind="i3d"), "have a 3x3x3 convolution in layer2.0, which the model, with p3dc there, has no place for"),
    ]:
        with pytest.raises(InputError) as error:
            load_trained_weights(model, small(**options), "a.ckpt", same_people=True)
        assert sentence in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_failed_download_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="needs huggingface_hub; install it or give a weights file"):
        load_imagenet_weights(small(), "imagenet")
