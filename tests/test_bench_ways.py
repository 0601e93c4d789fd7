"""The ways to take a training step: the plain network computes the same, and only ways that do are timed."""

import json
import shutil

import pytest
import torch

from bench import training_ways
from bench.plain_model import PlainVideoResNet
from bench.training_step import made_up_batch
from bench.training_ways import UNITS, Way, measure, put_channels_last, table, ways
from strf_cuda.models import create_model

SMALL = {"width": 16, "depth": (1, 1, 1, 1)}


@pytest.fixture
def batch():
    return made_up_batch(4, 32, 16, "cpu")


def model_of_every_kind_of_layer(kind, unit):
    torch.manual_seed(0)
    made = create_model(kind, 5, unit=unit, width=16, depth=(2, 1, 1, 1)).double().train()
    for name, weight in made.named_parameters():
        if "temporal.weight" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return made


@pytest.mark.parametrize("unit", [None, "strf"])
@pytest.mark.parametrize("kind", ["i3d", "p3da", "p3db", "p3dc"])
def test_the_plain_network_computes_the_same_forward_and_backward(kind, unit, batch):
    model = model_of_every_kind_of_layer(kind, unit)
    plain = PlainVideoResNet(model)
    assert not any(type(layer).__module__.startswith("strf_cuda.models.frames") for layer in plain.modules())
    clips = batch[0].double()
    found, expected = plain(clips.contiguous()), model(clips)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for logits, features in (found, expected):
        (logits.square().sum() + features.pow(3).sum()).backward()
    weights = dict(plain.named_parameters())
    assert len(weights) == len(list(model.parameters()))
    for name, weight in model.named_parameters():
        own = f"net.{name}"
        if own not in weights:  # the convolution or the unit in front of it
            own = own.replace(".unit.", ".0.") if ".unit." in own else own.replace(".weight", ".1.weight")
        torch.testing.assert_close(weights[own].grad.view_as(weight), weight.grad, rtol=1e-7, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(clips), model.eval()(clips), rtol=1e-9, atol=1e-9)


def test_the_plain_network_keeps_its_own_weights(batch):
    model = model_of_every_kind_of_layer("p3dc", "strf")
    owned = {weight.data_ptr() for weight in model.state_dict().values()}
    assert not owned & {weight.data_ptr() for weight in PlainVideoResNet(model).state_dict().values()}


def test_weights_of_convolutions_are_put_channels_last():
    model = model_of_every_kind_of_layer("p3dc", "strf")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    put_channels_last(model)
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name])
        assert weight.is_contiguous(memory_format=layouts.get(weight.dim(), torch.contiguous_format))


def test_the_first_way_is_that_of_the_training_command():
    first = next(iter(ways("cpu").values()))
    assert first == Way(None)
    assert [name for name, way in ways("cuda").items() if way.plain] and ways("cuda")["bfloat16, CUDA graphs"].graphed


def test_a_way_that_computes_something_else_is_named_and_not_timed(batch, monkeypatch):
    monkeypatch.setattr(training_ways.PlainVideoResNet, "forward", lambda self, x: (self.net(x)[0] * 2, None))
    figures = measure(*batch, {"ours": Way(None), "plain": Way(None, plain=True)}, 1, SMALL)
    for network in UNITS:
        assert figures["ours"][network]["ratio"]["median"] == 1 and figures["ours"][network]["error_of_logits"] == 0
        assert figures["plain"][network] == {"not_run": "relative error of the logits 1.0e+00"}
    assert "plain, STRF-P3DC, was not run: relative error of the logits 1.0e+00" in table(figures)
    monkeypatch.setattr(training_ways.Trainee, "step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure(*batch, {"ours": Way(None)}, 1, SMALL)


def test_the_benchmark_writes_figures_of_every_way_and_prints_them(tmp_path, capsys):
    training_ways.main(["--quick", "--device=cpu", "--batch=4", f"--out={tmp_path}/ways.json"])
    result = json.loads((tmp_path / "ways.json").read_text())
    assert list(result["ways"]) == [name for name, way in ways("cpu").items() if not way.compiled]
    printed = capsys.readouterr().out
    for name, networks in result["ways"].items():
        assert name in printed
        for network, own in networks.items():
            assert own["ms"]["median"] > 0 and own["clips_per_s"] > 0 and own["peak_mb"] > 0, (name, network)


def test_chosen_ways_are_timed_beside_the_first(monkeypatch, capsys):
    chosen = []
    monkeypatch.setattr(training_ways, "measure", lambda *given: chosen.extend(given[2]) or {})
    training_ways.main(["--quick", "--device=cpu", "--ways", "plain, float32", "float32, fused Adam"])
    assert chosen == ["float32", "float32, fused Adam", "plain, float32"]
    with pytest.raises(SystemExit):
        training_ways.main(["--quick", "--device=cpu", "--ways", "plain, float3"])
    assert "no way 'plain, float3'; did you mean plain, float32" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_ways_compute_the_same(batch):
    compiled = {name: way for name, way in ways("cpu").items() if way.compiled}
    figures = measure(*batch, {"ours": Way(None), **compiled}, 1, SMALL)
    assert compiled and all("ms" in own for networks in figures.values() for own in networks.values()), figures


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_every_way_but_the_compiled_ones_is_timed(tmp_path):
    training_ways.main(["--quick", "--device=cuda", "--batch=8", f"--out={tmp_path}/ways.json"])
    found = json.loads((tmp_path / "ways.json").read_text())["ways"]
    assert "bfloat16, CUDA graphs" in found
    assert {name: own for name, own in found.items() if any("not_run" in figures for figures in own.values())} == {}
