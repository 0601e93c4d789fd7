"""The CPU kernels by their C interface: each instruction-set level, the exponential, rounding, memory and threads."""

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from c_interface import Pool, Problem
from strf_cuda.backends.library import FILE
from strf_cuda.backends.reference import factorized_attention_reference, pool_positions, reduce_channels

ROOT = Path(__file__).parent.parent
TYPES = {torch.float64: 0, torch.float32: 1, torch.bfloat16: 2, torch.float16: 3}
WINDOWS = [(1, 1, 1), (3, 1, 1), (1, 3, 3), (1, 5, 5)]

TASK = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
RUN = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)


class Threads(ctypes.Structure):
    _fields_ = [("threads", ctypes.c_int32), ("run", RUN)]


@RUN
def _one_after_the_other(count, task, context):
    TASK(task)(0, count, context)


@pytest.fixture(scope="module")
def library():
    if not FILE.exists():
        pytest.skip(f"{FILE.name} is not built here: python -m strf_cuda says why")
    library = ctypes.CDLL(str(FILE))
    library.strf_cpu_workspace.restype = ctypes.c_int64
    return library


def levels(library):
    return range(library.strf_cpu_best_level() + 1)


def run(
    library, x, weight, kinds=(0, 0, 0, 0), *, grad=None, level=0, threads=1, temperature=2.0, dtype=None, cosine=False
):
    """Everything that forward and backward write, from a workspace full of NaN, one part of the work at a time."""
    batch, channels, frames, height, width = x.shape
    paths, reduced, _ = weight.shape
    last = not x.is_contiguous()
    pools = (Pool * 4)(*[Pool(*window, kind) for window, kind in zip(WINDOWS[:paths], kinds, strict=False)])
    kind = TYPES[dtype or x.dtype]
    problem = Problem(batch, channels, frames, height, width, reduced, paths, pools, temperature, kind, last, 0, cosine)
    parts = Threads(threads, _one_after_the_other)
    out = {name: torch.full_like(x, torch.nan) for name in ("y", "grad_x")}
    out |= {
        name: torch.full((batch, paths, height * width), torch.nan, dtype=x.dtype) for name in ("maximum", "normalizer")
    }
    out["grad_weight"] = torch.full_like(weight, torch.nan)
    grad = torch.ones_like(x) if grad is None else grad

    def pointers(*names):
        given = {"x": x, "weight": weight, "grad": grad, **out}
        return [ctypes.c_void_p(given[name].data_ptr()) for name in names]

    def workspace(backward):
        count = library.strf_cpu_workspace(ctypes.byref(problem), threads, backward)
        memory = torch.full((count + 64,), 0xFF, dtype=torch.uint8)  # kept alive by the caller
        return memory, ctypes.c_void_p(-(-memory.data_ptr() // 64) * 64)

    common = (ctypes.byref(problem), level, ctypes.byref(parts))
    memory, at = workspace(0)
    library.strf_cpu_forward(*common, *pointers("x", "weight", "y", "maximum", "normalizer"), at)
    memory, at = workspace(1)
    names = ("grad", "x", "weight", "maximum", "normalizer", "grad_x", "grad_weight")
    library.strf_cpu_backward(*common, *pointers(*names), at)
    del memory
    return out


def make(shape, paths, reduced, dtype, channels_last, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)
    weight = (torch.randn(paths, reduced, shape[1], generator=random, dtype=torch.float64) * 0.2).to(dtype)
    return (x.contiguous(memory_format=torch.channels_last_3d) if channels_last else x), weight


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(2, 8, 3, 4, 3), (1, 40, 2, 14, 7), (3, 33, 2, 13, 11), (2, 5, 1, 2, 2)])
def test_every_level_that_runs_here_computes_the_equations(library, level, channels_last, shape):
    if level not in levels(library):
        pytest.skip(f"this processor has no {['', 'AVX2', 'AVX-512'][level]}")
    x, weight = make(shape, 4, 3, torch.float64, channels_last)
    grad = torch.randn_like(x)
    for similarity, temperature in (("dot", 2.0), ("cosine", 16.0), ("cosine", 65.0)):  # the last is not bounded
        options = {"temperature": temperature, "cosine": similarity == "cosine"}
        out = run(library, x, weight, (0, 1, 0, 1), grad=grad, level=level, threads=3, **options)
        leaves = x.clone().requires_grad_(), weight.clone().requires_grad_()
        kinds = ["max", "avg", "max", "avg"]
        y = factorized_attention_reference(*leaves, WINDOWS, kinds, temperature, similarity)
        grad_x, grad_weight = torch.autograd.grad(y, leaves, grad)
        for name, expected in (("y", y.detach()), ("grad_x", grad_x), ("grad_weight", grad_weight)):
            message = f"{name}, {similarity}, {temperature}"
            torch.testing.assert_close(out[name], expected, rtol=1e-10, atol=1e-10, msg=message)
        bounded = temperature == 16.0  # the maximum is in units of the temperature's power of two
        assert (out["maximum"] == 16.0).all() if bounded else out["maximum"].unique().numel() > 1


