"""What running the CUDA kernels on the host shows: toy kernels with one fault each (tests/cuda_host/toys.cuh)."""

import re

import numpy as np
import pytest
import torch

import cuda_host
import literal_tf32
from cuda_host import RunError

pytestmark = pytest.mark.skipif(cuda_host.why_not() is not None, reason=str(cuda_host.why_not()))

SEEDS = range(10)


@pytest.fixture(scope="module")
def toys():
    cuda_host.forget_old_builds()
    with cuda_host.Workers(cuda_host.build_toys(sanitized=True), sanitized=True) as workers:
        yield workers


def numbers(count, dtype=np.float32):
    return np.arange(count, dtype=dtype)


def test_both_headers_name_the_same_functions():
    def names(path):
        return set(re.findall(r"^STRF_DEVICE \w+ (\w+)\(", path.read_text(), re.MULTILINE))

    device, host = (names(folder / "hardware.cuh") for folder in (cuda_host.ROOT / "csrc" / "cuda", cuda_host.SOURCES))
    assert len(device) > 25
    assert device - host == {"shared_address"}  # of the instructions' own operands
    assert host - device == {"round_to_bfloat16", "round_to_float16"}


# ---- Barriers, copies and collective operations ----------------------------------------------------------------------


def reversing(toys, function, fault, seed):
    """Whether `function` reversed the numbers of each block."""
    given = numbers(96 * 4 * 6)
    blocks = 2 if function == "reverse" else 1
    arguments = {"from": given, "blocks": blocks, "fault": fault, "seed": seed, "shared_bytes": 2 * 96 * 16}
    expected = given.reshape(blocks, -1)[:, ::-1].ravel()
    return np.array_equal(toys.run(function, **arguments), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("function", ["reverse", "reverse_in_stages"])
def test_an_intact_kernel_computes_the_same_in_every_order(toys, function, seed):
    assert reversing(toys, function, "nothing", seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("function", "fault"),
    [
        ("reverse", "no sync_threads"),
        ("reverse", "copy before the others have read"),
        ("reverse_in_stages", "no sync_threads"),
        ("reverse_in_stages", "copy_wait for too few"),
        ("reverse_in_stages", "copy before the others have read"),
    ],
)
def test_a_missing_barrier_or_wait_changes_the_result_in_every_order(toys, function, fault, seed):
    assert not reversing(toys, function, fault, seed)


@pytest.mark.parametrize("fault", ["no copy_wait", "no copy_commit"])
def test_a_copy_that_is_never_waited_for_is_reported(toys, fault):
    with pytest.raises(RunError, match=r"Reverse, block \d: thread \d+ ends without having waited for 3 of its async"):
        reversing(toys, "reverse", fault, 0)


def test_threads_that_wait_for_one_that_has_ended_are_reported(toys):
    with pytest.raises(RunError, match="no thread can go on: thread 0 to 39 at sync_threads, thread 40 at its end, "):
        reversing(toys, "reverse", "a thread ends early", 0)


def warp_sums(toys, fault, seed):
    given = numbers(64)
    sums = toys.run("warp_sums", **{"from": given, "fault": fault, "seed": seed})
    expected = given.reshape(2, 32).sum(1).repeat(32)
    return [np.array_equal(found, expected) for found in sums]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_missing_warp_barrier_changes_the_result_in_every_order(toys, seed):
    assert warp_sums(toys, "nothing", seed) == [True, True]
    assert warp_sums(toys, "no sync_warp", seed) == [False, True]


def test_lanes_at_different_operations_are_reported(toys):
    with pytest.raises(
        RunError, match=r"WarpSums, block 0: thread \d+ is at \w+ while thread \d+ of its warp is at \w"
    ):
        warp_sums(toys, "another operation", 0)


def test_a_lane_at_a_barrier_that_the_others_do_not_reach_is_reported(toys):
    with pytest.raises(RunError, match="no thread can go on: .* thread 33 at sync_threads, thread 34 to 63 at shuffle"):
        warp_sums(toys, "a lane at another barrier", 0)


def test_more_shared_memory_than_the_device_has_is_refused(toys):
    with pytest.raises(RunError, match="asks for 65552 bytes of shared memory, the device has 65536"):
        toys.run("reverse", **{"from": numbers(384), "blocks": 1, "fault": "nothing", "seed": 0, "shared_bytes": 65552})


# ---- Memory ----------------------------------------------------------------------------------------------------------


def reach(toys, fault):
    return toys.run("reach", **{"from": numbers(21) + 1, "fault": fault})


def test_what_is_not_written_is_nan_and_what_a_copy_leaves_out_is_zero(toys):
    found = reach(toys, "nothing")
    np.testing.assert_array_equal(found[:5], [1, np.nan, 2, 21, 0])  # shared memory before anything wrote to it
    assert np.isnan(found[5:]).all()


@pytest.mark.parametrize(
    ("fault", "report"),
    [
        ("read beyond", "AddressSanitizer: heap-buffer-overflow .*READ of size 4"),
        ("write beyond", "AddressSanitizer: heap-buffer-overflow .*WRITE of size 4"),
        ("write beyond shared memory", "AddressSanitizer: heap-buffer-overflow .*WRITE of size 4"),
        ("copy beyond", "AddressSanitizer: heap-buffer-overflow .*READ of size 8"),
        ("unaligned load_global", "thread 0 gives load_global an address that is not aligned to 16 bytes"),
        ("unaligned copy_async", "copies 8 bytes asynchronously to or from an address that is not aligned to them"),
        ("more valid bytes than there are", "copies 9 of 8 bytes asynchronously"),
    ],
)
def test_an_access_that_a_gpu_would_fault_on_is_reported(toys, fault, report):
    with pytest.raises(RunError) as caught:
        reach(toys, fault)
    assert re.search(report, str(caught.value), re.DOTALL)


# ---- Fragments -------------------------------------------------------------------------------------------------------

DEPTH = {"bfloat16": 16, "float16": 16, "tf32": 8, "float64": 4}


def random_product(kind, seed=0):
    """Small whole numbers, whose products and sums are exact: a [M, K], b [K, 8], acc [M, 8] as tensors."""
    random = torch.Generator().manual_seed(seed)
    rows = 8 if kind == "float64" else 16
    return [torch.randint(-8, 9, size, generator=random).double() for size in
            ((rows, DEPTH[kind]), (DEPTH[kind], 8), (rows, 8))]  # fmt: skip


def multiply(toys, kind, a, b, acc, fault="nothing"):
    element = {"tf32": torch.float32}.get(kind, getattr(torch, kind, None))
    sums = torch.float64 if kind == "float64" else torch.float32
    arrays = [cuda_host.array_of(tensor.to(dtype)) for tensor, dtype in ((a, element), (b, element), (acc, sums))]
    return torch.from_numpy(toys.run("product", a=arrays[0], b=arrays[1], acc=arrays[2], kind=kind, fault=fault))


@pytest.mark.parametrize("kind", DEPTH)
def test_fragments_lie_as_documented(toys, kind):
    a, b, acc = random_product(kind)
    assert torch.equal(multiply(toys, kind, a, b, acc).double(), acc + a @ b)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "tf32"])
