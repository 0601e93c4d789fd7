"""The CUDA kernels, run on the CPU (tests/cuda_host), compute the operator and its gradients: the rule of tolerance.py.

Here the kernels are run in one order of the channels only, as each run takes long. The literal code keeps its several
orders, so its error, and with it what is allowed, is found as everywhere else; but of the kernels' own errors the one
order shows less than several would. The kernels run under AddressSanitizer and UndefinedBehaviorSanitizer.
"""

import dataclasses
import itertools
import math

import pytest
import torch

import cuda_host
import literal
import literal_tf32
import tolerance
from comparison import NAMES, Case, Operator, allowances, complaints
from pairwise import pairwise

pytestmark = pytest.mark.skipif(cuda_host.why_not() is not None, reason=str(cuda_host.why_not()))

TYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
PAPER = ((1, 1, 1), (3, 1, 1), (1, 1, 1), (1, 3, 3))
SIMILARITIES = ("dot", "cosine")
FACTORS = {
    "type": list(TYPES),
    "channels_last": [False, True],
    "map": [(1, 1), (2, 1), (5, 3), (31, 1), (11, 3), (8, 8), (14, 7), (127, 1), (16, 8), (13, 10), (20, 13), (1, 521)],
    "frames": [1, 2, 3, 4, 5],
    "channels": [3, 5, 8, 24, 33, 70, 130],
    "reduced": [1, 2, 3, 8, 16, 70],
    "windows": [
        ((1, 1, 1),),
        ((3, 1, 1), (1, 3, 3)),
        ((1, 5, 5), (3, 3, 3), (1, 1, 1)),
        ((7, 1, 1), (1, 9, 9), (5, 7, 7)),
        PAPER,
    ],
    "kinds": [("max",) * 4, ("avg",) * 4, ("max", "avg", "avg", "max")],
    "values": [("normal", 4.0), ("nearly equal", 300.0), ("grid", 4.0)],
    # By -2.7 even the logits of "grid" are rounded, in the literal code as well; above 64 cosines' bound is not taken.
    "temperature": [("dot", 4.0), ("dot", 0.0), ("dot", -2.7), ("cosine", 16.0), ("cosine", 64.5)],
    "limits": list(cuda_host.LIMITS),
    "offset": [0, 2, 4, 8],  # bytes from an aligned address; at least an element
    "batch": [1, 2, 3],
}
NEVER_MET = [("frames", 5, "reduced", 70)]  # E = 350


@dataclasses.dataclass(frozen=True)
class HostCase:
    type: str
    channels_last: bool
    case: Case
    limits: str = "sm_90"
    offset: int = 0

    @property
    def dtype(self) -> torch.dtype:
        return TYPES[self.type]

    def inputs(self):
        return self.case.inputs(self.dtype)

    def submit(self, workers, x, weight, grad, **options):
        """The run's future results, as arrays."""
        operator = self.case.operator
        offset = self.offset and max(self.offset, self.dtype.itemsize)
        return workers.submit(
            "run",
            **cuda_host.arguments_of(
                x,
                weight,
                operator.windows,
                operator.kinds,
                operator.temperature,
                operator.similarity,
                grad=grad,
                channels_last=self.channels_last,
                tf32=self.type == "tf32",
                limits=self.limits,
                offsets=(offset, offset, offset),
                **options,
            ),
        )

    def tensors(self, future) -> dict:
        return cuda_host.tensors_of(future.result(), self.dtype, channels_last=self.channels_last)

    def allowances(self, x, weight, grad):
        """As in comparison.py; for TF32 the literal code's operands are rounded to it."""
        function = literal_tf32.factorized_attention if self.type == "tf32" else literal.factorized_attention
        return allowances(self.case.operator, x, weight, grad, function)

    def complaints(self, results, allowed):
        """As in comparison.py; and where a bound stands for the columns' maxima, of one that is not."""
        wrong = complaints([results[name][None] for name in NAMES], allowed)
        operator, positions = self.case.operator, self.case.shape[3] * self.case.shape[4]
        if operator.similarity == "cosine" and operator.temperature <= 64 and positions > 1:
            bound, maximum = operator.temperature / math.log(2), results["maximum"]
            if not torch.allclose(maximum, torch.full_like(maximum, bound), rtol=1e-6):
                wrong.append(f"the saved maximum is {maximum.min()} to {maximum.max()} instead of {bound}")
        return wrong


