"""The masks of a trained model's STRF units: from which positions each output position takes its values.

Column j of a path's mask P_k [N, N] holds the weights that make output position j, and sums to 1; N = H*W positions,
the same for all frames of a clip (paper, section 3.2, equations (1) and (3)). In a cascade the second half's masks are
those of the first half's output, as in the forward pass.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from strf_cuda.attention import energy
from strf_cuda.backends.reference import factorized_masks, multiply
from strf_cuda.errors import InputError, nearest
from strf_cuda.modules import STRF


@dataclass(frozen=True)
class UnitMasks:
    """The masks of one unit for a batch of clips; positions count along rows, j = row * width + column.

    Attributes:
        name: the layer that the unit stands in front of.
        halves: the paths whose masks are added before one multiplication, in the order of execution: two groups in a
            cascade, else one.
        masks: by path, in that order, float32 [B, N, N] on the CPU.
        total: [B, N, N], the product of the halves' sums of masks: the unit's output is x times this. Its columns sum
            to the number of paths, in a cascade to the product of the halves' numbers.
        energy: [B, T, H, W], sum over channels of the squared input of the unit.
    """

    name: str
    halves: tuple[tuple[str, ...], ...]
    masks: dict[str, Tensor]
    total: Tensor
    energy: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the grid of positions."""
        return tuple(self.energy.shape[2:])

    def weights(self, mask: Tensor, clip: int, position: tuple[int, int]) -> Tensor:
        """[H, W], with the sum 1: the shares of a position (row, column) of a clip's output, for one of the masks."""
        height, width = self.size
        column = mask[clip, :, position[0] * width + position[1]]
        return (column / column.sum()).unflatten(0, (height, width))

    def strongest(self, clip: int) -> tuple[int, int]:
        """Row and column of the largest energy of a clip's input, summed over frames."""
        return divmod(int(self.energy[clip].sum(0).argmax()), self.size[1])

    def weakest(self, clip: int) -> tuple[int, int]:
        """Row and column of the smallest."""
        return divmod(int(self.energy[clip].sum(0).argmin()), self.size[1])


def effective_positions(weights: Tensor, dim: int = -1) -> Tensor:
    """The exponential of the entropy of weights that sum to 1 along `dim`: 1 for a copy of one, n for the mean of n."""
    return (-torch.xlogy(weights, weights).sum(dim)).exp()


def strf_units(model: nn.Module) -> dict[str, STRF]:
    """The STRF units of any model by the name of the layer that they stand in front of (`insert_units`), in order."""
    return {name.removesuffix(".unit"): unit for name, unit in model.named_modules() if isinstance(unit, STRF)}


def find_unit(model: nn.Module, name: str | None = None) -> str:
    """The name of the unit that `name` says: of its layer, as "layer3.0.temporal", or of a part that holds no other.

    Args:
        name: None for the last unit of the model.

    Raises:
        InputError: the model has no STRF units, none of that name, or several.
    """
    units = list(strf_units(model))
    if not units:
        raise InputError(
            "the model has no STRF units, so it has no masks to show: give one trained with model.unit strf"
        )
    if name is None:
        return units[-1]
    found = [unit for unit in units if f"{unit}.".startswith(f"{name.removesuffix('.unit')}.")]
    if len(found) != 1:
        said = f"stands for {', '.join(found)}" if found else "is no unit of the model"
        raise InputError(f"unit {name!r} {said}: give one of {', '.join(units)}{nearest(name, units)}")
    return found[0]


@torch.no_grad()
def unit_masks(model: nn.Module, clips: Tensor, unit: str | None = None) -> UnitMasks:
    """The masks of a unit for some clips.

    The model runs as it is, whatever computes its units; the masks follow from the input that the unit gets.

    Args:
        model: in eval mode, on the clips' device.
        clips: what the model takes, normalised [B, 3, T, H, W].
        unit: see `find_unit`.

    Raises:
        InputError: as `find_unit`, or masks that are not finite numbers.
    """
    name = find_unit(model, unit)
    module = strf_units(model)[name]
    seen = []
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.compiler.set_stance("force_eager"):  # compiled code does not look at hooks that came later
            model(clips)
    finally:
        hook.remove()
    (x,) = seen
    masks, total = {}, None
    half_input = x
    for half in module.halves():
        paths = list(half)
        found = factorized_masks(
            half_input,
            module.weight[paths].to(x.dtype),
            [module.pools[k] for k in paths],
            [module.pool_kinds[k] for k in paths],
            module.temperature,
            module.similarity,
        )
        masks |= {module.paths[k]: mask.float().cpu() for k, mask in zip(paths, found, strict=True)}
        summed = sum(found[1:], start=found[0])
        half_input = multiply(half_input, summed.to(x.dtype))
        total = summed if total is None else total @ summed
    if not torch.isfinite(total).all():
        raise InputError(f"the masks of {name} are not finite numbers: the model's training has diverged")
    halves = tuple(tuple(module.paths[k] for k in half) for half in module.halves())
    return UnitMasks(name, halves, masks, total.float().cpu(), energy(x).cpu())
