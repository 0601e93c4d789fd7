"""What Triton makes of the kernels for five kinds of GPU: registers, memory, instructions, and what is compiled again.

Needs Triton and no GPU. Compiling takes its time, so by default the types, sizes and GPUs are paired; the slow tests
compile all of them.
"""

import functools
import importlib.metadata
import itertools
import re
import tempfile
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest

pytest.importorskip("triton", reason="Triton is not installed; pip install triton brings it on Linux")

import cuda_code
import triton_code
from tools import triton_table
from tools.triton_table import STAGE_2, TWO_PASSES
from triton_code import TARGETS, TENSOR_CORES, TYPES, Compiled, Problem, maker

COSINE = dict(cosine=True, temperature=16.0)
STAGE_3 = Problem("bfloat16", batch=32, channels=256, frames=4, height=16, width=8, reduced=16)
STAGE_4 = Problem("bfloat16", batch=32, channels=512, frames=4, height=16, width=8, reduced=32)
BEFORE_STRIDE = TWO_PASSES._replace(backward=True)
RAGGED = Problem("bfloat16", batch=5, channels=40, frames=3, height=14, width=7, reduced=3)
SIZES = {
    "stage 2": STAGE_2,
    "stage 3": STAGE_3,
    "stage 4, cosine": STAGE_4._replace(**COSINE),
    "before the stride": BEFORE_STRIDE,
    "ragged, cosine": RAGGED._replace(**COSINE),
    "averages": STAGE_2._replace(average=True),
    "averages, ragged": RAGGED._replace(average=True),
    "channels-last": STAGE_2._replace(channels_last=True),
    "channels-last, before the stride, cosine": BEFORE_STRIDE._replace(channels_last=True, **COSINE),
    "one path, sharp cosine": STAGE_3._replace(paths=1, cosine=True, temperature=100.0),
    "negative temperature": STAGE_3._replace(temperature=-4.0),
    "unaligned": STAGE_2._replace(offset=1),
}
# What is compiled by default, beside what the table shows.
PAIRS = [
    ("sm_80", "float64", "stage 3"),
    ("sm_80", "tf32", "channels-last, before the stride, cosine"),
    ("sm_80", "float16", "averages, ragged"),
    ("sm_90", "float16", "averages"),
    ("sm_90", "tf32", "stage 2"),
    ("sm_90", "float32", "stage 4, cosine"),
    ("sm_100", "float16", "negative temperature"),
    ("sm_100", "float32", "one path, sharp cosine"),
    ("sm_100", "float64", "ragged, cosine"),
    ("sm_120", "tf32", "averages, ragged"),
    ("sm_120", "float64", "unaligned"),
    ("gfx942", "float16", "before the stride"),
    ("gfx942", "float32", "stage 3"),
    ("gfx942", "tf32", "channels-last"),
]
EVERYTHING = list(itertools.product(TARGETS, TYPES, SIZES))


# ---- What must hold -------------------------------------------------------------------------------------------------

PRODUCTS = (
    "reduce_channels", "masks_and_statistics", "statistics", "masks_of_statistics", "multiply", "multiply_transposed",
    "mask_averages", "pooled_gradient", "weight_gradient",
)  # fmt: skip
MASKS = ("masks_and_statistics", "statistics", "masks_of_statistics", "mask_averages", "pooled_gradient")
MOST_REGISTERS = {"cuda": 255, "hip": 512}
# Bytes of a block: what NVIDIA's GPUs of compute capability 8.6, 8.9 and 12.0 give, and a compute unit of AMD's has.
MOST_SHARED = {"cuda": 101_376, "hip": 65_536}
# The instructions that products are made of, as regular expressions. sm_100's UTCHMMA does not name its operands' type.
MULTIPLY = {
    "cuda": {
        "bfloat16": r"HMMA\.16816\.F32\.BF16|HGMMA\.\w+\.F32\.BF16|UTCHMMA.*",
        "float16": r"HMMA\.16816\.F32|HGMMA\.\w+\.F32|UTCHMMA.*",
        "tf32": r"HMMA\.1688\.F32\.TF32|HGMMA\.\w+\.F32\.TF32|UTCHMMA.*",
        "float32": r"FFMA2?\b.*",
        "float64": r"DMMA\b.*",
    },
    "hip": {
        "bfloat16": r"v_mfma_f32_\w+_bf16\w*",
        "float16": r"v_mfma_f32_\w+_f16",
        "tf32": r"v_mfma_f32_\w+_xf32",
        "float32": r"v_mfma_f32_\w+x[0-9]+_f32",
        "float64": r"v_mfma_f64_\w+_f64",
    },
}
EXPONENTIALS = {"cuda": r"MUFU\.EX2\b.*", "hip": r"v_exp_f32\w*"}
WIDE_LOADS = {"cuda": r"LDG(STS)?\..*\b128\b.*", "hip": r"(buffer|global)_load_dwordx4"}
FROM_FLOAT32 = {"cuda": r"F2F\.F64\.F32\b.*", "hip": r"v_cvt_f64_f32\w*"}
WARP = {"cuda": 32, "hip": 64}
NARROW_COPIES = {"cuda": r"LDGSTS\.(?!.*\b128\b).*", "hip": r"(buffer|global)_load_lds_.*"}


