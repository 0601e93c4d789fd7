"""Which backend serves a call, what is said where one cannot, and whether TF32 is allowed; on any machine."""

import ctypes
import ctypes.util
import importlib.metadata
import re
import subprocess
import sys
import types
import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from c_interface import Pool, Problem
from strf_cuda import InputError, backends, factorized_attention
from strf_cuda.backends import choice, cuda, library, native, triton

POOLS = [(1, 1, 1), (1, 3, 3)]
TOO_OLD = "NVIDIA T4 has compute capability 7.5, but the kernels need 8.0 or newer"
needs_operators = pytest.mark.skipif(not library.HAS_OPERATORS, reason=str(library.REASON))


@pytest.fixture(autouse=True)
def _ask_again():
    """Answers that are kept for the life of a process are not kept from one test to the next."""
    kept = (
        cuda._why_not_here,
        cuda._why_not_on,
        triton._why_not_here,
        triton._why_not_on,
        triton._multiplies_in_tf32,
    )
    for answer in kept:
        answer.cache_clear()
    yield
    for answer in kept:
        answer.cache_clear()


@pytest.fixture
def machine(monkeypatch):
    """Pretends a machine on which the kernels run on device 0 and not on device 1; returns the devices asked for."""
    asked = []

    def supports(index):
        asked.append(index)
        return None if index == 0 else TOO_OLD

    monkeypatch.setattr(library, "CUDA_REASON", None)
    monkeypatch.setattr(library, "cuda_code_runs", supports)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    return asked


@pytest.fixture
def precision():
    """Executes a statement that changes PyTorch's settings; they are as before afterwards."""

    def restore():
        torch.backends.fp32_precision = "none"
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.fp32_precision = "none"

    restore()
    yield lambda statements: exec(statements, {"torch": torch})
    restore()


@pytest.fixture
def gpus(machine, monkeypatch):
    """Pretends that Triton compiles for GPUs on that machine: device 0 is an H200 and device 1 a T4."""
    properties = [
        types.SimpleNamespace(name="NVIDIA H200", major=9, minor=0),
        types.SimpleNamespace(name="NVIDIA T4", major=7, minor=5),
    ]
    monkeypatch.setattr(triton, "INTERPRETED", False)
    monkeypatch.setitem(choice.DEVICES, "triton", ("cuda", "a GPU"))
    monkeypatch.setattr(choice, "AUTOMATIC", list(choice.DEVICES))

    def of_device(device):
        return properties[device if isinstance(device, int) else device.index]

    monkeypatch.setattr(torch.cuda, "get_device_properties", of_device)
    monkeypatch.setattr(importlib.metadata, "version", {"triton": "3.6.0"}.__getitem__)
    return properties