def test_swapped_words_of_a_fragment_give_another_result(toys, kind):
    a, b, acc = random_product(kind)
    assert not torch.equal(multiply(toys, kind, a, b, acc, "swapped words").double(), acc + a @ b)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "tf32"])
def test_sums_of_the_tensor_cores_are_cut_off_and_not_rounded(toys, kind):
    a, b, acc = (torch.zeros_like(matrix) for matrix in random_product(kind))
    acc[:] = torch.tensor([1.0, -1.0]).repeat(4)
    a[:, 0], b[0] = 2.0**-12, torch.tensor([1.9, -1.9]).repeat(4) * 2.0**-12
    assert torch.equal(multiply(toys, kind, a, b, acc).double(), acc)


def test_tf32_operands_lose_their_lowest_bits(toys):
    a, b, acc = random_product("tf32")
    sloppy = a.float().view(torch.int32) | 0x1FFF
    assert torch.equal(multiply(toys, "tf32", sloppy.view(torch.float32), b, acc).double(), acc + a @ b)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_come_as_documented_and_only_behind_a_barrier(toys, transposed, seed):
    given = numbers(256, np.uint16)
    expected = given.reshape(4, 8, 8).transpose(0, 2, 1) if transposed else given.reshape(4, 8, 8)
    for fault, right in (("nothing", True), ("no sync_warp", False)):
        found = toys.run("matrices", **{"from": given, "transposed": transposed, "fault": fault, "seed": seed})
        assert np.array_equal(found, expected) == right


# ---- Numbers ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def converted(toys):
    """x and what the header's functions make of it."""
    random = np.random.default_rng(0)
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    scaled = random.standard_normal(20000) * 2.0 ** random.integers(-30, 17, 20000)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 65519.0, 65520.0, 1e-40, 3.4e38, 2.0**-25, 1 + 2.0**-9, 1 + 2.0**-11]
    x = np.concatenate([halves, scaled.astype(np.float32), np.array(special, np.float32)])
    return torch.from_numpy(x), {name: torch.from_numpy(a) for name, a in toys.run("numbers", **{"from": x}).items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_rounded_as_pytorch_does(converted, dtype):
    x, results = converted
    name = str(dtype).removeprefix("torch.")
    words = results[f"pack_{name}"].view(torch.int32)
    high, low = (words >> 16).to(torch.int16).view(dtype), words.to(torch.int16).view(dtype)
    torch.testing.assert_close(high, x.to(dtype), rtol=0, atol=0, equal_nan=True)
    assert (low == 1).all()
    torch.testing.assert_close(results[f"from_{name}"], x.to(dtype).float(), rtol=0, atol=0, equal_nan=True)


def test_tf32_is_rounded_to_nearest_with_ties_away_from_zero(converted):
    x, results = converted
    torch.testing.assert_close(
        results["to_tf32"].view(torch.float32), literal_tf32.to_tf32(x), rtol=0, atol=0, equal_nan=True
    )


def test_the_exponential_is_as_inexact_as_the_instruction_and_flushes(converted):
    x, results = converted
    exact = torch.exp2(x.double())
    found = results["exp2_fast"].double()
    assert (found[exact < 2.0**-126] == 0).all() and found[x.isnan()].isnan().all()
    normal = (exact >= 2.0**-126) & (exact < 2.0**127)
    error = (found - exact).abs()[normal] / exact[normal] * 2**23
    assert 0.9 < error.max() < 3
    whole = normal & (x == x.round())
    assert torch.equal(found[whole], exact[whole])