def multiplied_by(target: str, type: str) -> str:
    """The instructions that a type's products are made of; for later architectures float64's are no tensor cores'."""
    return r"DFMA\b.*" if type == "float64" and target in ("sm_100", "sm_120") else MULTIPLY[maker(target)][type]


def is_aligned(problem: Problem) -> bool:
    """Whether Triton can tell that rows begin at multiples of 16 bytes: it looks for sizes that 16 divides."""
    sizes = (problem.channels, problem.height * problem.width, problem.reduced * problem.paths)
    return problem.offset == 0 and not any(size % 16 for size in sizes)


def has_wide_tiles(compiled: Compiled, problem: Problem) -> bool:
    """Whether every thread has 16 bytes of the smallest tile."""
    launch = compiled.launch
    one, other = sorted(value for name, value in launch.blocks.items() if name.startswith("BLOCK"))[:2]
    threads = WARP[maker(compiled.target)] * launch.option("num_warps")
    return one * other * TYPES[problem.type].itemsize >= 16 * threads


def complaints(compiled: Compiled, problem: Problem) -> list[str]:
    """What is wrong with the code of one of the kernels of a problem, a sentence each."""
    if compiled.error:
        return [f"it does not compile: {compiled.error}"]
    kernel, made_by = compiled.launch.kernel, maker(compiled.target)
    wrong = []
    if compiled.registers > MOST_REGISTERS[made_by]:
        wrong.append(f"{compiled.registers} registers, of which there are {MOST_REGISTERS[made_by]}")
    if compiled.shared > MOST_SHARED[made_by]:
        wrong.append(f"{compiled.shared:,} bytes of shared memory, of which a block has {MOST_SHARED[made_by]:,}")
    wrong += [f"{name} is {value}, not 0" for name, value in compiled.spilled.items() if value]
    expected = multiplied_by(compiled.target, problem.type) if kernel in PRODUCTS else "nothing"
    if kernel in PRODUCTS and not compiled.matching(expected):
        wrong.append(f"no products by {expected}")
    tensor_cores = compiled.matching(TENSOR_CORES[made_by])
    if others := sorted(name for name in tensor_cores if not re.fullmatch(expected, name)):
        wrong.append(f"tensor cores used as {', '.join(others)}")
    if problem.type == "float64" and compiled.matching(FROM_FLOAT32[made_by]):
        wrong.append("numbers of float32 take part")
    if kernel in MASKS and problem.type != "float64" and not compiled.matching(EXPONENTIALS[made_by]):
        wrong.append("no powers of two of the soft-max")
    if kernel in PRODUCTS and is_aligned(problem) and has_wide_tiles(compiled, problem):
        if not compiled.matching(WIDE_LOADS[made_by]):
            wrong.append("no loads of 16 bytes")
        if narrow := compiled.matching(NARROW_COPIES[made_by]):
            wrong.append(f"asynchronous copies of less than 16 bytes: {', '.join(sorted(narrow))}")
    return wrong


@pytest.fixture(scope="module")
def pool():
    with triton_code.processes() as pool:
        yield pool


