"""What PyTorch needs to know of a pair of operators: shapes and strides, vmap, autograd, and how to call it cheaply.

A pair is a forward and a backward operator with the schemas in `strf_cuda.backends.library` and no autograd of their
own. `register` tells the dispatcher what every tracer needs, `attention` is the call. One formula for the gradients is
reached by three ways:

    attention                 a Function that saves on its context, the least overhead a call
    under torch.func          a Function with `setup_context`, which those transforms demand and which costs more
    the operator itself       the same Function from the Autograd keys: what compiled, traced and exported programs call

Second derivatives are refused by a second Function around the backward operator. Refusing them in the first one
(`once_differentiable`) is not enough: a gradient penalty with a constant grad_output would have no gradient, silently.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from strf_cuda.backends import library
from strf_cuda.backends.reference import is_channels_last
from strf_cuda.errors import InputError

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
KINDS = {"max": 0, "avg": 1}


class Operators(NamedTuple):
    """A forward and a backward operator as torch.ops has them."""

    forward: torch._ops.OpOverload
    backward: torch._ops.OpOverload


def attention(
    operators: Operators,
    x: Tensor,
    weight: Tensor,
    windows: Sequence[int],
    kinds: Sequence[int],
    temperature: float,
    tf32: bool,
    cosine: bool,
) -> Tensor:
    """Y of `strf_cuda.factorized_attention` for checked input; the options are those of the schemas."""
    options = (windows, kinds, temperature, tf32, cosine)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return operators.forward(x, weight, *options)[0]
    if torch._C._are_functorch_transforms_active():
        return _TransformedAttention.apply(operators, x, weight, *options)[0]
    if _differentiable(x, weight):
        return _Attention.apply(operators, x, weight, *options)
    return _call(operators.forward, x, weight, *options)[0]


def register(operators: Operators, lib: torch.library.Library) -> Operators:
    """Gives both operators fakes, vmap rules and autograd, which last as long as `lib`; returns them."""
    torch.library.register_fake(operators.forward, _fake_forward, lib=lib)
    torch.library.register_fake(operators.backward, _fake_backward, lib=lib)

    def autograd_of_forward(*arguments):
        return _autograd(_TransformedAttention, operators, operators.forward, arguments)

    def autograd_of_backward(*arguments):
        return _autograd(_Gradients, operators, operators.backward, arguments)

    lib.impl(operators.forward, autograd_of_forward, "Autograd")
    lib.impl(operators.backward, autograd_of_backward, "Autograd")

    def batched_forward(info, in_dims, x, weight, *options):
        if in_dims[1] is not None:
            return _one_by_one(operators.forward, info, in_dims, (x, weight, *options))
        # Samples know nothing of each other, so the mapped dimension joins the batch.
        x = x.movedim(in_dims[0], 0)
        outputs = operators.forward(x.flatten(0, 1), weight, *options)
        return tuple(out.unflatten(0, x.shape[:2]) for out in outputs), (0, 0, 0)

    def batched_backward(info, in_dims, *arguments):
        return _one_by_one(operators.backward, info, in_dims, arguments)

    torch.library.register_vmap(operators.forward, batched_forward, lib=lib)
    torch.library.register_vmap(operators.backward, batched_backward, lib=lib)
    return operators


def output_layout(x: Tensor) -> torch.memory_format:
    """The layout of Y and of x's gradient: channels-last where x lies so and is not contiguous as well."""
    return torch.channels_last_3d if is_channels_last(x) else torch.contiguous_format


def _fake_forward(x, weight, windows, kinds, temperature, tf32, cosine=False):
    statistics = x.new_empty(
        (x.shape[0], weight.shape[0], x.shape[3] * x.shape[4]),
        dtype=torch.float64 if x.dtype == torch.float64 else torch.float32,
    )
    return torch.empty_like(x, memory_format=output_layout(x)), statistics, torch.empty_like(statistics)


def _fake_backward(grad, x, weight, maximum, normalizer, windows, kinds, temperature, tf32, cosine=False):
    return (
        torch.empty_like(x, memory_format=output_layout(x)),
        torch.empty_like(weight, memory_format=torch.contiguous_format),
    )


def _one_by_one(operator, info, in_dims, arguments):
    """A vmap rule: one call for each index. What the weight's gradient sums over must not reach over the map."""
    results = []
    for index in range(info.batch_size):
        mapped = (
            argument.select(dim, index) if isinstance(argument, Tensor) and dim is not None else argument
            for argument, dim in zip(arguments, in_dims, strict=True)
        )
        results.append(operator(*mapped))
    return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0,) * len(results[0])


def _differentiable(*tensors: Tensor) -> bool:
    """Whether the call must be recorded; tangents are looked for so that they are refused, not lost."""
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return wanted or forward_ad._current_level >= 0


def _call(operator, *arguments):
    """The operator's kernel. What a kernel asks of PyTorch would otherwise see autograd and autocast once more."""
    with torch._C._AutoDispatchBelowAutograd(), torch._C._DisableAutocast():
        return operator(*arguments)


def _autograd(function, operators, operator, arguments):
    """The operator's kernel for the Autograd keys."""
    if torch._C._are_functorch_transforms_active():
        raise InputError(
            f"{operator} cannot be differentiated inside torch.func transforms when it is called by itself or "
            "compiled; call strf_cuda.factorized_attention there, outside torch.compile"
        )
    if _differentiable(*(argument for argument in arguments if isinstance(argument, Tensor))):
        return function.apply(operators, *arguments)
    return _call(operator, *arguments)


def _gradients(ctx, grad):
    """The gradients of x and weight, and None for every other argument of the Functions below."""
    arguments = (grad, *ctx.saved_tensors, *ctx.options)
    if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        grads = _Gradients.apply(ctx.operators, *arguments)
    else:
        grads = _call(ctx.operators.backward, *arguments)
    return None, *grads, *(None for _ in ctx.options)


class _Refusing(torch.autograd.Function):
    @staticmethod
    def jvp(ctx, *tangents):
        raise InputError('there are no forward-mode derivatives of this backend; use backend="reference" for them')


class _Attention(_Refusing):
    @staticmethod
    def forward(ctx, operators, x, weight, *options):
        y, maximum, normalizer = _call(operators.forward, x, weight, *options)
        ctx.save_for_backward(x, weight, maximum, normalizer)
        ctx.operators, ctx.options = operators, options
        return y

    @staticmethod
    def backward(ctx, grad):
        return _gradients(ctx, grad)


class _TransformedAttention(_Refusing):
    generate_vmap_rule = True

    @staticmethod
    def forward(operators, x, weight, *options):
        return _call(operators.forward, x, weight, *options)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.operators, x, weight, *ctx.options = inputs
        _, maximum, normalizer = output
        ctx.mark_non_differentiable(maximum, normalizer)
        ctx.save_for_backward(x, weight, maximum, normalizer)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, grad, *_):
        return (None,) * (3 + len(ctx.options)) if grad is None else _gradients(ctx, grad)


class _Gradients(_Refusing):
    generate_vmap_rule = True

    @staticmethod
    def forward(operators, *arguments):
        return _call(operators.backward, *arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *grads):
        raise InputError('there are no second derivatives of this backend; use backend="reference" for them')


NATIVE = None
if library.HAS_OPERATORS:
    _operators = Operators(torch.ops.strf_cuda.forward.default, torch.ops.strf_cuda.backward.default)
    NATIVE = register(_operators, library.LIBRARY)
    torch.library.register_fake(torch.ops.strf_cuda.probe.default, torch.empty_like, lib=library.LIBRARY)
