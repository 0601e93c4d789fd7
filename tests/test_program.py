"""Trained models saved as programs of torch.export: the same features, for any batch, and refusals in words."""

import io
import json
import os
import shutil
import zipfile

import pytest
import torch

import strf_cuda
from strf_cuda import InputError, backends
from strf_cuda.backends import choice, library
from strf_cuda.backends.reference import is_channels_last
from strf_cuda.exporting.embedder import embedder, example_clips
from strf_cuda.exporting.program import load_package, load_program, save_package, save_program
from strf_cuda.trained import open_model
from untrained import write_checkpoint

needs_library = pytest.mark.skipif(backends()["cpu"] != "usable", reason=backends()["cpu"])
OTHER_UNITS = {
    "parallel": [
        "--model.integration=parallel",
        "--model.spatial_pool=avg",
        "--model.recompute",
        "--model.similarity=dot",
    ],
    "gram": ["--model.unit=gram"],
    "nonlocal": ["--model.unit=nonlocal", "--model.depth=[1, 2, 1, 1]", "--model.stages=[2]"],
    "none": ["--model.unit=none"],
}


@pytest.fixture(scope="module")
def trained(tiny_checkpoint):
    return open_model(tiny_checkpoint)


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / os.fsdecode(b"\xff 10:30.pt2")
    save_program(trained, path)
    return path


@pytest.fixture(scope="module")
def program(saved):
    return load_program(saved)


def features(trained, clips, **options):
    with torch.no_grad():
        return embedder(trained, **options)(clips)


def check_features(program, trained):
    for batch in (1, 2, 7):
        clips = example_clips(trained, batch, seed=1)
        assert torch.equal(program(clips), features(trained, clips))


def test_a_program_gives_the_features_of_the_model_whatever_the_batch(trained, program):
    check_features(program, trained)


@pytest.mark.parametrize("name", OTHER_UNITS)
def test_so_do_programs_with_other_units(name, tiny_run, tmp_path):
    source = write_checkpoint(tmp_path / "best.ckpt", *tiny_run, "--model.width=16", *OTHER_UNITS[name])
    trained = open_model(source)
    save_program(trained, tmp_path / "model.pt2")
    check_features(load_program(tmp_path / "model.pt2"), trained)


def test_a_program_says_what_it_is(trained, program):
    facts = program.facts
    assert (facts.frames, facts.height, facts.width, facts.features) == (4, 32, 16, 512)
    assert (facts.fingerprint, facts.device, facts.processor) == (trained.fingerprint, "any", "any")
    assert (facts.torch, facts.strf_cuda) == (torch.__version__, strf_cuda.__version__)


@needs_library
def test_units_are_calls_of_the_operator_on_channels_last_clips(program, saved):
    calls = [
        node
        for node in torch.export.load(io.BytesIO(saved.read_bytes())).graph.nodes
        if "strf_cuda" in str(node.target)
    ]
    assert [str(call.target) for call in calls] == ["strf_cuda.forward.default"] * 4  # two halves in two units
    for call in calls:
        x = call.args[0].meta["val"]
        assert is_channels_last(x) and isinstance(x.shape[0], torch.SymInt)
    assert program.facts.operator == "strf_cuda::forward"


@needs_library
def test_where_the_library_is_absent_programs_that_need_it_are_refused(saved, monkeypatch):
    monkeypatch.setattr(library, "REASON", "the operator library was not built: why not")
    with pytest.raises(InputError) as caught:
        load_program(saved)
    assert str(caught.value) == (
        f"{saved} calls strf_cuda::forward, and the operator library was not built: why not; or save the model with "
        "the backend reference"
    )


@needs_library
@pytest.mark.skipif(choice.why_not("cuda") is None, reason="has a GPU that runs it")
def test_a_program_is_not_moved_to_a_gpu_that_is_not_there(saved):
    with pytest.raises(InputError) as caught:
        load_program(saved, device="cuda")
    assert f"calls strf_cuda::forward, and {choice.why_not('cuda')}; " in str(caught.value)


