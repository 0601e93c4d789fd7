"""The one rule by which every backend's results are accepted.

    max|out - truth| <= 2 max|literal - truth| + 2 max|(truth + 0.3 - 0.3) - truth|

`truth` is computed in a better precision from the same, already rounded, input; `literal` is literal.py in the type
under test; the last term, in that type too, is about what one rounding of a result costs. A backend may thus be twice
as inexact as plain PyTorch, and no more.

For the half types and float32 the truth is the reference in float64. For float64 it is the plain loops of oracle.py
and oracle_gradients.py in NumPy's long double, which has 11 bits more on x86 (on a processor where it is no better than
float64, its own errors count against the backend, and the last term is all the room there is for them).

Often a single element in an unstable place decides a maximum, and then one lucky sum of the literal code would fail a
backend that is as good. So both maxima run over the same problem in several `orders` of its channels, which changes
nothing but how the sums are rounded.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch


@dataclasses.dataclass(frozen=True)
class Allowance:
    """How far from `truth`, a float64 or long double array, results may be, and why."""

    truth: np.ndarray
    literal_error: float
    rounding: float

    @property
    def limit(self) -> float:
        return 2 * self.literal_error + 2 * self.rounding

    def complaint(self, name: str, actual: torch.Tensor) -> str | None:
        """None if `actual`, results in several orders along dimension 0, is within the limit; otherwise a sentence.

        NaN is never within it.
        """
        if actual.shape[1:] != self.truth.shape:
            return f"{name} has shape {tuple(actual.shape[1:])} instead of {self.truth.shape}"
        error = _errors(actual, self.truth)
        if error.max(initial=0) <= self.limit:
            return None
        _, *worst = map(int, np.unravel_index(error.argmax(), error.shape))
        return (
            f"{name} is off by {error.max():.3g} at {worst}, allowed {self.limit:.3g} (literal code "
            f"{self.literal_error:.3g}, rounding {self.rounding:.3g}, largest value {np.abs(self.truth).max():.3g})"
        )


def allowance(truth: np.ndarray, literal: torch.Tensor) -> Allowance:
    """The rule for results of `literal`'s type; `literal` holds several orders along dimension 0."""
    rounded = torch.from_numpy(truth.astype(np.float64)).to(literal.dtype)
    rounding = ((rounded + 0.3 - 0.3) - rounded).abs().double()
    return Allowance(truth, float(_errors(literal, truth).max()), float(rounding.max()))


def assert_equal_up_to_rounding(actual: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    """For two results of one backend that may differ in the order of its sums; a wrong element is much further off."""
    for one, other in zip(actual, expected, strict=True):
        room = (64 if one.dtype.itemsize > 2 else 4) * torch.finfo(one.dtype).eps
        torch.testing.assert_close(one, other, rtol=0, atol=room * other.abs().max().item())


def _errors(actual, truth):
    return np.abs(actual.cpu().double().numpy().astype(truth.dtype) - truth)
