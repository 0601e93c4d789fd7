"""The model as other programs call it: from the pixels of clips to features, with nothing left to do before."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strf_cuda.data.augment import IMAGENET_MEAN, IMAGENET_STD
from strf_cuda.models import VideoResNet
from strf_cuda.modules import STRF
from strf_cuda.trained import TrainedModel

# Of the one argument, `clips`: any number of clips at a time, everything else as in training.
DYNAMIC_BATCH = ({0: torch.export.Dim("batch", min=1)},)


class ClipEmbedder(nn.Module):
    """Maps uint8 RGB clips [B, 3, T, H, W] to float32 features [B, F].

    Pixels are normalised as in training. Features are not scaled to unit length: the embedding of a tracklet is the
    mean of the features of its clips, scaled to unit length, and embeddings are compared by cosine distance.
    """

    def __init__(self, model: VideoResNet):
        super().__init__()
        self.model = model
        # Computed as strf_cuda.data.augment.normalise does, so that features have the same bits.
        shift = 255 * torch.tensor(IMAGENET_MEAN, dtype=torch.float64)
        scale = 1 / (255 * torch.tensor(IMAGENET_STD, dtype=torch.float64))
        self.register_buffer("shift", shift.float().view(3, 1, 1, 1))
        self.register_buffer("scale", scale.float().view(3, 1, 1, 1))

    def forward(self, clips: Tensor) -> Tensor:
        return self.model((clips.to(torch.float32) - self.shift) * self.scale)


def embedder(trained: TrainedModel, *, backend: str = "auto") -> ClipEmbedder:
    """A `ClipEmbedder` in eval mode with a copy of the model on the CPU; the model itself is left as it is.

    Args:
        backend: of its STRF units, see `strf_cuda.factorized_attention`; "reference" has standard operators only.
    """
    model = copy.deepcopy(trained.model).cpu().eval().requires_grad_(False)
    for unit in model.modules():
        if isinstance(unit, STRF):
            unit.backend, unit.recompute = backend, False  # without gradients there is nothing to save memory for
    model.classifier = nn.Identity()  # of training people; features do not need it
    return ClipEmbedder(model).eval()


def example_clips(trained: TrainedModel, batch: int = 2, seed: int = 0) -> Tensor:
    """Made-up clips uint8 [batch, 3, T, H, W] of the model's size: soft blobs under noise, the same for every call."""
    data = trained.config.data
    random = torch.Generator().manual_seed(seed)
    shape = (batch, 3, data.frames, data.height, data.width)
    blobs = F.interpolate(torch.rand(batch, 3, data.frames, 8, 4, generator=random), shape[2:], mode="trilinear")
    noise = torch.rand(shape, generator=random)
    return (255 * (0.8 * blobs + 0.2 * noise)).to(torch.uint8)
