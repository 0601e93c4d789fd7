"""Training as a Lightning module: what one step does. Everything random is a function of the seed and the step.

So a run continues exactly from a checkpoint: batches and augmentation are drawn from (seed, epoch) and (seed, step),
torch's own generator is set from (seed, step) before every batch, and the learning rate is a function of the epoch.
"""

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from strf_cuda.checkpoints import check_architecture, model_from_config
from strf_cuda.cli import to_dict
from strf_cuda.config import OptimizerConfig, TrainConfig
from strf_cuda.data.augment import ClipAugmentation, batch_generator
from strf_cuda.data.loader import ClipLoader, training_loader
from strf_cuda.data.sampler import share
from strf_cuda.data.tracklets import Tracklet
from strf_cuda.devices import resolve_device
from strf_cuda.distributed import gather_rows, process_and_processes
from strf_cuda.errors import InputError
from strf_cuda.losses import ReidLoss
from strf_cuda.models import VideoResNet
from strf_cuda.starting import start_model
from strf_cuda.synchronised import synchronise_batch_norm


class Training(L.LightningModule):
    """Model, loss and optimiser of one run.

    Args:
        config: the run.
        tracklets: the training tracklets; each person is a class.
        new: whether the model begins with `model.weights`; that of a run which continues comes from its checkpoint.

    Attributes:
        model: the network that is trained.
        average: the exponential moving average of its weights, or None without `optimizer.ema`. It begins as the
            weights after the first step; the statistics of BatchNorm are averaged like weights.
        notes: what is to be said of the weights that it begins with.
    """

    def __init__(self, config: TrainConfig, tracklets: Sequence[Tracklet], *, new: bool = True):
        super().__init__()
        self.config, self.tracklets = config, tracklets
        self.person_ids = sorted({tracklet.person_id for tracklet in tracklets})
        torch.manual_seed(config.seed)
        self.model = model_from_config(config.model, len(self.person_ids))
        self.notes = start_model(self.model, config, self.person_ids) if new else []
        if process_and_processes()[1] > 1 and config.batch_norm == "synchronised":
            self.model = synchronise_batch_norm(self.model, resolve_device(config.device))
        self.average = None
        if config.optimizer.ema:
            average = get_ema_multi_avg_fn(config.optimizer.ema)
            self.average = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True).requires_grad_(False)
        self.augmentation = ClipAugmentation(config.data.flip, config.data.erase, config.data.erase_per_frame)
        self.loss = ReidLoss(config.optimizer.margin, config.optimizer.label_smoothing)

    @property
    def evaluated(self) -> VideoResNet:
        """The network whose figures are those of the run: the average where there is one."""
        return self.model if self.average is None else self.average.module

    def train_dataloader(self) -> ClipLoader:
        """This process's share of this epoch's batches; the trainer asks again for every epoch."""
        return self.epoch_loader(*process_and_processes())

    def epoch_loader(self, process: int = 0, processes: int = 1) -> ClipLoader:
        """This epoch's batches, or what one of several processes reads of each."""
        data = self.config.data
        return training_loader(
            self.tracklets,
            people=data.people,
            clips=data.clips,
            height=data.height,
            width=data.width,
            frames=data.frames,
            stride=data.stride,
            seed=self.config.seed,
            epoch=self.current_epoch,
            workers=data.workers,
            on_corrupt=data.on_corrupt,
            process=process,
            processes=processes,
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self.config.optimizer
        return torch.optim.Adam(
            self.model.parameters(), lr=optimizer.learning_rate, weight_decay=optimizer.weight_decay
        )

    def on_train_epoch_start(self) -> None:
        for group in self.optimizers().param_groups:
            group["lr"] = learning_rate(self.config.optimizer, self.current_epoch, self.config.epochs)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """The loss of the whole batch, times the number of processes among which it is shared.

        Every process computes the one loss L(z_1, ..., z_P) of the outputs z_p of all processes, of which its own alone
        carry a gradient, so its backward pass gives (dL/dz_p)(dz_p/dw). The gradient of L is the sum of these over p,
        and DistributedDataParallel takes their mean: with the loss times P that is the sum, whatever the sizes of the
        shares. Synchronised statistics pass gradients between processes on their way, and the same holds.
        """
        generator = batch_generator(self.config.seed, self.global_step)
        torch.manual_seed(generator.initial_seed())
        process, processes = process_and_processes()
        clips = self.config.data.people * self.config.data.clips
        own = share(clips, process, processes)
        logits, features = self.model(self.augmentation(batch["clip"], generator, own, clips))
        logits, features, labels = (gather_rows(rows, clips) for rows in (logits, features, batch["label"]))
        losses = self.loss(logits, features, labels)
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        self.log_dict(
            {
                "train/loss": losses.total.detach(),
                "train/cross_entropy": losses.cross_entropy.detach(),
                "train/triplet": losses.triplet.detach(),
                "train/accuracy": accuracy,
            }
        )
        return losses.total * processes

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        if self.average is not None:
            self.average.update_parameters(self.model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = to_dict(self.config)
        checkpoint["person_ids"] = self.person_ids

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint["person_ids"] != self.person_ids:
            raise InputError(
                f"the run was trained on {len(checkpoint['person_ids'])} people, and the data set now has "
                f"{len(self.person_ids)} or others: a run can only continue on its own training set"
            )
        check_architecture(self, checkpoint["state_dict"], "the checkpoint")


def learning_rate(config: OptimizerConfig, epoch: int, epochs: int) -> float:
    """The learning rate of an epoch, counted from 0, in a run of `epochs`; all steps of an epoch have the same.

    The schedule "step" divides it every `decay_every` epochs, counted from the beginning (supplement, section C). With
    W epochs of warm-up, epoch e < W has (e + 1) / (W + 1) of it, so that epoch W is the first with all of it (gradual
    warm-up, Goyal et al., arXiv:1706.02677, section 2.2). The schedule "cosine" follows half a cosine from there to 0,
    which the end of the last epoch would reach (Loshchilov and Hutter, ICLR 2017, equation 5, without restarts).
    """
    rate = config.learning_rate * min(1.0, (epoch + 1) / (config.warmup + 1))
    if config.schedule == "step":
        return rate * config.decay ** (epoch // config.decay_every)
    passed = max(0, epoch - config.warmup) / (epochs - config.warmup)
    return rate * (1 + math.cos(math.pi * passed)) / 2
