"""Runs the operator on one backend, for y and both gradients, and the truth that tolerance.py compares them with."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

import literal
import oracle
import tolerance
from oracle_gradients import gradients
from strf_cuda import backends, factorized_attention
from strf_cuda.backends import triton

NAMES = ("y", "grad_x", "grad_weight")
ORDERS = {8: 16, 4: 16, 2: 2}  # by bytes of the type: a half type's results are hardly changed by the order of its sums


# Every backend that the package names and that can be used here joins every comparison. Those that cannot are one skip
# each, with the package's own reason, in test_operator.py.
ON_A_GPU = ("cuda",) if triton.INTERPRETED else ("cuda", "triton")
BACKENDS = [
    pytest.param(name, id=name, marks=[pytest.mark.gpu] if name in ON_A_GPU else [])
    for name, state in backends().items()
    if state == "usable"
]
# Where there is no GPU, Triton's kernels run in an interpreter, see triton_interpreter.py, and take 0.2 to 8 s a call.
INTERPRETED = [backend for backend in BACKENDS if backend.id == "triton" and triton.INTERPRETED]
FAST = [backend for backend in BACKENDS if backend not in INTERPRETED]


def device(backend: str) -> str:
    return "cuda" if backend in ON_A_GPU else "cpu"


def on_every_backend(*, interpreted: Iterable[Sequence[str]] | None = None, **factors):
    """Parametrizes a test by `backend` and by `factors` in all combinations, in the interpreter only in some.

    Args:
        interpreted: combinations that the interpreter takes part in, as ids in the order of the factors. Otherwise
            these are as few as have every value of the longest factor, and all combinations of the others.
        factors: for each name a sequence of values, or values by their ids.
    """
    values = {
        name: dict(given) if isinstance(given, dict) else {str(value): value for value in given}
        for name, given in factors.items()
    }
    every = list(itertools.product(*values.values()))
    few = list(_few(values) if interpreted is None else interpreted)
    assert set(few) <= set(every), set(few) - set(every)
    cases = [(backend, ids) for backend in FAST for ids in every] + [
        (backend, ids) for backend in INTERPRETED for ids in few
    ]
    return pytest.mark.parametrize(
        ["backend", *values],
        [
            pytest.param(
                *backend.values,
                *(values[name][value] for name, value in zip(values, ids, strict=True)),
                id="-".join((backend.id, *ids)),
                marks=backend.marks,
            )
            for backend, ids in cases
        ],
    )


def _few(values: dict[str, dict]) -> Iterator[tuple[str, ...]]:
    longest = max(values, key=lambda name: len(values[name]))
    others = list(itertools.product(*(ids for name, ids in values.items() if name != longest)))
    for index in range(max(len(values[longest]), len(others))):
        chosen = list(others[index % len(others)])
        chosen.insert(list(values).index(longest), list(values[longest])[index % len(values[longest])])
        yield tuple(chosen)


def on_backend(name: str) -> Callable:
    """factorized_attention on that backend, with the signature of literal.py's."""

    def function(x, weight, windows, kinds, temperature, similarity="dot"):
        return factorized_attention(
            x, weight, windows, pool=kinds, similarity=similarity, temperature=temperature, backend=name
        )

    return function


@dataclasses.dataclass(frozen=True)
class Operator:
    """What is computed: windows and pool kinds of the paths, temperature and similarity, which paths share one call."""

    windows: tuple[tuple[int, int, int], ...]
    kinds: tuple[str, ...]
    temperature: float = 4.0
    calls: tuple[tuple[int, int], ...] = ((0, 4),)  # first path and end of each call, made on the result before it
    similarity: str = "dot"

    def __call__(self, function: Callable, x, weight):
        """`function` has the signature of literal.py's."""
        for paths, windows, kinds in self._steps():
            x = function(x, weight[paths], windows, kinds, self.temperature, self.similarity)
        return x

    def on(self, backend: str) -> Callable:
        """x, weight -> y on that backend."""
        return lambda x, weight: self(on_backend(backend), x, weight)

    def in_long_double(self, x, weight, grad):
        """y, grad_x and grad_weight by plain loops, from and as arrays."""
        x, weight, grad = (array.astype(np.longdouble) for array in (x, weight, grad))
        steps = []
        for paths, windows, kinds in self._steps():
            arguments = (x, weight[paths], windows, kinds, self.temperature, self.similarity)
            steps.append((paths, arguments))
            x = oracle.factorized_attention(*arguments)
        grad_weight = np.zeros_like(weight)
        for paths, arguments in reversed(steps):
            grad, grad_weight[paths] = gradients(grad, *arguments)
        return x, grad, grad_weight

    def _steps(self):
        for paths in (slice(*call) for call in self.calls):
            yield paths, self.windows[paths], self.kinds[paths]