@pytest.mark.parametrize("temperature", [4.0, 5.0, -2.7, 0.01, 1e-30])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_up_to_the_largest_logits_results_are_the_references(library, dtype, temperature):
    """Masks are one-hot then: a maximum that was rounded in another way than its logit would leave 0, inf or NaN."""
    x, weight = make((2, 12, 3, 5, 3), 3, 3, dtype, channels_last=False)  # with WINDOWS[3] positions would be equal
    kinds, wide = ("max", "max", "avg"), torch.promote_types(dtype, torch.float32)
    paths = [(x.double(), w.double(), pool, kind) for w, pool, kind in zip(weight, WINDOWS, kinds, strict=False)]
    pooled = torch.stack([pool_positions(reduce_channels(x, w), pool, kind) for x, w, pool, kind in paths])
    # Of each path the largest logit, or for float16 the largest of the reduction, is 0.9 of the largest number.
    largest = (0.9 * torch.finfo(wide).max) ** 0.5 / abs(temperature) ** 0.5
    scale = largest / pooled.square().sum((2, 3)).flatten(1).amax(1).sqrt()
    if dtype == torch.float16:
        scale = 0.9 * torch.finfo(dtype).max / torch.einsum("prc,bcthw->pbrthw", weight, x).abs().flatten(1).amax(1)
    x, weight = (x.double() * 64).to(dtype), (weight * (scale / 64)[:, None, None]).to(dtype)
    leaves = x.clone().requires_grad_(), weight.clone().requires_grad_()
    y = factorized_attention_reference(*leaves, WINDOWS[:3], kinds, temperature, "dot")
    expected = {"y": y.detach()}
    expected["grad_x"], expected["grad_weight"] = torch.autograd.grad(y.sum(), leaves)
    for level in levels(library):
        numbers = [0 if kind == "max" else 1 for kind in kinds]
        options = {"level": level, "temperature": temperature, "dtype": dtype}
        out = run(library, x.to(wide), weight.to(wide), numbers, **options)
        for name, tensor in expected.items():
            assert tensor.isfinite().all(), f"the reference's {name}"
            torch.testing.assert_close(out[name].to(dtype), tensor, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_same_number_of_threads_gives_the_same_bits(library, threads, channels_last):
    x, weight = make((3, 24, 2, 10, 9), 4, 2, torch.float32, channels_last)
    level = library.strf_cpu_best_level()
    for cosine in (False, True):
        first, second = (run(library, x, weight, level=level, threads=threads, cosine=cosine) for _ in range(2))
        for name in first:
            assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize(
    ("dtype", "lowest", "highest", "bound"), [(np.float32, -126, 127, 0.9), (np.float64, -1022, 1023, 0.9)]
)
def test_the_exponential_is_within_an_ulp_over_the_whole_range(library, dtype, lowest, highest, bound):
    """Within 0.9 units of the last place of the exact value; with fused multiply-add 0.66 were seen."""
    spread = [np.linspace(lowest, highest, 400_001), np.linspace(-2, 0, 200_001), np.arange(lowest, highest + 1)]
    exponents = np.concatenate(spread).astype(dtype)
    exact = np.exp2(exponents.astype(np.longdouble))
    for level in levels(library):
        powers = exponential(library, level, exponents)
        error = np.abs(powers - exact) / exact / np.finfo(dtype).eps
        assert error.max() < bound, f"level {level}: {error.max()} at {exponents[error.argmax()]}"


@pytest.mark.parametrize(("dtype", "lowest"), [(np.float32, -126), (np.float64, -1022)])
def test_the_exponential_below_the_range_is_zero_or_nan(library, dtype, lowest):
    exponents = np.array([-np.inf, -1e30, lowest - 1, 0.0, -0.0, np.nan], dtype)
    expected = np.array([0, 0, 0, 1, 1, np.nan], dtype)
    for level in levels(library):
        np.testing.assert_array_equal(exponential(library, level, exponents), expected)


def exponential(library, level, exponents):
    powers = np.empty_like(exponents)
    kind = TYPES[torch.float64 if exponents.dtype == np.float64 else torch.float32]
    address = [array.ctypes.data_as(ctypes.c_void_p) for array in (exponents, powers)]
    library.strf_cpu_exp2(level, kind, ctypes.c_int64(exponents.size), *address)
    return powers


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_reduction_is_rounded_to_the_half_type(library, dtype):
    """With one channel and weight 1 the reduction is x itself, so rounding x beforehand must change nothing."""
    edges = torch.tensor([1 + 2**-9, 1 + 3 * 2**-9, 1 + 2**-12, 1e-6, 3e-8, 6.1e-5, -1.0009765, 0.3333])
    x = torch.cat([edges, torch.randn(52, generator=torch.Generator().manual_seed(1))]).view(1, 1, 2, 6, 5)
    weight = torch.ones(4, 1, 1)
    for level in levels(library):
        rounded = run(library, x, weight, level=level, dtype=dtype)
        beforehand = run(library, x.to(dtype).float(), weight, level=level)
        exact = run(library, x, weight, level=level)
        for name in ("maximum", "normalizer"):
            assert torch.equal(rounded[name], beforehand[name])
            assert not torch.equal(rounded[name], exact[name])


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_the_kernels_run_clean_under(sanitizer, tmp_path):
    compiler = shutil.which("g++")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("needs g++ on x86-64")
    flags = ["-std=c++17", "-O1", "-g", "-fno-math-errno", "-fno-trapping-math", f"-fsanitize={sanitizer}"]
    flags += ["-fno-sanitize-recover=all"]
    wide = ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq"]
    builds = [
        [ROOT / "csrc" / "cpu" / "kernels.cpp", f"-DSTRF_CPU_LEVEL={level}", *extra]
        for level, extra in enumerate([[], ["-mavx2", "-mfma"], ["-mavx2", "-mfma", *wide]])
    ]
    builds += [[ROOT / "csrc" / "cpu" / "cpu.cpp"], [ROOT / "csrc" / "check.cpp"], [ROOT / "tests/cpu_sanitized.cpp"]]
    objects = [tmp_path / f"{index}.o" for index in range(len(builds))]
    running = [
        subprocess.Popen([compiler, *flags, "-c", *build, "-o", out], stderr=subprocess.PIPE, text=True)
        for build, out in zip(builds, objects, strict=True)
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    program = tmp_path / "kernels"
    subprocess.run([compiler, *flags, *objects, "-o", program, "-lpthread"], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "128 problems\n"
