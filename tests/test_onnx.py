"""Trained models as ONNX: standard operators, any batch, the model's features in another runtime."""

import os
import subprocess
import sys

import onnx
import pytest
import torch

from comparison import ON_A_GPU
from strf_cuda import backends
from strf_cuda.errors import InputError
from strf_cuda.exporting import onnx as exporting
from strf_cuda.exporting.checking import ALLOWED, compare
from strf_cuda.exporting.onnx import load_onnx, save_onnx
from strf_cuda.modules import STRF
from strf_cuda.trained import open_model
from untrained import write_checkpoint

UNITS = {
    "parallel": ["--model.integration=parallel", "--model.similarity=dot"],
    "averages": ["--model.temporal_pool=avg", "--model.spatial_pool=avg"],
    "gram": ["--model.unit=gram"],
    "nonlocal": ["--model.unit=nonlocal", "--model.depth=[1, 2, 2, 1]"],
    "none": ["--model.unit=none"],
    "c2d": ["--model.kind=c2d"],
    "i3d": ["--model.kind=i3d"],
    "p3da": ["--model.kind=p3da", "--model.temperature=40"],
    "p3db": ["--model.kind=p3db", "--model.placement=spatial"],
}


@pytest.fixture(scope="module")
def trained(tiny_run, tmp_path_factory):
    """With a pool of each kind: the exporter of torch forgets the divisor of averages."""
    path = tmp_path_factory.mktemp("mixed") / "best.ckpt"
    return open_model(write_checkpoint(path, *tiny_run, "--model.width=16", "--model.spatial_pool=avg"))


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / os.fsdecode(b"\xff 10:30.onnx")
    save_onnx(trained, path)
    return path


def check(path, trained):
    """Standard operators, and features within the tolerance, in batches of 1, 2 and 7."""
    model = onnx.load_from_string(path.read_bytes())
    assert {node.domain for node in model.graph.node} == {""} and len(model.functions) == 0
    assert [opset.domain for opset in model.opset_import] == [""]
    difference = compare(trained, load_onnx(path))
    assert difference.embedding <= ALLOWED, "these models magnify rounding by little"


def test_the_features_are_the_models_with_standard_operators_whatever_the_batch(trained, saved):
    check(saved, trained)


@pytest.mark.slow
@pytest.mark.parametrize("name", UNITS)
def test_so_are_those_of_other_units_and_blocks(name, tiny_run, tmp_path):
    trained = open_model(write_checkpoint(tmp_path / "best.ckpt", *tiny_run, "--model.width=16", *UNITS[name]))
    save_onnx(trained, tmp_path / "model.onnx")
    check(tmp_path / "model.onnx", trained)


class _Units(torch.nn.Module):
    """A network of somebody's own: a unit of each backend, with a pool of each kind, side by side."""

    def __init__(self):
        super().__init__()
        usable = [name for name, state in backends().items() if state == "usable" and name not in ON_A_GPU]
        options = dict(reduction=4, pool=("max", "avg"), similarity="dot", integration="parallel")
        paths = ("temporal_static", "spatial_coarse")
        self.units = torch.nn.ModuleList(STRF(8, paths=paths, backend=name, **options) for name in ("auto", *usable))

    def forward(self, x):
        return torch.stack([unit(x) for unit in self.units])


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.filterwarnings("ignore")  # of torch's exporters on themselves
def test_units_of_every_backend_and_pool_are_right_in_the_file_of_an_own_network(dynamo, tmp_path):
    torch.manual_seed(0)
    network, x = _Units().eval(), torch.randn(2, 8, 3, 4, 5)
    torch.onnx.export(network, (x,), tmp_path / "a.onnx", dynamo=dynamo, verbose=False)
    session = load_onnx(tmp_path / "a.onnx")._session
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(x), rtol=1e-4, atol=1e-4)
    assert {node.domain for node in onnx.load(tmp_path / "a.onnx").graph.node} == {""}