def _sensible(factors) -> bool:
    """Whether it takes a few seconds, and the literal code's error is not a matter of luck."""
    height, width = factors["map"]
    positions, rows, paths = height * width, factors["reduced"] * factors["frames"], len(factors["windows"])
    products = factors["batch"] * positions**2 * (factors["channels"] * factors["frames"] + 4 * paths * rows)
    work = products * {"float64": 8, "float32": 6, "tf32": 2}.get(factors["type"], 1)
    loops = factors["batch"] * positions * paths * rows  # plain ones, for float64's truth
    if rows > 280 or work > 8e8 or (factors["type"] == "float64" and loops > 2e4):
        return False
    if factors["type"] in ("float64", "float32"):
        # The largest error of a few sums may be next to nothing, and so it is with few channels in "grid".
        few = factors["batch"] * positions * rows < 48 or paths * factors["reduced"] * factors["channels"] < 48
        return not few and (factors["values"][0] != "grid" or factors["channels"] >= 8)
    return True


def _grid():
    for factors in pairwise(FACTORS, _sensible):
        paths = len(factors["windows"])
        values, logits = factors["values"]
        similarity, temperature = factors["temperature"]
        case = Case(
            (factors["batch"], factors["channels"], factors["frames"], *factors["map"]),
            factors["reduced"],
            Operator(factors["windows"], factors["kinds"][:paths], temperature, similarity=similarity),
            values,
            logits,
        )
        yield HostCase(factors["type"], factors["channels_last"], case, factors["limits"], factors["offset"])


def _of_maxima(windows, cosine: bool) -> Operator:
    return Operator(windows, ("max",) * len(windows), *((16.0,) if cosine else ()), similarity=SIMILARITIES[cosine])


def _paper():
    """One sample at the paper's sizes with N up to 512, and N a little beyond with few channels."""
    for kind, limits in itertools.product(("bfloat16", "float16"), ("sm_90", "sm_87", "sm_90-full")):
        operator = _of_maxima(PAPER[3:], cosine=(kind == "float16") == (limits == "sm_87"))
        yield HostCase(kind, True, Case((1, 8, 1, 31, 17), 1, operator), limits=limits)
    for limits in ("sm_89", "sm_89-full", "sm_80-full"):
        operator = _of_maxima(PAPER, cosine=limits == "sm_89-full")
        yield HostCase("bfloat16", False, Case((1, 32, 4, 32, 16), 2, operator), limits=limits)
    yield from _stages("bfloat16", channels_last=True)
    yield from _stages("tf32", channels_last=False)
    # A strip of 64 positions in float64, which the grid does not meet.
    yield HostCase("float64", True, Case((2, 8, 2, 8, 8), 8, _of_maxima(PAPER[3:], cosine=True)), limits="sm_90-full")


def _stages(kind: str, channels_last: bool):
    for shape, reduced in (((1, 128, 4, 32, 16), 8), ((1, 256, 4, 16, 8), 16), ((1, 512, 4, 16, 8), 32)):
        operator = _of_maxima(PAPER, cosine=channels_last)
        yield HostCase(kind, channels_last, Case(shape, reduced, operator), limits="sm_90-full")


def _paper_stage_1():
    """N = 2048, the paper's largest; two samples, whose dM in TF32 is more than is held at a time."""
    for kind, channels_last in (("bfloat16", False), ("tf32", True)):
        yield HostCase(kind, channels_last, Case((2, 16, 2, 64, 32), 4, _of_maxima(PAPER[1:], cosine=channels_last)))


def name_of(case: HostCase) -> str:
    shape, operator = case.case.shape, case.case.operator
    layout = "last" if case.channels_last else "first"
    size = f"B{shape[0]}-C{shape[1]}-T{shape[2]}-{shape[3]}x{shape[4]}-r{case.case.reduced}"
    pools = f"{len(operator.windows)}{operator.kinds[0]}-{case.case.values.replace(' ', '')}"
    pools += f"-{operator.similarity}{operator.temperature:g}"
    return f"{case.type}-{layout}-{size}-{pools}-{case.limits}-{case.offset}"


# Of the grid every fourth case by default; all of them take minutes.
CASES = [*_paper(), *_grid()]
# The stages in the other layout, and N = 2048.
BY_DEFAULT = [*CASES[:12], *CASES[12::4]]
SLOW_CASES = [*_stages("bfloat16", channels_last=False), *_stages("tf32", channels_last=True), *_paper_stage_1()]
SLOW_CASES += [case for case in CASES if case not in BY_DEFAULT]
SLOW_CASES = [pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES]


@pytest.fixture(scope="module")
def workers():
    module = cuda_host.build_operator(sanitized=True)
    with cuda_host.Workers(module, sanitized=True) as workers:
        yield workers