@dataclasses.dataclass(frozen=True)
class Case:
    """x of `shape` [B, C, T, H, W], `reduced` channels C/n, the largest logit of each path, and what x and weight hold.

    "normal": random values.
    "nearly equal": all positions resemble each other, so that the soft-max still has a choice at the largest logits.
    "grid": small multiples of a power of two, so that the reduction R is exact in every type. The maximum has ties
    then, and all types resolve them alike: here rounding R cannot send a half type's gradient elsewhere.
    "empty": the same, but zero are two columns of some rows, in the second sample a frame, in the third everything.
    "huge": ten thousand times "normal", and float16's largest number is 65504.
    """

    shape: tuple[int, int, int, int, int]
    reduced: int
    operator: Operator
    values: str = "normal"
    logits: float = 4.0

    def inputs(self, dtype) -> list[Tensor]:
        """x, weight and grad, on the CPU and contiguous."""
        random = torch.Generator().manual_seed(0)

        def normal(*shape):
            return torch.randn(shape, generator=random, dtype=torch.float64)

        x, grad = normal(*self.shape), normal(*self.shape)
        weight = normal(len(self.operator.windows), self.reduced, self.shape[1])
        if self.values == "nearly equal":
            x = normal(*self.shape[:3], 1, 1) + 0.05 * x
        elif self.values in ("grid", "empty"):
            x = x.round().clamp(-2, 2)
            weight = weight.sign() * (normal(*weight.shape).argsort(2).argsort(2) < 3)  # three of each row
        rows = torch.einsum("prc,bcthw->bprthw", weight, x).flatten(4).flatten(2, 3)  # [B, P, C/n * T, N]
        largest = (4.0 * rows.square().sum(2)).amax((0, 2))
        scale = (self.logits / largest).sqrt()
        if self.values in ("grid", "empty"):
            scale = 2 ** scale.log2().round()
        if self.values == "empty":
            x[..., 1:3, :2], x[1:, :, 0], x[2:] = 0, 0, 0
        elif self.values == "huge":
            x = 1e4 * x
        return [tensor.to(dtype) for tensor in (x, weight * scale[:, None, None], grad)]


def differentiate(function: Callable, x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y, grad_x and grad_weight of `function(x, weight)`; all three keep the layout they come with."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = function(x, weight)
    return y.detach(), *torch.autograd.grad(y, (x, weight), grad)


def in_orders(compute: Callable, x: Tensor, weight: Tensor, grad: Tensor, *, orders: int | None = None) -> list[Tensor]:
    """y, grad_x and grad_weight of `compute(x, weight, grad)`, each stacked over several orders of the channels."""
    random = torch.Generator().manual_seed(0)
    results = []
    for _ in range(orders or ORDERS[x.dtype.itemsize]):
        c, r = (torch.randperm(length, generator=random) for length in (x.shape[1], weight.shape[1]))
        y, grad_x, grad_weight = compute(x[:, c], weight[:, r][:, :, c], grad[:, c])
        c, r = c.argsort().to(y.device), r.argsort().to(y.device)
        results.append((y[:, c], grad_x[:, c], grad_weight[:, r][:, :, c]))
    return [torch.stack(result) for result in zip(*results, strict=True)]


def allowances(
    operator: Operator, x: Tensor, weight: Tensor, grad: Tensor, written_out: Callable = literal.factorized_attention
) -> list[tolerance.Allowance]:
    """The rule of tolerance.py for y, grad_x and grad_weight, from contiguous inputs on the CPU.

    Args:
        written_out: the literal code whose errors are the measure.
    """
    if x.dtype == torch.float64:
        truths = operator.in_long_double(x.numpy(), weight.numpy(), grad.numpy())
    else:
        exact = differentiate(operator.on("reference"), x.double(), weight.double(), grad.double())
        truths = [tensor.numpy() for tensor in exact]

    def plain(x, weight, grad):
        return differentiate(lambda x, weight: operator(written_out, x, weight), x, weight, grad)

    literals = in_orders(plain, x, weight, grad)
    return [tolerance.allowance(*pair) for pair in zip(truths, literals, strict=True)]


def complaints(actual: Sequence[Tensor], allowed: Sequence[tolerance.Allowance]) -> list[str]:
    """One sentence for each of y, grad_x and grad_weight, as of `in_orders`, that is further off than allowed."""
    told = (limit.complaint(name, tensor) for name, tensor, limit in zip(NAMES, actual, allowed, strict=True))
    return [sentence for sentence in told if sentence]


@contextlib.contextmanager
def float32_precision(name: str):
    """PyTorch's precision of float32 products, "highest" or, with TF32 on CUDA, "high"."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def number_of_threads(count: int):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_layout_of(x: Tensor, *others: Tensor) -> None:
    """Others are channels-last if x lies in memory so and not contiguously, and contiguous otherwise."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
    memory_format = torch.channels_last_3d if channels_last else torch.contiguous_format
    for other in others:
        assert other.is_contiguous(memory_format=memory_format), other.stride()