class Calls(TorchDispatchMode):
    """Notes the calls of our operators, by name, and their arguments."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "strf_cuda":
            self.seen.append((function._opname, args))
        return function(*args, **(kwargs or {}))


def fakes(device="cuda", dtype=torch.float32, channels_last=False):
    """x and weight without memory, for use inside a FakeTensorMode."""
    memory_format = torch.channels_last_3d if channels_last else torch.contiguous_format
    x = torch.empty(2, 8, 3, 5, 4, device=device, dtype=dtype, memory_format=memory_format)
    return x, torch.empty(2, 2, 8, device=device, dtype=dtype)


def calls(**options):
    """Names and arguments of the operators that factorized_attention calls for fake tensors."""
    backend = options.pop("backend", "auto")
    with FakeTensorMode(), torch.no_grad(), Calls() as noted:
        x, weight = fakes(**options)
        assert factorized_attention(x, weight, POOLS, backend=backend).device == x.device
    return noted.seen


def test_the_kernels_are_usable_where_the_library_says_so_of_the_current_device(machine):
    assert backends()["cuda"] == "usable"
    assert machine == [0]


def test_what_the_library_says_of_the_current_device_is_passed_on(machine, monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert backends()["cuda"] == TOO_OLD


def test_a_device_is_asked_for_once(machine):
    for _ in range(3):
        assert cuda.why_not(0) is None and cuda.why_not(1) == TOO_OLD
    assert machine == [0, 1]


def _raise_old_driver():
    raise RuntimeError("The NVIDIA driver on your system is too old (found version 11000).\nPlease update it.")


@pytest.mark.parametrize(
    ("where", "name", "value", "sentence"),
    [
        (
            library,
            "CUDA_REASON",
            "the operator library was not built: no cmake",
            "the operator library was not built: no",
        ),
        (torch.version, "cuda", None, r"PyTorch \S+ was built without CUDA; install one that was built for it"),
        (torch.cuda, "device_count", lambda: 0, "PyTorch finds no CUDA device here; nvidia-smi tells"),
        (
            torch.cuda,
            "init",
            _raise_old_driver,
            r"PyTorch cannot use the CUDA device: .* too old \(found version 11000\)",
        ),
    ],
    ids=["library", "torch", "devices", "driver"],
)
def test_what_is_missing_is_said_in_one_sentence(machine, monkeypatch, where, name, value, sentence):
    monkeypatch.setattr(where, name, value)
    said = backends()["cuda"]
    assert said != "usable" and "\n" not in said
    with pytest.raises(InputError, match=f"^backend cuda is not usable here: {sentence}"):
        factorized_attention(torch.zeros(1, 8, 1, 2, 2), torch.zeros(2, 2, 8), POOLS, backend="cuda")
    assert calls() == []  # "auto" goes on to the reference
    assert machine == []


@pytest.mark.skipif(library.REASON is not None, reason=str(library.REASON))
def test_a_library_without_cuda_code_says_why_it_was_built_so(monkeypatch):
    facts = {**library.build_facts(), "cuda": "no nvcc was found"}
    monkeypatch.setattr(library, "build_facts", lambda: facts)
    assert library._why_without_cuda() == "the operator library was built without CUDA code: no nvcc was found"
    facts["cuda"] = "built"
    assert library._why_without_cuda() is None


@pytest.mark.skipif(library.CUDA_REASON is not None, reason=str(library.CUDA_REASON))
@pytest.mark.skipif(ctypes.util.find_library("cuda") is not None, reason="there is a CUDA driver")
def test_the_library_itself_says_that_there_is_no_driver():
    assert library.cuda_code_runs(0) == "there is no CUDA driver on this machine"


@needs_operators
def test_auto_takes_the_first_backend_that_runs_on_the_tensors_device(machine):
    assert [name for name, _ in calls(device="cuda:0")] == ["forward"]
    assert calls(device="cuda:1") == []
    assert machine == [0, 1]


@needs_operators
@pytest.mark.parametrize("dtype", native.DTYPES, ids=str)
@pytest.mark.parametrize("usable", [True, False])
def test_auto_on_the_cpu_does_not_ask_for_cuda(machine, monkeypatch, usable, dtype):
    monkeypatch.setattr(library, "REASON", None if usable else "not built")
    expected = native.NATIVE if usable else None
    x, weight = torch.empty(1, 8, 2, 2, 2, dtype=dtype), torch.empty(1, 2, 8, dtype=dtype)
    assert choice.operators("auto", x, weight) is expected
    assert machine == []


def test_auto_leaves_other_devices_to_the_reference(machine):
    x, weight = (torch.empty(shape, device="meta") for shape in ((1, 8, 2, 2, 2), (1, 2, 8)))
    assert choice.operators("auto", x, weight) is None


TOO_LARGE = {
    "a sample of x": ((1, 8, 1, 20_000, 20_000), (1, 1, 8)),
    "a path of a sample, reduced channels * frames * positions,": ((1, 1, 1, 30_000, 30_000), (1, 1, 1)),
    "weight": ((1, 40_000, 1, 1, 1), (1, 60_000, 40_000)),
}


@needs_operators
@pytest.mark.parametrize("what", TOO_LARGE)
def test_what_the_kernels_cannot_index_is_named_and_left_to_the_next_backend(machine, what):
    with FakeTensorMode():
        x, weight = (torch.empty(shape, device="cuda:0") for shape in TOO_LARGE[what])
    assert choice.operators("auto", x, weight) is None
    sentence = f"{what} is too large for the CUDA kernels, which count within a sample in 32 bits"
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}; use backend auto$"):
        choice.operators("cuda", x, weight)


@pytest.mark.skipif(library.CUDA_REASON is not None, reason=str(library.CUDA_REASON))
@pytest.mark.parametrize("what", TOO_LARGE)
def test_the_library_refuses_the_same_sizes_in_the_same_words(what):
    (batch, *sizes), (paths, reduced, _) = TOO_LARGE[what]
    kernels = ctypes.CDLL(str(library.FILE))
    kernels.strf_cuda_workspace.restype = ctypes.c_char_p
    pools = (Pool * 4)(*[Pool(1, 1, 1, 0)] * 4)

    def said(sizes, reduced):
        problem = Problem(batch, *sizes, reduced, paths, pools, 1.0, 1, 0, 0)
        return kernels.strf_cuda_workspace(ctypes.byref(problem), 0, 1, ctypes.byref(ctypes.c_int64())) or b""

    x, weight = (torch.empty(shape, device="meta") for shape in TOO_LARGE[what])
    assert said(sizes, reduced).decode() == cuda.too_large(x, weight)
    assert b"too large" not in said([min(length, 8) for length in sizes], 1)


@needs_operators
def test_a_backend_that_is_asked_for_by_name_is_taken_or_refused(machine):
    assert [name for name, _ in calls(backend="cuda")] == ["forward"]
    with pytest.raises(InputError, match=f"^backend cuda is not usable here: {TOO_OLD}$"):
        calls(device="cuda:1", backend="cuda")
    sentence = "^backend cuda takes tensors on a CUDA device, but x is on cpu; move it or use backend auto$"
    with pytest.raises(InputError, match=sentence):
        factorized_attention(torch.zeros(1, 8, 1, 2, 2), torch.zeros(2, 2, 8), POOLS, backend="cuda")


@pytest.mark.skipif(backends()["cpu"] != "usable", reason=backends()["cpu"])
@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_the_cpu_backend_refuses_tensors_that_are_elsewhere(device):
    with pytest.raises(InputError, match=f"takes tensors on the CPU, but x is on {device}.*; move it or use backend"):
        calls(device=device, backend="cpu")


@needs_operators
@pytest.mark.parametrize("dtype", native.DTYPES, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_shapes_types_and_layouts_are_known_without_a_device(machine, dtype, channels_last):
    with FakeTensorMode(), torch.no_grad():
        x, weight = fakes(dtype=dtype, channels_last=channels_last)
        assert factorized_attention(x, weight, POOLS, backend="cuda").stride() == x.stride()
        options = ([1, 1, 1, 1, 3, 3], [0, 1], 4.0, False)
        y, maximum, normalizer = torch.ops.strf_cuda.forward(x, weight, *options)
        grad_x, grad_weight = torch.ops.strf_cuda.backward(
            torch.empty(x.shape, device=x.device, dtype=dtype), x, weight, maximum, normalizer, *options
        )
        for like_x in (y, grad_x):
            assert (like_x.device, like_x.dtype, like_x.shape, like_x.stride()) == (
                x.device,
                dtype,
                x.shape,
                x.stride(),
            )
        assert (grad_weight.device, grad_weight.dtype, grad_weight.stride()) == (x.device, dtype, weight.stride())
        for statistic in (maximum, normalizer):
            assert statistic.shape == (2, 2, 20) and statistic.is_contiguous() and statistic.device == x.device
            assert statistic.dtype == torch.promote_types(dtype, torch.float32)


TF32 = 5  # its place among the forward operator's arguments
SETTINGS = {
    "": False,
    "torch.set_float32_matmul_precision('high')": True,
    "torch.set_float32_matmul_precision('medium')": True,
    "torch.set_float32_matmul_precision('highest')": False,
    "torch.backends.cuda.matmul.allow_tf32 = True": True,
    "torch.backends.cuda.matmul.allow_tf32 = True; torch.set_float32_matmul_precision('highest')": False,
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'": True,
    "torch.backends.cuda.matmul.fp32_precision = 'ieee'": False,
    "torch.backends.fp32_precision = 'tf32'": True,
    "torch.backends.fp32_precision = 'tf32'; torch.backends.cuda.matmul.fp32_precision = 'ieee'": False,
    "torch.set_float32_matmul_precision('high'); torch.backends.cuda.matmul.fp32_precision = 'ieee'": False,
}


@needs_operators
@pytest.mark.parametrize("setting", SETTINGS)
def test_tf32_is_allowed_as_pytorch_is_told(machine, precision, setting):
    """test_gpu.py compares the same settings with what PyTorch's own products do."""
    with warnings.catch_warnings(action="ignore"):  # PyTorch announces the newer settings when the older ones are used
        precision(setting)
        ((_, arguments),) = calls()
    assert arguments[TF32] is SETTINGS[setting]


