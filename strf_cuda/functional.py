"""`factorized_attention`: checks its input once, takes care of autocast, and hands it to a backend."""

from collections.abc import Sequence

import torch
from torch import Tensor

from strf_cuda.backends import choice, cuda, native
from strf_cuda.backends.reference import Pool, factorized_attention_reference
from strf_cuda.errors import InputError, nearest
from strf_cuda.similarity import check_temperature

POOL_KINDS = ("max", "avg")
MAX_PATHS = 4


def factorized_attention(
    x: Tensor,
    weight: Tensor,
    pools: Sequence[Pool],
    *,
    pool: str | Sequence[str] = "max",
    similarity: str = "cosine",
    temperature: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """Sums the factorized attention masks of 1 to 4 paths and multiplies x by them (paper, equations (1) to (7)).

        T_k = pool_k(weight_k x)                      [E, N] per sample, E = C/n * T, N = H * W
        P_k = softmax(temperature * U_k^T U_k)        [N, N], over the contracted index: columns sum to 1
        Y   = X (P_1 + ... + P_P)                     [C * T, N]

    U_k is T_k for similarity "dot", the letters of equation (3). For "cosine" each t, the C/n reduced channels of a
    position in a frame, is divided by sqrt((t.t + 1e-6) T): the product of two columns is then the mean over the
    frames of the cosines between their positions, and logits lie within +-temperature whatever the size of x.

    Inside an autocast region x and weight are cast to the region's type. Products and soft-max of the masks are in
    float32 for half-precision input. Float32 input on CUDA is multiplied in TF32 where PyTorch's own products may be,
    that is after `torch.set_float32_matmul_precision("high")`; the backward pass does as its forward did. The reference
    alone has second and forward-mode derivatives; the others refuse them with an InputError.

    Args:
        x: [B, C, T, H, W], float32, bfloat16, float16 or float64, contiguous or channels-last; any other layout is
            copied first. Only B may be 0.
        weight: [P, C/n, C], the channel reductions of the P paths, P from 1 to 4.
        pools: P triples (t, h, w) of odd window sizes, stride 1, same size; 1 is the identity.
        pool: "max" or "avg", for all paths or one per path.
        similarity: "dot" or "cosine".
        temperature: kappa of equation (3); None for 4 with "dot" and 16 with "cosine".
        backend: "auto", "cuda", "cpu", "triton" or "reference"; see `strf_cuda.backends()`. Inside `torch.onnx.export`
            it is the reference, in ONNX's own operators, whatever is named.

    Returns:
        Y with x's shape and layout, and x's dtype (in an autocast region the region's).

    Raises:
        InputError: shapes, types or devices that do not fit, an even or non-positive window, an unknown pool,
            similarity or backend, a temperature that is not finite or, for "cosine", not positive, or a backend that is
            not usable here or does not take x.
    """
    pools, pool_kinds = check_arguments(x, weight, pools, pool)
    temperature = check_temperature(similarity, temperature)
    device_type = x.device.type
    autocast = device_type != "meta" and torch.is_autocast_enabled(device_type)
    if autocast and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device_type)
        x, weight = x.to(dtype), weight.to(dtype)
    elif x.dtype != weight.dtype:
        raise InputError(f"x is {x.dtype} but weight is {weight.dtype}; convert one of them or use torch.autocast")
    operators = choice.operators(backend, x, weight)
    if operators is not None and not _becomes_onnx():
        options = operator_options(x, pools, pool_kinds, temperature, similarity)
        return native.attention(operators, x, weight, *options)
    if not autocast:
        return factorized_attention_reference(x, weight, pools, pool_kinds, temperature, similarity)
    with torch.autocast(device_type, enabled=False):
        return factorized_attention_reference(x, weight, pools, pool_kinds, temperature, similarity)


def _becomes_onnx() -> bool:
    """Whether this call is on its way into an ONNX file, where there is no operator but ONNX's own."""
    return (torch.compiler.is_compiling() or torch.jit.is_tracing()) and torch.onnx.is_in_onnx_export()


def operator_options(
    x: Tensor, pools: Sequence[Pool], pool_kinds: Sequence[str], temperature: float, similarity: str
) -> tuple[list[int], list[int], float, bool, bool]:
    """windows, kinds, temperature, tf32 and cosine, as the operators' schemas have them."""
    windows = [size for window in pools for size in window]
    kinds = [native.KINDS[kind] for kind in pool_kinds]
    tf32 = x.device.type == "cuda" and x.dtype == torch.float32 and cuda.tf32_allowed()
    return windows, kinds, temperature, tf32, similarity == "cosine"


def check_pool(pool: Sequence[int]) -> Pool:
    """The window (t, h, w) as a triple of integers; an InputError unless all are odd and positive."""
    sizes = tuple(int(size) for size in pool)
    if len(sizes) != 3 or any(size < 1 or size % 2 == 0 for size in sizes):
        raise InputError(f"pool window {tuple(pool)} must be three odd positive sizes (t, h, w), such as (3, 1, 1)")
    return sizes


def check_pool_kind(kind: str) -> str:
    """`kind` itself; an InputError unless it is "max" or "avg"."""
    if kind not in POOL_KINDS:
        raise InputError(f"pool is {kind!r}, but it must be max or avg{nearest(str(kind), POOL_KINDS)}")
    return kind


def check_arguments(x, weight, pools, pool) -> tuple[list[Pool], list[str]]:
    """Windows and pool kinds, one per path, of arguments of `factorized_attention`; an InputError if they are wrong."""
    if x.dim() != 5:
        raise InputError(f"x has shape {tuple(x.shape)}, but it must be [batch, channels, frames, height, width]")
    if x.dtype not in native.DTYPES:
        raise InputError(f"x is {x.dtype}, but it must be float32, bfloat16, float16 or float64")
    if 0 in x.shape[1:]:
        raise InputError(f"x has shape {tuple(x.shape)}, but nothing but its batch may be empty")
    if (
        weight.dim() != 3
        or weight.shape[2] != x.shape[1]
        or not 1 <= weight.shape[0] <= MAX_PATHS
        or weight.shape[1] < 1
    ):
        raise InputError(
            f"weight has shape {tuple(weight.shape)}, but it must be [paths, reduced channels, {x.shape[1]}] with "
            f"1 to {MAX_PATHS} paths and 1 or more reduced channels, since x has {x.shape[1]} channels"
        )
    if weight.device != x.device:
        raise InputError(f"x is on {x.device} but weight is on {weight.device}; move one of them")
    if len(pools) != weight.shape[0]:
        raise InputError(f"there are {len(pools)} pool windows for {weight.shape[0]} paths; give one per path")
    kinds = [pool] * len(pools) if isinstance(pool, str) else list(pool)
    if len(kinds) != len(pools):
        raise InputError(f"pool names {len(kinds)} kinds for {len(pools)} paths; give one name or one per path")
    return [check_pool(window) for window in pools], [check_pool_kind(kind) for kind in kinds]
