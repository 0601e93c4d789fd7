"""The search for quicker blocks of the Triton kernels, by a scripted clock in Triton's interpreter."""

from types import SimpleNamespace

import pytest
import torch

from comparison import INTERPRETED
from strf_cuda import InputError, backends, factorized_attention
from strf_cuda import tuning as package_tuning
from strf_cuda.backends import triton
from strf_cuda.tuning import tune_triton

if not INTERPRETED:
    reason = "there is a GPU" if backends()["triton"] == "usable" else backends()["triton"]
    pytest.skip(f"Triton's kernels are not interpreted here: {reason}", allow_module_level=True)

from strf_cuda.backends.triton_kernels import blocks, launches, tuning
from strf_cuda.backends.triton_kernels.blocks import Sizes, block_e, blocks_for
from strf_cuda.backends.triton_kernels.launches import Launches

WINDOWS = ((3, 1, 1), (1, 3, 3))
KINDS = ("max", "avg")
ARITHMETICS = ("half", "split", "tf32", "float32", "float64")
SHAPE, REDUCED = (1, 24, 2, 5, 7), 9  # no size is a multiple of a block
PAPER = Sizes("half", C=128, N=512, Q=32, E=32)


@pytest.fixture(autouse=True)
def _untuned():
    before = dict(blocks.TUNED)
    yield
    blocks.TUNED.clear()
    blocks.TUNED.update(before)


def tensors(shape=SHAPE, reduced=REDUCED, dtype=torch.float32):
    """x, weight and the gradient of y."""
    random = torch.Generator().manual_seed(0)
    shapes = shape, (len(WINDOWS), reduced, shape[1]), shape
    return [torch.randn(sizes, generator=random).to(dtype) for sizes in shapes]


def problem(*, tf32=False, cosine=False, **given):
    """The launches of a problem and the gradient of its y."""
    x, weight, grad = tensors(**given)
    windows = [size for window in WINDOWS for size in window]
    return Launches(x, weight, windows, [0, 1], 4.0, tf32, cosine), grad


def attend(x, weight):
    return factorized_attention(x, weight, WINDOWS, pool=KINDS, backend="triton")


@pytest.fixture
def launched(monkeypatch):
    """The launches since the test began: the kernel's name and what it was launched with."""
    found, launch = [], launches.launch

    def noted(kernel, programs, *arguments, **options):
        found.append((kernel.fn.__name__, options))
        launch(kernel, programs, *arguments, **options)

    monkeypatch.setattr(launches, "launch", noted)
    return found


def by_script(launched, seconds):
    """A clock that reads `seconds(kernel, options)` for the last launch of a call, and the calls that it timed."""
    timed = []

    def time(call):
        del launched[:]
        call()
        timed.append(launched[-1])
        return seconds(*launched[-1])

    return time, timed


def test_the_search_goes_to_better_neighbours_and_stops_where_there_is_none(launched):
    passes, grad = problem()
    table = blocks_for("multiply_transposed", passes.sizes)
    assert (table["BLOCK_I"], table["num_warps"]) == (64, 8)

    def seconds(kernel, options):
        if kernel != "multiply_transposed":
            return 1.0
        return 1.0 + abs(options["BLOCK_I"] - 16) / 16 + abs(options["num_warps"] - 16) / 16

    time, timed = by_script(launched, seconds)
    found = tuning.tune(passes, grad, time)
    assert found == {"multiply_transposed": {**table, "BLOCK_I": 16, "num_warps": 16, "maxnreg": 128}}
    assert list(blocks.TUNED.items()) == [(("multiply_transposed", passes.sizes), found["multiply_transposed"])]
    # 64, 32, 16 and the warps are three steps, after the table's own time.
    path = [table, {**table, "BLOCK_I": 32}, {**table, "BLOCK_I": 16}]
    counts = [len(tuning.neighbours("multiply_transposed", passes.sizes, choice)) for choice in path]
    assert [kernel for kernel, _ in timed].count("multiply_transposed") == 1 + sum(counts)


def test_the_search_ends_after_so_many_steps(launched, monkeypatch):
    monkeypatch.setattr(tuning, "KERNELS", ["multiply_transposed"])
    passes, grad = problem()
    table = blocks_for("multiply_transposed", passes.sizes)

    def product(options):
        return options["BLOCK_I"] * options["BLOCK_J"] * options["num_warps"]

    def seconds(kernel, options):
        return product(options) if kernel == "multiply_transposed" else 1.0

    time, _ = by_script(launched, seconds)
    found = tuning.tune(passes, grad, time)["multiply_transposed"]
    assert product(found) * 2**tuning.STEPS == product(table)
    near = tuning.neighbours("multiply_transposed", passes.sizes, found)
    assert min(map(product, near)) < product(found)


