"""What nvcc made of the CUDA kernels, and what they ask of a device: registers, memory, instructions, shared memory.

Needs the library's CUDA part and no GPU.
"""

import itertools
import shutil
import subprocess
from collections import Counter
from dataclasses import replace

import pytest

import cuda_code
from cuda_code import DEVICES, HALF_TYPES, TYPES, Bounds, Code, Problem, complaints
from cuda_host import LIMITS
from test_cuda_host import CASES
from test_cuda_host import TYPES as CUDA_HOST_TYPES
from tools import kernel_table

if cuda_code.manifest()["cuda"] != "built":
    pytest.skip(f"the library has no CUDA kernels: {cuda_code.manifest()['cuda']}", allow_module_level=True)
if not cuda_code.find_program("cuobjdump"):
    pytest.skip(
        "cuobjdump was found neither in CUDA nor in triton; pip install triton brings it", allow_module_level=True
    )

# All kernels of the library. One that is not listed, or one that is listed and not there, is a mistake.
KERNELS = ["double_values"]  # csrc/cuda/device.cu: shows that the library's code runs on a device
for name in TYPES:
    KERNELS += [f"{kind}<{name}>" for kind in ("PoolForward", "Columns", "Gradient", "Sum")]
    KERNELS += [f"LengthBackward<{name}>", f"PoolBackward<{name}>"]
    KERNELS += [f"Product<{name},64>", f"Multiply<{name},false>"]
for name in HALF_TYPES:
    KERNELS += [f"Product<{name},128>", f"Multiply<{name},true>"]
ARCHITECTURES = {name for name in cuda_code.manifest()["architectures"] if not name.endswith("ptx")}
POSITIONS = [(1, 1), (7, 1), (8, 4), (13, 5), (16, 8), (43, 3), (32, 16), (27, 19), (64, 32), (129, 127)]
SIZES = [(1, 1, 1), (3, 1, 1), (128, 4, 8), (520, 3, 33), (2048, 4, 128), (64, 16, 256)]  # channels, frames, reduced


@pytest.fixture(scope="module")
def launches(tmp_path_factory):
    """A function that asks the operator for its launches."""
    if not shutil.which("c++"):
        pytest.skip("needs a C++ compiler to run the code that plans launches")
    program = cuda_code.launch_program(tmp_path_factory.mktemp("launches"))
    return lambda asked: cuda_code.launches(program, asked)


@pytest.fixture(scope="module")
def extremes(launches):
    """Launches for problems small and large, on every device: [((problem, device, backward), launches)]."""
    sizes = itertools.product(TYPES, DEVICES.values(), POSITIONS, SIZES, (1, 300), (1, 4), (False, True), (False, True))
    asked = [
        (
            Problem(name, batch, channels, frames, *map_size, reduced, paths, 3, average, average, cosine=not average),
            device,
            backward,
        )
        for name, device, map_size, (channels, frames, reduced), batch, paths, average, backward in sizes
    ]
    return list(zip(asked, launches(asked), strict=True))


# ---- The code -------------------------------------------------------------------------------------------------------


def test_the_library_holds_exactly_the_kernels_that_are_listed():
    assert sorted(cuda_code.compiled()) == sorted(KERNELS)
    assert len(KERNELS) == 37


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_s_code_has_what_it_must_and_spills_nothing(kernel):
    codes = cuda_code.compiled()[kernel]
    assert set(codes) == ARCHITECTURES
    bounds = cuda_code.bounds().get(kernel, Bounds(256, 1))
    wrong = {f"sm_{name}": complaints(kernel, code, bounds) for name, code in codes.items()}
    assert {name: sentences for name, sentences in wrong.items() if sentences} == {}


# ---- What launches ask for ------------------------------------------------------------------------------------------


def test_the_operator_launches_every_kernel_and_no_other(extremes):
    launched = {launch.kernel for _, found in extremes for launch in found}
    assert sorted(launched | {"double_values"}) == sorted(KERNELS)