@pytest.fixture(scope="module")
def paired(pool):
    """The codes of PAIRS and of the table's part for bfloat16."""
    asked = [(target, SIZES[size]._replace(type=type)) for target, type, size in PAIRS]
    return triton_code.compile_all(pool, [*triton_table.asked(["bfloat16"]), *asked])


@pytest.fixture(scope="module")
def everything(pool):
    """The codes of EVERYTHING, of every configuration, and of the table."""
    asked = [(target, SIZES[size]._replace(type=type)) for target, type, size in EVERYTHING]
    asked += [(target, problem) for target in TARGETS for problem in covering()]
    return triton_code.compile_all(pool, [*asked, *triton_table.asked()])


# ---- The code -------------------------------------------------------------------------------------------------------


def wrong_in(compiled: dict[tuple[str, Problem], list[Compiled]]) -> str:
    """A line for everything that is wrong."""
    return "\n".join(
        f"{target}, {problem}, {code.launch}: {sentence}"
        for (target, problem), codes in compiled.items()
        for code in codes
        for sentence in complaints(code, problem)
    )


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_compile_fit_spill_nothing_and_multiply_on_tensor_cores(paired, target):
    found = {asked: codes for asked, codes in paired.items() if asked[0] == target}
    assert len(found) >= 4
    assert not (wrong := wrong_in(found)), wrong


def test_the_pairs_have_every_type_size_and_kernel(paired):
    assert {type for _, type, _ in PAIRS} | {"bfloat16"} == set(TYPES)
    assert {size for *_, size in PAIRS} == set(SIZES)
    names = {code.launch.kernel for codes in paired.values() for code in codes}
    assert names == {*PRODUCTS, "pool", "pool_gradient"}


@pytest.mark.slow
@pytest.mark.parametrize(("target", "type", "size"), EVERYTHING, ids=["-".join(names) for names in EVERYTHING])
def test_all_kernels_compile_fit_spill_nothing_and_multiply_on_tensor_cores(everything, target, type, size):
    asked = target, SIZES[size]._replace(type=type)
    assert not (wrong := wrong_in({asked: everything[asked]})), wrong


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_configuration_compiles_fits_and_spills_nothing(everything, target):
    assert not (wrong := wrong_in({(target, problem): everything[target, problem] for problem in covering()})), wrong


# ---- That nothing is left out ---------------------------------------------------------------------------------------

WIDE_GRID = [
    Problem(type, 2, channels, frames, *positions, reduced, cosine=cosine)
    for type in ("bfloat16", "tf32", "float32", "float64")
    for channels in (1, 16, 17, 40, 65, 100, 128, 200, 512)
    for positions in ((1, 1), (17, 1), (7, 5), (11, 6), (16, 8), (43, 3), (16, 16), (20, 20), (27, 19), (64, 32))
    for frames, reduced in ((1, 1), (4, 3), (2, 13), (4, 8), (7, 5), (8, 32))
    for cosine in (False, True)
]


def configurations(problem: Problem) -> set[tuple]:
    """A kernel with its blocks, for an arithmetic, of which the two half types have one for each similarity."""
    kind = f"half, {problem.cosine}" if problem.type in ("bfloat16", "float16") else problem.type
    return {(kind, launch.kernel, *launch.blocks.items()) for launch in triton_code.launched(problem)}


@functools.cache
def covering() -> list[Problem]:
    """Problems that have every configuration between them."""
    grid = itertools.product(
        ("bfloat16", "tf32", "float32", "float64"),
        (16, 32, 64, 128),
        ((4, 4), (8, 4), (8, 8), (16, 8), (16, 16), (32, 16), (64, 32)),
        (1, 4, 8, 16),
        (False, True),
    )
    had, found = set(), []
    for type, channels, positions, reduced, cosine in grid:
        problem = Problem(type, 2, channels, 4, *positions, reduced, cosine=cosine)
        if new := configurations(problem) - had:
            had |= new
            found.append(problem)
    return found


def test_no_configuration_is_left_uncompiled():
    compiled = set().union(*map(configurations, covering()))
    assert compiled == set().union(*map(configurations, WIDE_GRID))


# ---- What is compiled again -----------------------------------------------------------------------------------------