@needs_operators
@pytest.mark.parametrize(
    "options",
    [{"dtype": torch.bfloat16}, {"dtype": torch.float16}, {"dtype": torch.float64}, {"device": "cpu"}],
    ids=str,
)
def test_tf32_is_for_float32_on_cuda_alone(machine, precision, options):
    precision("torch.set_float32_matmul_precision('high')")
    ((_, arguments),) = calls(**options)
    assert arguments[TF32] is False


@needs_operators
def test_autocast_to_a_half_type_needs_no_tf32(machine, precision):
    precision("torch.set_float32_matmul_precision('high')")
    torch.set_autocast_enabled("cuda", True)  # as torch.autocast does, but also where there is no CUDA
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        ((_, arguments),) = calls()
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", torch.float16)
    assert arguments[0].dtype == torch.bfloat16 and arguments[TF32] is False


@needs_operators
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_keeps_the_setting_of_its_export(machine, precision, strict):
    class Unit(torch.nn.Module):
        def forward(self, x, weight):
            return factorized_attention(x, weight, POOLS)

    for word, allowed in (("highest", False), ("high", True)):
        precision(f"torch.set_float32_matmul_precision({word!r})")
        with FakeTensorMode(), torch.no_grad():
            program = torch.export.export(Unit(), fakes(), strict=strict)
        (node,) = [node for node in program.graph.nodes if "strf_cuda" in str(node.target)]
        assert node.args[TF32] is allowed