def test_what_is_hardly_quicker_is_not_taken(launched):
    passes, grad = problem(shape=(1, 4, 2, 3, 2), reduced=2)
    tables = {name: blocks_for(name, passes.sizes) for name in tuning.KERNELS}
    slightly = lambda kernel, options: 1.0 if tables[kernel].items() <= options.items() else 0.985  # noqa: E731
    time, timed = by_script(launched, slightly)
    assert tuning.tune(passes, grad, time) == {} == blocks.TUNED
    assert len(timed) > 2 * len(tables)


def breaking(monkeypatch, kernel, broken, fault):
    """Has launches of `kernel` with options that are `broken` followed by `fault(arguments)`."""
    launch = launches.launch

    def faulty(function, programs, *arguments, **options):
        launch(function, programs, *arguments, **options)
        if function.fn.__name__ == kernel and broken(options):
            fault(arguments)

    monkeypatch.setattr(launches, "launch", faulty)


def _raise(arguments):
    raise RuntimeError("out of resource: shared memory")


@pytest.mark.parametrize(
    "fault",
    [_raise, lambda arguments: arguments[2].mul_(1.01), lambda arguments: arguments[2].fill_(float("nan"))],
    ids=["raises", "another-result", "nan"],
)
def test_a_choice_that_fails_or_computes_something_else_is_left_out(fault, launched, monkeypatch):
    monkeypatch.setattr(tuning, "KERNELS", ["multiply_transposed"])
    passes, grad = problem()
    table = blocks_for("multiply_transposed", passes.sizes)
    breaking(monkeypatch, "multiply_transposed", lambda options: options["BLOCK_I"] == 32, fault)

    def seconds(kernel, options):
        if kernel != "multiply_transposed":
            return 1.0
        return options["BLOCK_I"] - float(options["num_warps"] == 16) * 2

    time, timed = by_script(launched, seconds)
    assert tuning.tune(passes, grad, time) == {"multiply_transposed": {**table, "num_warps": 16, "maxnreg": 128}}
    assert all(options["BLOCK_I"] == 64 for kernel, options in timed if kernel == "multiply_transposed")


def test_a_wrong_choice_does_not_spoil_what_other_kernels_read(launched, monkeypatch):
    passes, grad = problem()
    table = blocks_for("mask_averages", passes.sizes)
    assert tuning.KERNELS.index("masks_and_statistics") < tuning.KERNELS.index("mask_averages")
    monkeypatch.setattr(tuning, "KERNELS", ["masks_and_statistics", "mask_averages"])
    last = tuning.neighbours("masks_and_statistics", passes.sizes, blocks_for("masks_and_statistics", passes.sizes))[-1]
    maxima = lambda arguments: arguments[1].fill_(float("nan"))  # noqa: E731
    breaking(monkeypatch, "masks_and_statistics", lambda options: last.items() <= options.items(), maxima)
    warps = 8 if table["num_warps"] == 4 else table["num_warps"] // 2

    def seconds(kernel, options):
        return 1.0 if kernel == "mask_averages" and options["num_warps"] == warps else 2.0

    time, _ = by_script(launched, seconds)
    assert tuning.tune(passes, grad, time) == {"mask_averages": {**table, "num_warps": warps}}


@pytest.fixture
def quicker_multiply(launched, monkeypatch):
    """Has `tune_triton` try two kernels and measure by a clock by which `multiply` is quickest with a BLOCK_N of 32."""

    def seconds(kernel, options):
        return 1.0 + abs(options["BLOCK_N"] - 32) if kernel == "multiply" else 1.0

    time, _ = by_script(launched, seconds)
    monkeypatch.setattr(tuning, "median_time", time)
    monkeypatch.setattr(tuning, "KERNELS", ["multiply", "multiply_transposed"])
    monkeypatch.setattr(
        package_tuning, "triton", SimpleNamespace(INTERPRETED=False, current=triton.current, launches=triton.launches)
    )


def test_what_is_found_serves_calls_of_these_sizes_in_any_batch_and_no_others(quicker_multiply, launched):
    x, weight, _ = tensors()
    before = attend(x, weight)
    found = tune_triton(x, weight.requires_grad_(), WINDOWS, pool=KINDS)
    assert list(found) == ["multiply"] and found["multiply"]["BLOCK_N"] == 32

    def block(x, weight):
        del launched[:]
        attend(x, weight)
        (used,) = {options["BLOCK_N"] for kernel, options in launched if kernel == "multiply"}
        return used

    assert block(x, weight) == block(x.repeat(3, 1, 1, 1, 1), weight) == 32
    torch.testing.assert_close(attend(x, weight), before)
    others = [(x.bfloat16(), weight.bfloat16()), (x[:, :20], weight[:, :, :20]), (torch.cat([x, x], 4), weight)]
    others += [(x, weight[:, :8]), (x[:, :, :1], weight)]
    assert [block(*other) for other in others] == [64] * len(others)