@pytest.fixture(scope="module")
def under_way(workers, request):
    """The futures of all cases that this run of pytest has selected: they are computed while the truths are."""
    here = [item for item in request.session.items if item.path == request.path]
    items = [item for item in here if "under_way" in item.fixturenames]
    cases = [item.callspec.params["case"] for item in items]
    return {case: case.submit(workers, *case.inputs()) for case in cases}


@pytest.mark.parametrize(
    "case",
    BY_DEFAULT + SLOW_CASES,
    ids=name_of,
)
def test_y_and_gradients_are_within_twice_the_error_of_plain_pytorch(case, under_way):
    allowed = case.allowances(*case.inputs())
    results = case.tensors(under_way.pop(case))
    assert not case.complaints(results, allowed)


def test_the_grid_meets_every_pair_of_values():
    grid = list(pairwise(FACTORS, _sensible))
    missing = [
        (one, i, other, j)
        for one, other in itertools.combinations(FACTORS, 2)
        for i, j in itertools.product(FACTORS[one], FACTORS[other])
        if not any(factors[one] == i and factors[other] == j for factors in grid)
    ]
    assert missing == NEVER_MET


def _bits(tensors):
    return {name: tensor.contiguous().view(torch.uint8) for name, tensor in tensors.items()}


# Half of them, of every type and in both layouts, compare positions by cosines.
SMALL = [
    HostCase(
        kind,
        channels_last,
        Case((3, 24, 2, 7, 5), 3, Operator(PAPER, ("max", "avg", "avg", "max"), similarity=similarity)),
        "sm_80",
    )
    for index, kind in enumerate(TYPES)
    for channels_last, similarity in zip((False, True), SIMILARITIES[:: -1 if index % 2 else 1], strict=True)
]
LARGE = [
    HostCase(kind, index % 2 == 0, Case((2, 24, 2, 13, 10), 3, _of_maxima(PAPER, cosine=index % 2 == 1)))
    for index, kind in enumerate(TYPES)
]


@pytest.mark.parametrize("case", SMALL + LARGE, ids=name_of)
def test_the_order_in_which_threads_run_does_not_change_a_bit(case, workers):
    futures = [case.submit(workers, *case.inputs(), seed=seed) for seed in (0, 1)]
    one, other = (_bits(case.tensors(future)) for future in futures)
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("case", SMALL, ids=name_of)
def test_one_channel_gives_what_it_gives_beside_one_of_zeros(case, workers):
    """With one channel the literal code has only one order of its sums: its error would be a matter of luck."""
    x, weight, grad = (tensor.narrow(axis, 0, 2).clone() for tensor, axis in zip(case.inputs(), (1, 2, 1), strict=True))
    weight = weight * 3  # logits of some size again
    for tensor, axis in ((x, 1), (weight, 2), (grad, 1)):
        tensor.select(axis, 1).zero_()
    one = case.submit(workers, x[:, :1], weight[:, :, :1], grad[:, :1])
    two = case.tensors(case.submit(workers, x, weight, grad))
    names = ("y", "grad_x", "grad_weight")
    expected = [two[name].narrow(axis, 0, 1) for name, axis in zip(names, (1, 1, 2), strict=True)]
    tolerance.assert_equal_up_to_rounding([case.tensors(one)[name] for name in names], expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("case", SMALL, ids=name_of)
def test_nan_and_infinity_stay_in_their_sample(case, workers, value):
    x, weight, grad = case.inputs()
    spoiled = x.clone()
    spoiled[1, 2, 1, 3, 4] = value
    futures = [case.submit(workers, given, weight, grad) for given in (x, spoiled)]
    clean, other = (case.tensors(future) for future in futures)
    for name in ("y", "maximum", "normalizer", "grad_x"):
        for sample in (0, 2):
            assert torch.equal(clean[name][sample], other[name][sample]), name
    assert not other["y"][1].isfinite().all()
    assert not other["grad_weight"].isfinite().all()


@pytest.mark.parametrize("case", [case for case in SMALL if case.case.operator.similarity == "cosine"], ids=name_of)
def test_positions_without_any_length_are_as_exact_as_others(case, workers):
    x, weight, grad = case.inputs()
    x[:, :, :, :4] = 0  # more than the pools reach over
    allowed = case.allowances(x, weight, grad)
    results = case.tensors(case.submit(workers, x, weight, grad))
    assert not case.complaints(results, allowed)


@pytest.mark.parametrize("case", SMALL, ids=name_of)
def test_an_empty_batch_gives_nothing_and_no_gradient_of_the_weight(case, workers):
    x, weight, grad = case.inputs()
    results = case.tensors(case.submit(workers, x[:0], weight, grad[:0]))
    assert results["y"].shape == results["grad_x"].shape == (0, *x.shape[1:])
    assert torch.equal(results["grad_weight"], torch.zeros_like(weight))