def test_the_cases_that_run_on_the_host_launch_every_kernel_and_every_strip(launches):
    names = dict(zip(CUDA_HOST_TYPES, ("Float64", "Float32", "Float32", "BFloat16", "Float16"), strict=True))
    asked = []
    for case, backward in itertools.product(CASES, (False, True)):
        shared, multiprocessors = LIMITS[case.limits]
        device = DEVICES["H200"]._replace(block_shared=shared, multiprocessors=multiprocessors)
        sizes = (*case.case.shape, case.case.reduced, len(case.case.operator.windows))
        problem = Problem(names[case.type], *sizes, channels_last=case.channels_last, tf32=case.type == "tf32")
        problem = problem._replace(cosine=case.case.operator.similarity == "cosine")
        asked.append((problem, device, backward))
    launched = {(launch.kernel, launch.strip) for found in launches(asked) for launch in found}
    expected = {(name, 0) for name in KERNELS if not name.startswith(("Multiply", "double_values"))}
    expected |= {(name, strip) for name in KERNELS if name.startswith("Multiply") for strip in (32, 64, 128)}
    assert launched == expected


def test_launches_have_the_bounds_that_the_kernels_were_compiled_for(extremes):
    launched = {(launch.kernel, launch.bounds) for _, found in extremes for launch in found}
    assert dict(launched) == cuda_code.bounds() and len(launched) == len(KERNELS) - 1


def test_every_launch_fits_the_device(extremes):
    for (problem, device, backward), found in extremes:
        for launch in found:
            assert 0 <= launch.shared <= device.block_shared, (problem, device, backward, launch)
            assert 1 <= launch.blocks < 2**31, (problem, device, backward, launch)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_holds_as_many_blocks_as_registers_are_kept_for(launches, device):
    asked = [(problem, DEVICES[device], backward) for problem in kernel_table.PROBLEMS for backward in (False, True)]
    for (problem, limits, _), found in zip(asked, launches(asked), strict=True):
        for launch in found:
            threads, blocks = launch.bounds
            assert blocks <= cuda_code.blocks_by_shared(limits, launch.shared), (problem, launch)
            assert blocks * threads <= limits.threads and blocks <= limits.blocks, (problem, launch)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", HALF_TYPES)
def test_of_512_positions_a_strip_has_at_least_64(launches, device, name):
    problem = next(p for p in kernel_table.PROBLEMS if p.type == name and p.height * p.width == 512)
    asked = [(problem, DEVICES[device], backward) for backward in (False, True)]
    strips = [launch.strip for found in launches(asked) for launch in found if launch.strip]
    assert len(strips) == 2 and min(strips) >= 64


# ---- The table ------------------------------------------------------------------------------------------------------


def test_the_table_of_kernels_is_that_of_this_build(launches):
    written = kernel_table.PAGE.read_text(encoding="utf-8")
    (compiler,) = cuda_code.compiler_versions()
    if f"nvcc {compiler}" not in written:
        pytest.skip(f"the kernels were compiled by nvcc {compiler}, and {kernel_table.PAGE.name} is of another version")
    if set(kernel_table.ARCHITECTURES) != ARCHITECTURES:
        pytest.skip(f"the kernels were compiled for {sorted(ARCHITECTURES)} only")
    again = "python tools/kernel_table.py writes it again"
    assert written == kernel_table.page(compiler, cuda_code.compiled(), cuda_code.bounds(), launches), again


# ---- That mistakes are seen -----------------------------------------------------------------------------------------

SPILLING = """
__global__ void spills(float* values) {
  float kept[96];
#pragma unroll
  for (int i = 0; i < 96; ++i) kept[i] = values[i * 256 + threadIdx.x];
#pragma unroll 1
  for (int turn = 0; turn < 7; ++turn)
#pragma unroll
    for (int i = 0; i < 96; ++i) kept[i] = kept[i] * kept[(i + 41) % 96] + turn;
#pragma unroll
  for (int i = 0; i < 96; ++i) values[i * 256 + threadIdx.x] = kept[i];
}
"""