def test_where_the_library_is_absent_programs_call_standard_operators_only(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(library, "REASON", "the operator library was not built: why not")
    path = tmp_path / "model.pt2"
    assert save_program(trained, path).operator == "none"
    exported = torch.export.load(path)
    assert not [node for node in exported.graph.nodes if "strf_cuda" in str(node.target)]
    clips = example_clips(trained, 3)
    assert torch.equal(exported.module()(clips), features(trained, clips, backend="reference"))


def test_clips_may_lie_in_memory_in_any_order(trained, program):
    clips = example_clips(trained, 3)
    turned = clips.permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)
    assert torch.equal(program(turned), features(trained, clips))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda clips: clips[:, :, :3], r"torch.uint8 \[2, 3, 3, 32, 16\]"),
        (lambda clips: clips[:, :, :, :, :8], r"torch.uint8 \[2, 3, 4, 32, 8\]"),
        (lambda clips: clips[0], r"torch.uint8 \[3, 4, 32, 16\]"),
        (lambda clips: clips.float(), r"torch.float32 \[2, 3, 4, 32, 16\]"),
        (lambda clips: clips.permute(0, 2, 3, 4, 1), r"torch.uint8 \[2, 4, 32, 16, 3\]"),
    ],
)
def test_other_clips_are_refused_in_words(trained, program, change, found):
    wanted = r"torch.uint8 \[any number, 3, 4, 32, 16\]: RGB frames of 32x16, 4 to a clip"
    with pytest.raises(InputError, match=f"^clips are {found}, but they must be {wanted}$"):
        program(change(example_clips(trained)))


def test_a_program_tells_nothing_of_the_folders_where_it_was_saved(saved):
    with zipfile.ZipFile(saved) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/models/model.json")]
        graph = json.loads(archive.read(name))
    assert graph["graph_module"] and str(strf_cuda.__path__[0]) not in json.dumps(graph)


@pytest.mark.parametrize("load", [load_program, load_package])
def test_other_files_are_refused_in_words(load, tiny_checkpoint, saved, tmp_path):
    kind = {load_program: "program of torch.export", load_package: "package of AOTInductor"}[load]
    text = tmp_path / "text.pt2"
    text.write_text("no archive")
    reasons = {
        tmp_path / "absent.pt2": f"is no {kind}, or damaged: No such file or directory",
        text: f"is no {kind}, or damaged: File is not a zip file",
        tiny_checkpoint: f"is no {kind} that strf_cuda.export has saved",
    }
    if load is load_package:
        reasons[shutil.copy(saved, tmp_path / "program.pt2")] = reasons[tiny_checkpoint]
        with pytest.raises(InputError, match="^torch opens packages only where all names are UTF-8: give "):
            load(saved)
    for path, reason in reasons.items():
        with pytest.raises(InputError) as caught:
            load(path)
        assert str(caught.value) == f"{path} {reason}"


@pytest.mark.parametrize("save", [save_program, save_package])
def test_the_name_must_be_one_that_torch_reads(save, trained, tmp_path):
    with pytest.raises(InputError, match=r"ends in \.pt2, but the name given is .*model\.pt$"):
        save(trained, tmp_path / "model.pt")


@pytest.mark.parametrize(("backend", "device"), [("triton", "cpu"), ("cpu", "cuda"), ("cuda", "cpu"), ("auto", "mps")])
def test_a_backend_must_be_one_that_needs_no_python(backend, device, trained, tmp_path):
    with pytest.raises(InputError, match=f"^backend is '{backend}' and device {device}, but the device must be cpu "):
        save_package(trained, tmp_path / "model.pt2", backend=backend, device=device)


def test_a_package_is_not_begun_without_a_compiler(trained, tmp_path):
    absent = torch._inductor.config.patch({"cpp.cxx": (None, "no-such-c++")})
    with absent, pytest.raises(InputError, match=r"^compiling a package needs a C\+\+ compiler, and no-such-c\+\+ was"):
        save_package(trained, tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


def test_the_embedder_is_one_graph_of_torch_compile(trained):
    torch._dynamo.reset()
    clips = example_clips(trained, 3)
    with torch.no_grad():
        compiled = torch.compile(embedder(trained), fullgraph=True, backend="eager")
        assert torch.equal(compiled(clips), features(trained, clips))
