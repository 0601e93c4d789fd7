"""The operator library as a user meets it: present, absent, damaged, of another version, twice; and the bug report."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import strf_cuda
from strf_cuda import backends
from strf_cuda.backends import library

PACKAGE = Path(strf_cuda.__file__).parent
needs_library = pytest.mark.skipif(backends()["cpu"] != "usable", reason=backends()["cpu"])
# What works whatever has become of the library; `native` is what backends() says of it.
WORKS = """
import torch, strf_cuda
native = strf_cuda.backends()["cpu"]
x, weight = torch.randn(1, 8, 2, 3, 4, requires_grad=True), torch.randn(1, 2, 8)
y = strf_cuda.factorized_attention(x, weight, [(1, 3, 3)])
y.sum().backward()
reference = strf_cuda.factorized_attention(x, weight, [(1, 3, 3)], backend="reference")
torch.testing.assert_close(y, reference, rtol=1e-5, atol=1e-5)
try:
    strf_cuda.factorized_attention(x, weight, [(1, 3, 3)], backend="cpu")
except strf_cuda.InputError as error:
    assert str(error) == f"backend cpu is not usable here: {native}"
else:
    assert native == "usable"
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the package without the library and without what setup.py wrote."""
    ignored = shutil.ignore_patterns("__pycache__", library.FILE.name, library.BUILD_FACTS.name)
    return Path(shutil.copytree(PACKAGE, tmp_path / "strf_cuda", ignore=ignored))


def run(copy, *words):
    """Output of a Python process that finds the package in `copy`; it must end well and print no warning."""
    environment = {**os.environ, "PYTHONPATH": str(copy.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", *words]
    done = subprocess.run(command, cwd=copy.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def native(copy, before=""):
    """What backends() says of "cpu" there, after everything else was seen to work."""
    return run(copy, "-c", f"{before}\n{WORKS}\nprint(native, end='')")


@needs_library
@pytest.mark.parametrize("name", library.SCHEMAS)
def test_the_library_registers_the_schemas_that_python_defines_without_it(name):
    schema = getattr(torch.ops.strf_cuda, name).default._schema
    assert str(schema) == f"strf_cuda::{name}{library.SCHEMAS[name]}"


@needs_library
def test_the_library_says_how_it_was_built():
    facts = library.build_facts()
    assert facts["version"] == strf_cuda.__version__
    assert json.loads(library.BUILD_FACTS.read_text()).items() <= facts.items()


def test_without_the_library_the_operators_have_shapes_and_no_kernels(copy):
    script = f"""{WORKS}
from torch._subclasses.fake_tensor import FakeTensorMode
from strf_cuda.backends import library
for name, schema in library.SCHEMAS.items():
    assert str(getattr(torch.ops.strf_cuda, name).default._schema) == f"strf_cuda::{{name}}{{schema}}"
options = ([1, 3, 3], [0], 4.0, False)
with FakeTensorMode():
    fake = torch.empty(x.shape).contiguous(memory_format=torch.channels_last_3d)
    y, maximum, normalizer = torch.ops.strf_cuda.forward(fake, torch.empty(weight.shape), *options)
assert y.shape == x.shape and y.stride() == fake.stride() and maximum.shape == normalizer.shape == (1, 1, 12)
try:
    torch.ops.strf_cuda.forward(x, weight, *options)
except strf_cuda.InputError as error:
    print(error, end="")
"""
    said = run(copy, "-c", script)
    assert said == f"torch.ops.strf_cuda.forward has no kernels here: {native(copy)}"


@needs_library
def test_a_program_exported_with_the_library_can_be_read_without_it(copy):
    unit = strf_cuda.STRF(8, reduction=4, integration="parallel", backend="cpu")
    torch.export.save(torch.export.export(unit, (torch.ones(1, 8, 2, 3, 4),)), copy.parent / "unit.pt2")
    script = """
import warnings, torch, strf_cuda.functional
warnings.filterwarnings("ignore", message="The given buffer is not writable")  # torch 2.10 of its own doing
program = torch.export.load("unit.pt2")
try:
    program.module()(torch.ones(1, 8, 2, 3, 4))
except strf_cuda.InputError as error:
    print(error, end="")
