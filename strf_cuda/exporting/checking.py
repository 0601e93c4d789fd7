"""Whether an exported model computes what the model in Python does."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from strf_cuda.errors import InputError
from strf_cuda.exporting.embedder import embedder, example_clips
from strf_cuda.trained import TrainedModel

BATCHES = (1, 2, 7)
# For numbers of embeddings, which have unit length: another program adds in another order, and masks of large logits
# magnify what is rounded. What float32 itself is off in this model is let pass four times over, but not more than a
# thousandth: a comparison that lets more pass would show nothing.
ALLOWED, TIMES_ROUNDING, AT_MOST = 1e-5, 4, 1e-3


@dataclass(frozen=True)
class Difference:
    """The largest differences from the model in Python, over the batches.

    Attributes:
        embedding: of a number of a clip's embedding, its feature scaled to unit length.
        distance: of a cosine distance between two clips of a batch.
        allowed: what `embedding` may be at most.
    """

    embedding: float
    distance: float
    allowed: float


def compare(trained: TrainedModel, compute: Callable[[Tensor], Tensor], *, exactly: bool = False) -> Difference:
    """Compares features of made-up clips in batches of 1, 2 and 7 with those of the model in eager PyTorch, float32.

    Args:
        compute: maps uint8 clips [B, 3, T, H, W] to float32 features [B, F], on the CPU.
        exactly: allow no difference, rather than 1e-5 and four times what float32 is off from float64 in this model,
            at most 1e-3.

    Raises:
        InputError: they differ by more than is allowed, or in shape or type.
    """
    clips, module = example_clips(trained, max(BATCHES)), embedder(trained)
    with torch.inference_mode():
        expected, computed = ([function(clips[:batch]) for batch in BATCHES] for function in (module, compute))
        rounding = 0.0 if exactly else _rounding(module, clips, expected[-1])
    allowed = 0.0 if exactly else min(ALLOWED + TIMES_ROUNDING * rounding, AT_MOST)
    for own, other in zip(expected, computed, strict=True):
        if (other.shape, other.dtype) != (own.shape, own.dtype):
            raise InputError(
                f"the exported model gives {other.dtype} {list(other.shape)} where the model in Python gives "
                f"{own.dtype} {list(own.shape)}: it must not be used"
            )
    ones, others = map(_embeddings, expected), map(_embeddings, computed)
    pairs = list(zip(ones, others, strict=True))
    embedding = _largest(pairs)
    if not embedding <= allowed:  # NaN is not
        raise InputError(
            f"the exported model differs from the model in Python by {embedding:.1e} in an embedding, where "
            f"{allowed:.1e} is allowed: it must not be used"
            + (f"; in Python it is itself off by {rounding:.1e} from float64" if allowed == AT_MOST else "")
        )
    return Difference(embedding, _largest([(one @ one.mT, other @ other.mT) for one, other in pairs]), allowed)


def _rounding(module: torch.nn.Module, clips: Tensor, features: Tensor) -> float:
    """How far the embeddings of float32 `features` are from those of the model in float64."""
    return _largest([(_embeddings(features), _embeddings(module.double()(clips)))])


def _embeddings(features: Tensor) -> Tensor:
    return F.normalize(features.double())


def _largest(pairs: list[tuple[Tensor, Tensor]]) -> float:
    return torch.stack([(one - other).abs().max() for one, other in pairs]).max().item()
