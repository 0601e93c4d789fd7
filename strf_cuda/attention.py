"""Attention maps: where the activations of a stage are large, position by position.

The map of a frame is the sum over channels of the squared activations, F^2_sum of Zagoruyko and Komodakis, "Paying More
Attention to Attention" (ICLR 2017, arXiv:1612.03928, section 3.1), one of the two works that the STRF paper names for
its Figure 5. It says where a stage answers strongly, not what the decision rests on.
"""

from typing import Literal

import torch
from torch import Tensor

from strf_cuda.errors import InputError
from strf_cuda.models import VideoResNet

STAGES = (1, 2, 3, 4)
Scale = Literal["clip", "frame"]


@torch.no_grad()
def attention_maps(model: VideoResNet, clips: Tensor, stage: int = 3) -> Tensor:
    """The attention maps of clips at the output of a stage, that is of its last block, after the addition and the ReLU.

    Args:
        model: in eval mode, on the clips' device.
        clips: normalised [B, 3, T, H, W].
        stage: 1 to 4, `model.layer1` to `model.layer4`.

    Returns:
        float32 [B, T, h, w] on the CPU, 0 or more. The sides h and w are those of the stage, H/16 and W/16 for stage 3.

    Raises:
        InputError: no such stage, or activations that are not finite numbers.
    """
    if stage not in STAGES:
        raise InputError(f"stage is {stage}, but a ResNet has the stages 1, 2, 3 and 4")
    found = []
    hook = getattr(model, f"layer{stage}").register_forward_hook(lambda _, __, out: found.append(energy(out)))
    try:
        with torch.compiler.set_stance("force_eager"):  # compiled code does not look at hooks that came later
            model(clips)
    finally:
        hook.remove()
    (maps,) = found
    if not torch.isfinite(maps).all():
        raise InputError(f"the activations of stage {stage} are not finite numbers: the model's training has diverged")
    return maps.cpu()


def energy(activations: Tensor) -> Tensor:
    """The sum over channels of squared activations: [B, C, T, H, W] to float32 [B, T, H, W]."""
    return activations.float().square().sum(1)


def scaled(maps: Tensor, scale: Scale = "clip") -> Tensor:
    """Maps [..., T, h, w] between 0 and 1: each clip ("clip") or each frame ("frame") divided by its largest value.

    Zagoruyko and Komodakis divide by the l2 norm, which differs from this by one factor a map. Nothing is subtracted,
    so that 0 means no activation; a map of zeros stays one.
    """
    largest = maps.amax((-3, -2, -1) if scale == "clip" else (-2, -1), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1)