READ_X = {"reduce_channels", "multiply", "multiply_transposed", "weight_gradient"}
POOLS = {"pool", "pool_gradient"}
OTHER_WINDOWS = (1, 1, 1, 5, 3, 1, 1, 7, 7, 9, 1, 3)
# Calls one after the other, what each changes of the first, and the kernels that are compiled for it.
CALLS = {
    "the first": ({}, {*PRODUCTS, *POOLS} - {"statistics"}),
    "the same": ({}, set()),
    "fewer clips": (dict(batch=7), set()),
    "one clip": (dict(batch=1), set()),
    "clips in groups": (dict(batch=300), set()),
    "other windows": (dict(windows=OTHER_WINDOWS), set()),
    "another temperature": (dict(temperature=0.3), set()),
    "more channels": (dict(channels=256), set()),
    "another map of as many positions": (dict(height=16, width=32), set()),
    "a height that is no multiple of 16": (dict(height=31), POOLS),
    "x at an address that is no multiple of 16": (dict(offset=1), READ_X),
    "channels-last": (dict(channels_last=True), READ_X),
    "a negative temperature": (dict(temperature=-4.0), set(MASKS) - {"statistics"}),
    "averages": (dict(average=True), {*POOLS, *MASKS} - {"statistics"}),
    "cosines": (dict(cosine=True, temperature=16.0), {*POOLS, "masks_and_statistics", "pooled_gradient"}),
    "the sharpest whose maximum is bounded": (dict(cosine=True, temperature=64.0), set()),
    "sharper ones": (dict(cosine=True, temperature=65.0), set()),
    "the same after all of these": ({}, set()),
}


@pytest.fixture(scope="module")
def compiled_again(pool):
    problems = [STAGE_2._replace(**changes) for changes, _ in CALLS.values()]
    found = pool.submit(triton_code.specializations, "sm_90", problems).result()
    return dict(zip(CALLS, found, strict=True))


@pytest.mark.parametrize("name", CALLS)
def test_a_call_compiles_only_what_no_call_before_it_needed(compiled_again, name):
    assert set(compiled_again[name]) == CALLS[name][1]


# ---- The table ------------------------------------------------------------------------------------------------------


@pytest.fixture
def written():
    text = triton_table.PAGE.read_text(encoding="utf-8")
    version = importlib.metadata.version("triton")
    if f"Triton {version} " not in text:
        pytest.skip(f"Triton {version} is installed, and {triton_table.PAGE.name} is of another version")
    return text.partition(triton_table.SECONDS)[0]


def test_the_table_of_bfloat16_is_that_of_this_source(paired, written):
    assert triton_table.section("bfloat16", paired) in written, "python tools/triton_table.py writes it again"


@pytest.mark.slow
def test_the_whole_table_is_that_of_this_source(everything, written):
    version = importlib.metadata.version("triton")
    assert f"{triton_table.figures(version, everything)}\n" == written, "python tools/triton_table.py writes it again"


# ---- That mistakes are seen -----------------------------------------------------------------------------------------


def compile_with(target: str, problem: Problem, **changes) -> list[Compiled]:
    """The kernels of a problem with other blocks than those that were chosen."""
    from strf_cuda.backends.triton_kernels import blocks

    chosen = blocks.blocks_for
    with mock.patch.object(blocks, "blocks_for", lambda kernel, sizes: chosen(kernel, sizes) | changes):
        (codes,) = triton_code.Compiler(target)([functools.partial(triton_code.call, problem)])
    return codes


@pytest.mark.parametrize("target", ("sm_90", "gfx942"))
def test_a_kernel_that_spills_asks_for_too_much_or_does_not_compile_is_seen(pool, target):
    forward = STAGE_2._replace(backward=False)
    spilling = pool.submit(compile_with, target, forward, num_warps=1)
    large = pool.submit(compile_with, target, forward, num_stages=9)
    broken = pool.submit(compile_with, target, forward, BLOCK_C=24)
    for codes, kernel, sentence in (
        (spilling, "masks_and_statistics", "is [1-9][0-9]*, not 0"),
        (large, "multiply", "[0-9]{3},[0-9]{3} bytes of shared memory, of which"),
        (broken, "multiply", "it does not compile: .*power of 2"),
    ):
        (code,) = (code for code in codes.result() if code.launch.kernel == kernel)
        assert re.search(sentence, "; ".join(complaints(code, forward)), re.DOTALL)


