"""That the comparison would notice: kernels with one line spoiled fail it, or are ended by the emulator or a sanitizer.

Every barrier and every wait for copies in csrc/cuda is left out once. The other mutations are listed here: text of a
file and what takes its place. Where the text is no longer there, once, the test fails and says so: find the line that
has taken its part.
"""

import functools
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

import cuda_host
from comparison import Case, Operator
from cuda_host import ROOT, RunError
from test_cuda_host import PAPER, HostCase, name_of

pytestmark = pytest.mark.skipif(cuda_host.why_not() is not None, reason=str(cuda_host.why_not()))

MIXED = Operator(PAPER, ("max", "max", "avg", "avg"))
RAGGED = HostCase("bfloat16", False, Case((2, 70, 2, 14, 7), 8, MIXED))
CHANNELS_LAST = replace(RAGGED, channels_last=True)
TIES = replace(RAGGED, case=replace(RAGGED.case, values="grid"))
FLOAT = HostCase("tf32", False, Case((1, 70, 2, 20, 13), 3, MIXED))
EXACT_FLOAT = replace(FLOAT, type="float32")
COSINE_MIXED = replace(MIXED, temperature=16.0, similarity="cosine")
# 20 channels of 2 frames: the second tile of 32 rows has a part of a frame.
COSINE = replace(RAGGED, case=replace(RAGGED.case, reduced=20, operator=COSINE_MIXED))
SAME_LENGTH = HostCase(
    "float16", False, Case((3, 5, 3, 16, 8), 2, Operator(PAPER[3:], ("max",), 64.0, similarity="cosine"))
)


@dataclass(frozen=True)
class Mutation:
    file: str
    text: str
    instead: str = ""
    case: HostCase = RAGGED
    sanitized: bool = False  # only needed where an access beyond an array changes no result

    def spoil(self, csrc):
        path = csrc / "cuda" / self.file
        source = path.read_text()
        assert source.count(self.text) == 1, (
            f"{self.file} has this {source.count(self.text)} times, not once: {self.text}"
        )
        path.write_text(source.replace(self.text, self.instead))


MUTATIONS = {
    # Waits
    "product: for one stage too few": Mutation("product.cuh", "copy_wait<kStages - 2>();", "copy_wait<kStages - 1>();"),
    # Fragments and places
    "types: two words of a fragment swapped": Mutation(
        "types.cuh", "low.word[0], high.word[0], low.word[1],", "low.word[0], low.word[1], high.word[0],"
    ),
    "types: neighbours swapped in block order": Mutation(
        "types.cuh", "2 * tile + (group & 1);", "2 * tile + 1 - (group & 1);"
    ),
    "panel: two of four matrices swapped": Mutation(
        "panel.cuh",
        "row = first + lane % 16, chunk = lane / 16;",
        "row = first + lane / 16 * 8 + lane % 8, chunk = lane / 8 % 2;",
        CHANNELS_LAST,
    ),
    "panel: two of four transposed matrices swapped": Mutation(
        "panel.cuh",
        "k = lane % 8 + lane / 16 * 8, half = lane / 8 % 2;",
        "k = lane % 16, half = lane / 16;",
    ),
    "multiply: pieces of positions copied without being swapped": Mutation(
        "multiply.cuh", "(thread ^ swizzle_of_outer(row)) * kPieceBytes", "thread * kPieceBytes"
    ),
    "multiply: pieces of channels copied without being swapped": Mutation(
        "multiply.cuh",
        "(chunk ^ swizzle_of_k<Type>(row))) * kPieceBytes, width,",
        "chunk) * kPieceBytes, width,",
        CHANNELS_LAST,
    ),
    # Ragged edges
    "product: one k too many": Mutation("product.cuh", "params.k - place.k - k[i];", "params.k - place.k - k[i] + 1;"),
    "multiply: one position too many": Mutation(
        "multiply.cuh", "clamp(shape.positions - at);", "clamp(shape.positions - at + 1);", sanitized=True
    ),
    "columns: one column too many": Mutation(
        "columns.cuh", "lane % 4 == 0 && j < positions", "lane % 4 == 0 && j <= positions", FLOAT, sanitized=True
    ),
    "logits: one column too many": Mutation(
        "logits.cuh", "t * Type::kPiece + v < valid", "t * Type::kPiece + v <= valid", EXACT_FLOAT
    ),
    # Equations
    "columns: not all lanes' shares of delta": Mutation(
        "columns.cuh",
        "total += shuffle_xor(total, 2);\n        const int j = first + lane / 4 + 8 * half;\n        if (t",
        "const int j = first + lane / 4 + 8 * half;\n        if (t",
    ),
    "gradient: dM for its transpose": Mutation(
        "gradient.cuh", "params.grad_mask_transposed + at;", "params.grad_mask + at;"
    ),
    "gradient: the column's delta for the row's": Mutation(
        "gradient.cuh", "row_normalizer, -row_delta)", "row_normalizer, -delta[v])"
    ),
    "pool: the element's own window for the others'": Mutation(
        "pool.cuh",
        "/ Box::around(shape, pool, t, n).count()",
        "/ Box::around(shape, pool, frame, position).count()",
        EXACT_FLOAT,
    ),
    "pool: the last of equal maxima": Mutation("pool.cuh", "value > best ||", "value >= best ||", TIES),
    # Similarity cosine
    "pool: lengths of one channel too few": Mutation(
        "pool.cuh", "e < first + shape.reduced; ++e) {", "e < first + shape.reduced - 1; ++e) {", COSINE
    ),
    "pool: lengths of a tile's own channels alone": Mutation(
        "pool.cuh", "pooled(params, path_index, position + i, e, nullptr);", "Wide(0);", COSINE
    ),
    "pool: the gradient along a position kept": Mutation("pool.cuh", " - pooled(row) * along) *", ") *", COSINE),
    "plan: the sum over frames for the mean": Mutation(
        "plan.cuh", "temperature / problem.frames", "temperature", COSINE
    ),
    "plan: a bound of another base": Mutation(
        "plan.cuh", "shape.bounded ? problem.temperature * kLog2E", "shape.bounded ? problem.temperature", COSINE
    ),
    "plan: quotients rounded to half types": Mutation(
        "plan.cuh", "(averages || shape.cosine)", "averages", SAME_LENGTH
    ),
    "strip: sums of one path where others are read": Mutation("strip.cuh", "(bounded ? turn : 1)", "1", COSINE),
    "gradient: one of two terms with a bound": Mutation(
        "gradient.cuh", "* (along[v] + across[v]);", "* (along[v] + along[v]);", COSINE
    ),
    "sum: one part too few": Mutation("pool.cuh", "part < params.count", "part + 1 < params.count"),
}


