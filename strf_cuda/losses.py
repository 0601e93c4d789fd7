"""The learning objective of equation (9): cross-entropy plus batch-hard triplet loss on cosine distances."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor, nn


class Losses(NamedTuple):
    """The sum that is minimised and its two terms, scalars."""

    total: Tensor
    cross_entropy: Tensor
    triplet: Tensor


class ReidLoss(nn.Module):
    """L = L_ce + L_triplet, weights 1:1, both on the feature after the last BatchNorm.

    The triplet loss takes for every clip its farthest clip of the same person and its nearest of another person
    (Hermans et al., 2017) and averages max(0, margin + d_positive - d_negative) over all clips that have both, zeros
    included. Clips of a person with a single clip in the batch have no positive and take no part as anchors; a batch
    of one person, or of single clips only, has triplet loss 0 with zero gradient.

    Args:
        margin: on the cosine distance 1 - cos.
        label_smoothing: share s of the cross-entropy's target that is spread evenly over all people: the clip's own
            gets 1 - s + s / people (Szegedy et al., CVPR 2016, section 7). The paper has none.
    """

    def __init__(self, margin: float = 0.3, label_smoothing: float = 0.0):
        super().__init__()
        self.label_smoothing = label_smoothing
        distance = CosineSimilarity()
        self.miner = BatchHardMiner(distance=distance)
        # The default reducer leaves out the anchors whose loss is zero, which makes easy batches loud.
        self.triplet = TripletMarginLoss(margin, distance=distance, reducer=MeanReducer())

    def forward(self, logits: Tensor, features: Tensor, labels: Tensor) -> Losses:
        """Losses of logits [B, people] and features [B, F] for labels int64 [B]."""
        # A half type would round cosine distances to multiples of 1/256, also where autocast computes the product.
        with torch.autocast(features.device.type, enabled=False):
            logits, features = (rows.to(torch.promote_types(rows.dtype, torch.float32)) for rows in (logits, features))
            cross_entropy = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
            triplet = self.triplet(features, labels, self.miner(features, labels))
        return Losses(cross_entropy + triplet, cross_entropy, triplet)