def test_the_batch_alone_is_free(saved):
    (clips,) = onnx.load(saved).graph.input
    sizes = [dim.dim_param or dim.dim_value for dim in clips.type.tensor_type.shape.dim]
    assert (clips.name, clips.type.tensor_type.elem_type) == ("clips", onnx.TensorProto.UINT8)
    assert isinstance(sizes[0], str) and sizes[1:] == [3, 4, 32, 16]
    with pytest.raises(Exception, match="Got invalid dimensions"):
        load_onnx(saved)(torch.zeros(1, 3, 4, 64, 32, dtype=torch.uint8))


def test_the_file_says_what_it_is_and_nothing_of_this_machine(trained, saved):
    metadata = load_onnx(saved).metadata
    assert metadata["strf_cuda.fingerprint"] == trained.fingerprint
    assert metadata["strf_cuda.model"] == "p3dc, unit strf, similarity cosine, temperature 16"
    assert metadata["strf_cuda.input"].startswith("clips: uint8 [any number, 3, 4, 32, 16], RGB frames of 32x16 pixels")
    assert metadata["strf_cuda.output"].startswith("features: float32 [any number, 512], not scaled")
    assert "scaled to unit length" in metadata["strf_cuda.embedding"] and "torch 2" in metadata["strf_cuda.version"]
    content = saved.read_bytes()
    assert b".py" not in content and os.path.dirname(exporting.__file__).encode() not in content
    assert b"classifier" not in content, "the people of the training are no part of it"


def test_the_model_itself_keeps_its_backend(trained, saved):
    assert {unit.backend for unit in trained.model.modules() if isinstance(unit, STRF)} == {"auto"}


def test_an_operator_of_ones_own_is_refused():
    model = onnx.helper.make_model(
        onnx.helper.make_graph([onnx.helper.make_node("Attention", ["x"], ["y"], domain="own")], "graph", [], [])
    )
    with pytest.raises(AssertionError, match=r"not standard ONNX: \{\('own', 'Attention'\)\}"):
        exporting._check_standard(model)


def test_a_file_that_is_no_model_is_one_sentence(tmp_path):
    (tmp_path / "a.onnx").write_text("nothing of the kind")
    for name in ("a.onnx", "missing.onnx"):
        with pytest.raises(InputError, match=f"^onnxruntime does not take .*/{name}: .*$"):
            load_onnx(tmp_path / name)


@pytest.mark.slow
def test_nothing_is_told_to_the_makers_of_onnxruntime(saved, tmp_path):
    """What it would send it keeps in a data base of the cache folder first."""
    code = "import sys; from strf_cuda.exporting.onnx import load_onnx; load_onnx(sys.argv[1])"
    kept = {}
    for setting in ({}, {"ORT_DISABLE_TELEMETRY": "0"}):
        cache = tmp_path / f"cache {len(kept)}"
        environment = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
        environment |= {
            "HOME": str(cache),
            "XDG_CACHE_HOME": str(cache),
            "PYTHONPATH": os.pathsep.join(sys.path),
            **setting,
        }
        subprocess.run([sys.executable, "-c", code, str(saved)], env=environment, check=True)
        kept[len(kept)] = [path for path in cache.rglob("*.db*")]
    assert kept[0] == [] and kept[1] != [], "and the test would see it"


def test_telemetry_is_off_before_onnxruntime_is_imported(monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    settings = {}

    def note(package):
        settings[package] = os.environ.get("ORT_DISABLE_TELEMETRY")

    monkeypatch.setattr(exporting.importlib, "import_module", note)
    exporting.check_packages()
    assert settings["onnxruntime"] == "1"


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_a_package_the_extra_is_named(package, monkeypatch, trained, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf'^ONNX needs {package}: pip install "strf_cuda\[export\]"$'):
        save_onnx(trained, tmp_path / "model.onnx")