def test_a_kernel_that_spills_is_seen_in_its_code(tmp_path):
    nvcc = cuda_code.find_program("nvcc")
    if not nvcc:
        pytest.skip("nvcc, which the library was built with, is not here")
    (tmp_path / "spills.cu").write_text(SPILLING)
    command = [nvcc, "-arch=sm_80", "-maxrregcount=40", "-fatbin", tmp_path / "spills.cu", "-o", tmp_path / "spills"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (code,) = cuda_code.compiled(tmp_path / "spills")["spills"].values()
    assert code.registers <= 40 and code.stack > 0 and code.count("LDL") > 0 and code.count("STL") > 0
    wrong = " ".join(complaints("spills", code, Bounds(256, 2)))
    assert "a stack frame of" in wrong and "loads and stores of local memory" in wrong


RESOURCES = """
Fatbin elf code:
================
arch = sm_80
Resource usage:
 Common:
  GLOBAL:0
 Function _Z1av:
  REG:255 STACK:24 SHARED:0 LOCAL:4 CONSTANT[0]:480 TEXTURE:0 SURFACE:0 SAMPLER:0

Fatbin elf code:
================
arch = sm_90a
Resource usage:
 Function _Z1av:
  REG:40 STACK:0 SHARED:1040 LOCAL:0 CONSTANT[0]:480 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
INSTRUCTIONS = """
	code for sm_80
		Function : _Z1av
	.headerflags	@"EF_CUDA_SM80"
        /*0000*/              @!P0 STL.64 [R1+0x8], R2 ;          /* 0x0000000801008387 */
                                                                  /* 0x0003e20000100a00 */
        /*0010*/                   LDG.E.128.CONSTANT R4, [R2.64] ;       /* 0x0000000402047981 */
        /*0020*/             @UP1 UIADD3 UR4, UR4, 0x1, URZ ;     /* 0x0000000104041890 */
        /*0030*/                   DMMA.8x8x4 R8, R4, R6, R8 ;    /* 0x000000060408723f */
        /*0040*/               @P1 LDL R2, [R1] ;                 /* 0x0000000001021983 */
		..........
		Function : _Z1bv
        /*0000*/                   EXIT ;                         /* 0x000000000000794d */
	code for sm_90a
		Function : _Z1av
        /*10000*/                  HMMA.16816.F32.BF16 R4, R8, R12, R4 ;  /* 0x0000000c0804723c */
"""


def test_recorded_output_of_cuobjdump_is_read_as_it_stands():
    assert cuda_code.parse_resources(RESOURCES) == {
        ("80", "_Z1av"): Code(registers=255, stack=24, local=4, shared=0),
        ("90a", "_Z1av"): Code(registers=40, stack=0, local=0, shared=16),
    }
    found = cuda_code.parse_operations(INSTRUCTIONS)
    spilled = {"STL.64": 1, "LDG.E.128.CONSTANT": 1, "UIADD3": 1, "DMMA.8x8x4": 1, "LDL": 1}
    assert found == {
        ("80", "_Z1av"): spilled,
        ("80", "_Z1bv"): {"EXIT": 1},
        ("90a", "_Z1av"): {"HMMA.16816.F32.BF16": 1},
    }
    code = Code(40, 0, 0, 0, found["80", "_Z1av"])
    assert [code.count(*parts) for parts in (("LDG", "128"), ("LDG", "64"), ("STL",), ("LD",))] == [1, 0, 1, 0]


def broken(kernel, code, bounds):
    """Codes and bounds with one thing wrong each."""

    def without(removed):
        return replace(code, operations=Counter({name: n for name, n in code.operations.items() if not removed(name)}))

    yield replace(code, registers=256), bounds
    yield replace(code, registers=255), Bounds(256, 2)
    yield replace(code, stack=code.stack + 8), bounds
    yield replace(code, local=code.local + 8), bounds
    yield replace(code, shared=code.shared + 16), bounds
    for name in ("LDL.LU.64", "STL", "HMMA.16816.F16", "HMMA.1688.F32.BF16", "HGMMA.64x64x16.F32.BF16"):
        yield replace(code, operations=code.operations + Counter({name: 1})), bounds
    for operation, *suffixes in cuda_code.required_operations(kernel).values():
        yield without(lambda name, need={operation, *suffixes}: need <= set(name.split("."))), bounds
    for product in cuda_code.products_in(code):
        yield without(lambda name, product=product: cuda_code.product_of(name) == product), bounds


@pytest.mark.parametrize("kernel", KERNELS)
def test_whatever_is_wrong_with_a_kernel_s_code_is_complained_of(kernel):
    bounds = cuda_code.bounds().get(kernel, Bounds(256, 1))
    for name, code in cuda_code.compiled()[kernel].items():
        known = complaints(kernel, code, bounds)
        for wrong, wrong_bounds in broken(kernel, code, bounds):
            assert set(complaints(kernel, wrong, wrong_bounds)) - set(known), (name, wrong, wrong_bounds)


def test_a_launch_that_no_device_allows_is_seen(launches):
    tiny = DEVICES["A100"]._replace(block_shared=16_384)
    (found,) = launches([(kernel_table.PROBLEMS[0], tiny, False)])
    assert max(launch.shared for launch in found) > tiny.block_shared