def test_importing_the_operator_does_not_import_the_compiler():
    script = "import sys, strf_cuda.functional; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@needs_operators
def test_a_compiled_call_follows_the_setting(machine, precision):
    flags = []

    def keep(graph, inputs):
        flags.extend(node.args[TF32] for node in graph.graph.nodes if "strf_cuda" in str(node.target))
        return graph.forward

    torch._dynamo.reset()
    function = torch.compile(lambda x, weight: factorized_attention(x, weight, POOLS), fullgraph=True, backend=keep)
    with FakeTensorMode(), torch.no_grad():
        for word in ("highest", "high", "highest"):
            precision(f"torch.set_float32_matmul_precision({word!r})")
            function(*fakes())
    assert flags == [False, True]  # the third call finds the first one's graph


# ---- Triton ---------------------------------------------------------------------------------------------------------


def test_auto_takes_triton_where_the_cuda_kernels_do_not_run(gpus, monkeypatch):
    assert backends()["triton"] == "usable"
    x, weight = fakes_on("cuda:0")
    assert choice.operators("auto", x, weight) is native.NATIVE
    monkeypatch.setattr(library, "CUDA_REASON", "the operator library was not built: no cmake")
    cuda._why_not_here.cache_clear()
    assert choice.operators("auto", x, weight) is triton.OPERATORS
    assert choice.operators("triton", x, weight) is triton.OPERATORS
    assert choice.operators("auto", *fakes_on("cuda:1")) is None
    with pytest.raises(InputError, match="^backend triton takes tensors on a GPU, but x is on cpu; move it or use"):
        choice.operators("triton", torch.empty(1, 8, 1, 2, 2), torch.empty(1, 2, 8))


