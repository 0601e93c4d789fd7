"""Batch normalisation with the statistics of all processes' clips: `--batch_norm synchronised`.

GPUs have torch.nn.SyncBatchNorm, which refuses tensors of a CPU; processes on a CPU get the module below.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from strf_cuda.distributed import sum_over_processes


class SynchronisedBatchNorm(_BatchNorm):
    """Batch normalisation of [B, C, ...] over all dimensions but C, and over the clips of all processes.

    Sums and counts are added up, so that processes with more clips count more. In evaluation, plain batch
    normalisation.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"batch normalisation needs at least 2 dimensions, but the input has shape {x.shape}")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        with torch.autocast(x.device.type, enabled=False):
            values = x.float() if x.dtype.itemsize < 4 else x
            per_channel = (-1, *[1] * (x.dim() - 2))
            over = [dim for dim in range(x.dim()) if dim != 1]
            sums = values.sum(over, dtype=torch.float64)
            sums = sum_over_processes(torch.cat((sums, sums.new_tensor([x.numel() / x.shape[1]]))))
            mean, count = sums[:-1] / sums[-1], sums[-1].item()
            centred = values - mean.to(values.dtype).view(per_channel)
            variance = sum_over_processes(centred.square().sum(over, dtype=torch.float64)) / count
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
            scale = self.weight * (variance + self.eps).rsqrt().to(values.dtype)
            return torch.addcmul(self.bias.view(per_channel), centred, scale.view(per_channel)).to(x.dtype)

    def _remember(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), self.momentum)


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with every batch normalisation replaced by a synchronised one for `device`, in place.

    Parameters, buffers and their names stay what they were.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, _BatchNorm):
            replacement = SynchronisedBatchNorm(module.num_features, module.eps, module.momentum)
            for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(replacement, key, getattr(module, key))
            model.set_submodule(name, replacement)
    return model
