"""Networks with random weights in which every layer matters."""

from torch import nn

from strf_cuda.models import VideoResNet
from strf_cuda.models.frames import TemporalConv
from strf_cuda.modules import STRF

SOFTER = 0.3  # times the unit's initial weights: entropies of the masks are 0.85 to 0.98 of the highest possible


def give_every_layer_effect(model: VideoResNet) -> VideoResNet:
    """Sets what starts at zero, and makes masks neither flat nor one-hot; returns the model."""
    for module in model.modules():
        if isinstance(module, TemporalConv):  # zero at the start, which would leave the units without effect
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, STRF):
            module.weight.data.mul_(SOFTER)  # one-hot masks of random features would magnify rounding without end
    return model