def broken(code: Compiled, problem: Problem):
    """Codes with one thing wrong each."""

    def without(pattern):
        return replace(code, operations=code.operations - code.matching(pattern))

    by, kernel = maker(code.target), code.launch.kernel
    yield replace(code, error="OutOfResources: shared memory")
    yield replace(code, registers=MOST_REGISTERS[by] + 1)
    yield replace(code, shared=MOST_SHARED[by] + 16)
    for name in code.spilled:
        yield replace(code, spilled=code.spilled | {name: 8})
    if problem.type == "float64":
        yield replace(code, operations=code.operations + Counter({"F2F.F64.F32": 1, "v_cvt_f64_f32_e32": 1}))
    for name in {"cuda": ("HMMA.16816.F16", "HGMMA.64x64x16.F16"), "hip": ("v_mfma_f32_16x16x4_4b_f32",)}[by]:
        yield replace(code, operations=code.operations + Counter({name: 1}))
    if kernel in PRODUCTS:
        yield without(multiplied_by(code.target, problem.type))
    if kernel in PRODUCTS and is_aligned(problem) and has_wide_tiles(code, problem):
        yield without(WIDE_LOADS[by])
        narrow = {"cuda": "LDGSTS.E.BYPASS.64", "hip": "buffer_load_lds_dword"}[by]
        yield replace(code, operations=code.operations + Counter({narrow: 1}))
    if kernel in MASKS and problem.type != "float64":
        yield without(EXPONENTIALS[by])


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_is_wrong_with_a_kernel_s_code_is_complained_of(paired, target):
    for (made_for, problem), codes in paired.items():
        if made_for == target and (problem == STAGE_2 or problem.type == "float64"):
            for code in codes:
                known = complaints(code, problem)
                for wrong in broken(code, problem):
                    assert set(complaints(wrong, problem)) - set(known), wrong


def disassembled_in_two_ways(target: str) -> tuple[list[Counter], list[Counter]]:
    """The instructions of some kernels from nvdisasm, all at once, and from cuobjdump, one by one."""
    compiler = triton_code.Compiler(target)
    made = compiler.launches(functools.partial(triton_code.call, STAGE_2._replace(backward=False)))
    kernels = [item.kernel for item in made][:2]
    one_by_one = []
    for kernel in kernels:
        with tempfile.NamedTemporaryFile() as file:
            file.write(kernel.asm["cubin"])
            file.flush()
            text = triton_code.run_tool("cuobjdump", "-sass", file.name)
        (operations,) = cuda_code.parse_operations(text).values()
        one_by_one.append(operations)
    return triton_code.disassembled(target, kernels), one_by_one


@pytest.mark.parametrize("target", ("sm_80", "sm_100"))
def test_kernels_disassembled_at_once_are_as_cuobjdump_shows_them(pool, target):
    at_once, one_by_one = pool.submit(disassembled_in_two_ways, target).result()
    assert at_once == one_by_one and all(operations["EXIT"] for operations in at_once)


AMD = """
	s_load_dwordx4 s[4:7], s[0:1], 0x0
	buffer_load_dwordx4 v[2:5], v1, s[4:7], 0 offen
	v_mfma_f32_32x32x8_bf16 a[0:15], v[2:3], v[4:5], a[0:15]
	scratch_store_dword off, v9, off offset:4
	.vgpr_count: 7
    .private_segment_fixed_size: 8
    .sgpr_spill_count: 2
    .vgpr_count:     98
    .vgpr_spill_count: 3
"""


def test_recorded_assembly_for_amd_is_read_as_it_stands():
    kernel = SimpleNamespace(asm={"amdgcn": AMD}, metadata=SimpleNamespace(shared=4096))
    (code,) = triton_code.amd_codes("gfx942", [kernel])
    assert (code["registers"], code["shared"]) == (98, 4096)
    assert code["spilled"] == dict(vgpr_spill_count=3, private_segment_fixed_size=8, scratch=1)
    assert code["operations"]["buffer_load_dwordx4"] == code["operations"]["v_mfma_f32_32x32x8_bf16"] == 1