def test_a_second_search_begins_at_the_table_again(quicker_multiply):
    x, weight, _ = tensors(shape=(1, 4, 1, 6, 6), reduced=1)
    assert tune_triton(x, weight, WINDOWS) == tune_triton(x, weight, WINDOWS) != {}


def test_an_output_that_is_not_finite_is_refused(quicker_multiply):
    x, weight, _ = tensors(shape=(1, 4, 1, 2, 2), reduced=1)
    x[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"^the output for x and weight is not finite"):
        tune_triton(x, weight, WINDOWS)


def test_problems_that_cannot_be_measured_are_refused_in_words():
    x, weight, _ = tensors(shape=(1, 4, 1, 2, 2), reduced=1)
    refusals = [
        (
            (x[0], weight, WINDOWS),
            r"x has shape \(4, 1, 2, 2\), but it must be \[batch, channels, frames, height, width\]",
        ),
        ((x, weight, WINDOWS[:1]), "there are 1 pool windows for 2 paths; give one per path"),
        ((x, weight.double(), WINDOWS), "x is torch.float32 but weight is torch.float64"),
        ((x[:0], weight, WINDOWS), "x has a batch of 0, but blocks are measured by computing"),
        ((x, weight, WINDOWS), "TRITON_INTERPRET is set, and times of the interpreter mean nothing; unset it"),
    ]
    for arguments, sentence in refusals:
        with pytest.raises(InputError, match=f"^{sentence}"):
            tune_triton(*arguments)
    assert not blocks.TUNED


def test_choices_hold_within_the_block_alone():
    sizes = PAPER._replace(N=98)
    blocks.TUNED["pool", sizes] = kept = {"BLOCK": 256}
    with pytest.raises(RuntimeError), tuning.chosen({"pool": {"BLOCK": 512}, "multiply": {"BLOCK_N": 16}}, sizes):
        assert blocks_for("pool", sizes) == {"BLOCK": 512} and blocks_for("multiply", sizes) == {"BLOCK_N": 16}
        assert blocks_for("pool", PAPER)["BLOCK"] == 1024
        raise RuntimeError
    assert list(blocks.TUNED.items()) == [(("pool", sizes), kept)]


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("positions", [1, 12, 98, 128, 512, 2048])
def test_neighbours_differ_in_one_number_and_keep_what_must_stay(arithmetic, positions):
    sizes = PAPER._replace(arithmetic=arithmetic, N=positions)
    for kernel in tuning.KERNELS:
        table = blocks_for(kernel, sizes)
        near = tuning.neighbours(kernel, sizes, table)
        assert near
        for choice in near:
            assert list(choice) == list(table)
            if "maxnreg" in choice:  # as many as there are for all of a block's threads
                assert choice["maxnreg"] == min(table["maxnreg"], 65536 // (32 * choice["num_warps"]))
            ((name, value),) = (choice | {"maxnreg": 0}).items() - (table | {"maxnreg": 0}).items()
            assert name != "BLOCK_E" and (kernel, name) != ("masks_and_statistics", "BLOCK_I")
            assert choice.get("BLOCK_E", 0) in (0, block_e(sizes))
            if name == "num_stages":
                assert abs(value - table[name]) == 1 and 2 <= value <= 4 and kernel not in ("pool", "pool_gradient")
            else:
                assert value in (table[name] // 2, 2 * table[name])
                assert name != "num_warps" or 4 <= value <= 16
                assert not name.startswith("BLOCK_") or 16 <= value <= 128
                assert name != "BLOCK" or 256 <= value <= 4096


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("one_pass", [True, False])
def test_every_neighbour_of_every_kernel_computes_what_the_table_does(one_pass, dtype, monkeypatch):
    """Memory holds NaN until it is written, so that what a choice leaves out is seen."""
    monkeypatch.setattr(blocks, "one_pass", lambda sizes: one_pass)
    empty = Launches.empty
    nan = lambda tensor: tensor.fill_(float("nan") if tensor.is_floating_point() else -1)  # noqa: E731
    monkeypatch.setattr(Launches, "empty", lambda *sizes, **dtype: nan(empty(*sizes, **dtype)))
    passes, grad = problem(dtype=dtype, cosine=one_pass == (dtype == torch.float32))
    recorded = tuning.record([(passes, grad)])
    assert set(recorded) == set(tuning.KERNELS) - {"statistics" if one_pass else "masks_and_statistics"}
    for name, calls in recorded.items():
        kernel = tuning.Kernel(name, passes.sizes, calls, tuning.tolerance(passes))
        for choice in tuning.neighbours(name, passes.sizes, kernel.table):
            kernel.call(choice)


def test_the_kernels_are_all_that_the_table_has():
    assert set(tuning.KERNELS) == set(blocks._TABLE)
