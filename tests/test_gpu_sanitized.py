"""compute-sanitizer over the CUDA kernels: memory, races, uninitialised memory, barriers; and over PyTorch's calls.

PyTorch's calls are watched on every backend that runs on a GPU, so that Triton's kernels are checked too.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import strf_cuda
from gpu_backends import NOT_ON_A_GPU, ON_A_GPU, REASONS

ROOT = Path(__file__).resolve().parent.parent
PROBLEMS = 180
# The sanitizer's last line when it found nothing; racecheck has words of its own.
CLEAN = {
    "memcheck": r"ERROR SUMMARY: 0 errors",
    "racecheck": r"RACECHECK SUMMARY: 0 hazards displayed \(0 errors, 0 warnings\)",
    "initcheck": r"ERROR SUMMARY: 0 errors",
    "synccheck": r"ERROR SUMMARY: 0 errors",
}


def find(program):
    """The path of a program of the CUDA toolkit, or None."""
    folders = [os.environ.get(name, "") + "/bin" for name in ("CUDA_HOME", "CUDA_PATH")]
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join([*folders, "/usr/local/cuda/bin"]))


NVCC, SANITIZER = find("nvcc"), find("compute-sanitizer")
if not ON_A_GPU:
    pytest.skip(f"no backend runs on a GPU here: {NOT_ON_A_GPU}", allow_module_level=True)
if not SANITIZER:
    pytest.skip("compute-sanitizer not found; it comes with the CUDA toolkit", allow_module_level=True)
pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """gpu_sanitized.cu with all kernels, compiled for this device."""
    if "cuda" not in ON_A_GPU:
        pytest.skip(f"the CUDA kernels are not usable here: {REASONS['cuda']}")
    if not NVCC:
        pytest.skip("nvcc not found; it comes with the CUDA toolkit")
    folder = tmp_path_factory.mktemp("sanitized")
    architecture = "-arch=sm_{}{}".format(*torch.cuda.get_device_capability())
    flags = [architecture, "-std=c++17", "-O2", "-lineinfo", f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc' / 'cuda'}"]
    sources = [*sorted((ROOT / "csrc/cuda").glob("*.cu")), ROOT / "csrc/check.cpp", ROOT / "tests/gpu_sanitized.cu"]
    objects = [folder / f"{source.name}.o" for source in sources]
    running = [
        subprocess.Popen([NVCC, *flags, "-c", source, "-o", out], stderr=subprocess.PIPE, text=True)
        for source, out in zip(sources, objects, strict=True)
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    subprocess.run([NVCC, architecture, *objects, "-o", folder / "kernels"], check=True)
    return folder / "kernels"


def sanitized(tool, *command, **environment):
    """The finished process of the command under a tool of the sanitizer; its status is 9 when something is found."""
    done = subprocess.run(
        [SANITIZER, "--tool", tool, "--error-exitcode", "9", *command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert "COMPUTE-SANITIZER" in done.stdout, done.stdout
    if "Device not supported" in done.stdout:
        pytest.skip(f"compute-sanitizer cannot watch this device: {done.stdout.strip().splitlines()[-1]}")
    return done


@pytest.mark.parametrize("tool", CLEAN)
def test_a_planted_mistake_is_found(program, tool):
    done = sanitized(tool, program, tool)
    assert done.returncode == 9 and not re.search(CLEAN[tool], done.stdout), done.stdout


@pytest.mark.parametrize(
    ("tool", "words"), [*((tool, []) for tool in CLEAN), ("memcheck", ["poisoned"])], ids=lambda value: "".join(value)
)
def test_the_kernels_run_clean(program, tool, words):
    done = sanitized(tool, program, *words)
    assert done.returncode == 0 and re.search(CLEAN[tool], done.stdout), done.stdout[:20_000]
    assert f"\n{PROBLEMS} problems\n" in f"\n{done.stdout}"


CALLS = """
import sys
import torch
from strf_cuda import factorized_attention
for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
    for layout, similarity in ((torch.contiguous_format, "cosine"), (torch.channels_last_3d, "dot")):
        x = torch.randn(2, 24, 3, 9, 7).to("cuda", dtype).contiguous(memory_format=layout).requires_grad_()
        weight = (torch.randn(4, 3, 24) / 5).to("cuda", dtype).requires_grad_()
        pools = [(1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3)]
        options = dict(similarity=similarity, backend=sys.argv[1])
        y = factorized_attention(x, weight, pools, pool=["max", "avg", "avg", "max"], **options)
        y.backward(torch.ones_like(y))
        assert x.grad.cpu().isfinite().all() and weight.grad.cpu().isfinite().all()
print("all computed")
"""
BEHIND_THE_END = """
import torch, triton
import triton.language as tl

@triton.jit
def write(out, BLOCK: tl.constexpr):
    tl.store(out + tl.arange(0, BLOCK), 1.0)

write[(1,)](torch.empty(512, device="cuda"), 1024)
torch.cuda.synchronize()
"""


def in_python(tool, file, code, *words):
    """A script under a tool, each of its tensors an allocation of its own, so that one that is too small is found."""
    file.write_text(code)  # Triton reads kernels from files
    no_api_errors = ("--report-api-errors", "no")  # PyTorch tries what some drivers do not have
    folder = str(Path(strf_cuda.__file__).parent.parent)
    environment = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "PYTHONPATH": folder}
    return sanitized(tool, *no_api_errors, sys.executable, file, *words, **environment)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
@pytest.mark.parametrize("backend", ON_A_GPU)
def test_pytorch_s_calls_run_clean(backend, tool, tmp_path):
    done = in_python(tool, tmp_path / "calls.py", CALLS, backend)
    assert done.returncode == 0 and re.search(CLEAN[tool], done.stdout), done.stdout[:20_000]
    assert "all computed" in done.stdout


@pytest.mark.skipif("triton" not in ON_A_GPU, reason=str(REASONS["triton"]))
def test_a_mistake_planted_in_a_triton_kernel_is_found(tmp_path):
    done = in_python("memcheck", tmp_path / "mistake.py", BEHIND_THE_END)
    assert done.returncode != 0 and "Invalid __global__ write" in done.stdout, done.stdout[:20_000]