def test_auto_never_takes_the_interpreter(monkeypatch):
    monkeypatch.setattr(library, "REASON", "not built")
    x, weight = torch.empty(1, 8, 2, 2, 2), torch.empty(1, 2, 8)
    assert choice.operators("auto", x, weight) is None


def fakes_on(device):
    with FakeTensorMode():
        return fakes(device=device)


def _no_triton(name):
    raise importlib.metadata.PackageNotFoundError(name)


@pytest.mark.parametrize(
    ("where", "name", "value", "sentence"),
    [
        (importlib.metadata, "version", _no_triton, "Triton is not installed; pip install triton brings it on Linux"),
        (
            importlib.metadata,
            "version",
            lambda name: "3.5.1",
            "Triton 3.5.1 is installed, but 3.6 or newer is needed; pip install -U triton",
        ),
        (torch.version, "cuda", None, r"PyTorch \S+ was built without CUDA or ROCm; install one that was built for"),
        (torch.cuda, "device_count", lambda: 0, "PyTorch finds no GPU here$"),
        (
            torch.cuda,
            "current_device",
            lambda: 1,
            "NVIDIA T4 has compute capability 7.5, but Triton needs 8.0 or newer",
        ),
    ],
    ids=["no-triton", "old", "torch", "devices", "capability"],
)
def test_what_triton_misses_is_said_in_one_sentence(gpus, monkeypatch, where, name, value, sentence):
    monkeypatch.setattr(where, name, value)
    said = backends()["triton"]
    assert "\n" not in said and re.match(sentence, said)
    with pytest.raises(InputError, match=f"^backend triton is not usable here: {sentence}"):
        choice.operators("triton", torch.empty(1, 8, 1, 2, 2), torch.empty(1, 2, 8))


def test_amd_has_triton_and_tf32_where_there_are_such_products(gpus, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "7.2")
    assert backends()["triton"] == "usable" and "was built without CUDA" in backends()["cuda"]
    assert choice.operators("auto", *fakes_on("cuda:0")) is triton.OPERATORS
    for index, name in enumerate(("gfx942:sramecc+:xnack-", "gfx90a")):
        gpus[index].gcnArchName = name
    assert triton._multiplies_in_tf32(torch.device("cuda:0"))
    assert not triton._multiplies_in_tf32(torch.device("cuda:1"))


TOO_LARGE_FOR_TRITON = {
    "a sample of x": ((1, 8, 1, 20_000, 20_000), (1, 1, 8)),
    "a path of a sample, reduced channels * frames * positions,": ((1, 1, 1, 16_000, 10_000), (1, 8, 1)),
    "the reduction of a sample": ((1, 1, 64, 2_000, 1_000), (4, 5, 1)),
    "a mask, positions * positions,": ((1, 1, 1, 216, 216), (1, 1, 1)),
    "weight": ((1, 40_000, 1, 1, 1), (1, 60_000, 40_000)),
}


@pytest.mark.parametrize("what", TOO_LARGE_FOR_TRITON)
def test_what_triton_s_kernels_cannot_index_is_named_and_left_to_the_next_backend(gpus, monkeypatch, what):
    monkeypatch.setattr(library, "CUDA_REASON", "not built")
    with FakeTensorMode():
        x, weight = (torch.empty(shape, device="cuda:0") for shape in TOO_LARGE_FOR_TRITON[what])
    assert choice.operators("auto", x, weight) is None
    sentence = f"{what} is too large for the Triton kernels, which count within a sample in 32 bits"
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}; use backend auto$"):
        choice.operators("triton", x, weight)