_allowances = functools.cache(lambda case: case.allowances(*case.inputs()))


def _complaints(csrc, case, *, sanitized=False, **options):
    """What is wrong with the results of the kernels in `csrc`: of the comparison, the emulator or a sanitizer."""
    name = str(case.dtype).removeprefix("torch.")
    module = cuda_host.build_operator((name,), sanitized=sanitized, csrc=csrc)
    with cuda_host.Workers(module, sanitized=sanitized) as workers:
        try:
            results = case.tensors(case.submit(workers, *case.inputs(), **options))
        except RunError as error:
            return [str(error)]
    return case.complaints(results, _allowances(case))


def _complaints_with(mutation, folder):
    shutil.copytree(ROOT / "csrc", folder / "csrc")
    mutation.spoil(folder / "csrc")
    return _complaints(folder / "csrc", mutation.case, sanitized=mutation.sanitized)


@dataclass(frozen=True)
class Barrier:
    """One of the places where threads wait for each other or for copies."""

    file: str
    line: int
    text: str

    def complaints_without(self):
        """In the first case that has any: with all positions in one chunk, the same by cosines, with several chunks."""
        found = (_complaints(ROOT / "csrc", case, left_out=(self.file, self.line)) for case in (RAGGED, COSINE, FLOAT))
        return next(filter(None, found), [])

    def __str__(self):
        return f"{self.file}:{self.line}: {self.text}"


def _barriers():
    for path in sorted((ROOT / "csrc" / "cuda").glob("*.cuh")):
        if path.name != "hardware.cuh":
            for number, line in enumerate(path.read_text().splitlines(), 1):
                for text in re.findall(r"(?:sync_threads|sync_warp|copy_wait<.*>)\(\);", line):
                    yield Barrier(path.name, number, text)


BARRIERS = list(_barriers())


@pytest.fixture(scope="module")
def under_way(request, tmp_path_factory):
    """The futures of the complaints for the mutations that this run of pytest has selected, two at a time."""
    here = [item for item in request.session.items if item.path == request.path]
    items = [item for item in here if "under_way" in item.fixturenames]
    futures = {}
    with ThreadPoolExecutor(cuda_host.PROCESSES) as threads:
        for parameters in (item.callspec.params for item in items):
            if "barrier" in parameters:
                barrier = parameters["barrier"]
                futures[barrier] = threads.submit(barrier.complaints_without)
            else:
                name = parameters["name"]
                folder = tmp_path_factory.mktemp("mutation")
                futures[name] = threads.submit(_complaints_with, MUTATIONS[name], folder)
        yield futures


@pytest.mark.parametrize("case", {mutation.case: None for mutation in MUTATIONS.values()}, ids=name_of)
def test_the_kernels_as_they_are_pass(case):
    assert not _complaints(ROOT / "csrc", case)


def test_samples_whose_mask_gradients_do_not_fit_together_may_be_taken_in_groups(tmp_path):
    few = Mutation("plan.cuh", "kGradMaskBytes = 64 << 20", "kGradMaskBytes = 64 << 10")
    assert not _complaints_with(few, tmp_path)


def test_the_kernels_have_barriers_to_leave_out():
    assert len({(barrier.file, barrier.line) for barrier in BARRIERS}) == len(BARRIERS) > 10


@pytest.mark.parametrize("barrier", BARRIERS, ids=str)
def test_a_missing_barrier_is_noticed(barrier, under_way):
    assert under_way[barrier].result()


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_spoiled_kernel_is_noticed(name, under_way):
    assert under_way[name].result()