"""
    assert run(copy, "-c", script) == f"torch.ops.strf_cuda.forward has no kernels here: {native(copy)}"


def test_a_library_that_was_never_built_is_said_to_be_absent(copy):
    where = copy / library.FILE.name
    assert native(copy) == (
        f"the operator library has not been built, there is no {where}; build it with pip install . or make setup"
    )


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ('{"cpu": "there is no compiler here"}', "the operator library was not built: there is no compiler here"),
        ('{"cpu": "built"}', r"the operator library was built but \S+ is missing; build it again with .*"),
        ('{"cpu"', "the operator library has not been built, there is no .*"),
    ],
)
def test_the_reason_comes_from_the_build(tmp_path, monkeypatch, facts, sentence):
    for name in ("FILE", "BUILD_FACTS"):
        monkeypatch.setattr(library, name, tmp_path / getattr(library, name).name)
    library.BUILD_FACTS.write_text(facts)
    assert re.fullmatch(sentence, library._why_absent())


def test_a_file_that_is_no_library_is_refused_in_words(copy):
    (copy / library.FILE.name).write_text("no library")
    said = native(copy)
    assert re.fullmatch(
        r"the operator library does not load here \(\S+: file too short\); build it again with .*", said
    )


@needs_library
@pytest.mark.parametrize("part", [0.0, 0.3, 0.999])
def test_a_library_that_is_cut_off_is_refused_in_words(copy, part):
    whole = library.FILE.read_bytes()
    (copy / library.FILE.name).write_bytes(whole[: int(part * len(whole))])
    assert re.fullmatch(r"the operator library .*(cut off|file too short).*; build it again with .*", native(copy))


@needs_library
def test_a_library_for_another_processor_is_refused_in_words(copy):
    content = bytearray(library.FILE.read_bytes())
    content[0x12:0x14] = (0xF3).to_bytes(2, "little")  # e_machine: RISC-V
    (copy / library.FILE.name).write_bytes(content)
    assert re.fullmatch(r"the operator library does not load here \(.+\); build it again with .*", native(copy))


@needs_library
def test_a_library_of_another_version_is_refused_in_words(copy):
    shutil.copy(library.FILE, copy)
    source = copy / "__init__.py"
    source.write_text(source.read_text().replace(strf_cuda.__version__, "9.8.7"))
    versions = rf"is of version {strf_cuda.__version__} but the package of 9\.8\.7"
    assert re.fullmatch(rf"the operator library \S+ {versions}; build it again .*", native(copy))


@needs_library
def test_a_library_with_another_signature_is_refused_in_words(copy):
    shutil.copy(library.FILE, copy)
    source = copy / "backends" / "library.py"
    source.write_text(source.read_text().replace("(Tensor values)", "(Tensor values, float factor)"))
    assert re.fullmatch(r"the operator probe of \S+ is not the one that this package calls; .*", native(copy))


@needs_library
def test_a_second_copy_is_refused_and_both_are_named(copy):
    second = Path(shutil.copy(library.FILE, copy))
    said = native(copy, before=f"import torch; torch.ops.load_library({str(library.FILE)!r})")
    assert said == (
        f"another copy of the operator library was loaded before, {library.FILE}, and the one of this package, "
        f"{second}, cannot be loaded beside it; load only one of them"
    )


@needs_library
def test_the_library_of_the_package_may_have_been_loaded_by_hand(copy):
    own = shutil.copy(library.FILE, copy)
    assert native(copy, before=f"import torch; torch.ops.load_library({own!r})") == "usable"


@needs_library
def test_the_bug_report_names_versions_the_build_and_every_backend(copy):
    shutil.copy(library.FILE, copy)
    lines = dict(line.split(maxsplit=1) for line in run(copy, "-m", "strf_cuda").splitlines())
    assert lines["strf_cuda"] == f"{strf_cuda.__version__}, {copy}"
    assert lines["torch"].startswith(f"{torch.__version__}, built ")
    assert lines["library"].startswith(f"{copy / library.FILE.name}, ")
    assert f"compiler {library.build_facts()['compiler']}" in lines["library"]


def test_the_bug_report_says_why_there_is_no_library(copy):
    lines = run(copy, "-m", "strf_cuda").splitlines()
    said = {words[1]: words[2] for words in (line.split(maxsplit=2) for line in lines) if words[0] == "backend"}
    reason = native(copy)
    triton = run(copy, "-c", "import strf_cuda; print(strf_cuda.backends()['triton'])").strip()  # in no interpreter
    assert said == {**backends(), "cpu": reason, "cuda": reason, "triton": triton}
    assert "library            none in use" in lines


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("count", [0, 1, 1000, 100_003])
def test_the_gpu_code_of_the_library_loads_and_runs(count):
    values = torch.randn(count, device="cuda")
    assert torch.equal(torch.ops.strf_cuda.probe(values), 2 * values)
