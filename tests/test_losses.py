"""The objective, against plain loops in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from strf_cuda.losses import ReidLoss

MARGIN = 0.3


def batch_hard_triplet(features, labels, margin):
    """The mean over all anchors with a positive and a negative, in plain Python; 0 without any."""
    rows = [[float(value) for value in row] for row in features]

    def distance(i, j):
        dot = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
        return 1 - dot / math.sqrt(sum(a * a for a in rows[i]) * sum(b * b for b in rows[j]))

    terms = []
    for i, label in enumerate(labels):
        positives = [distance(i, j) for j, other in enumerate(labels) if other == label and j != i]
        negatives = [distance(i, j) for j, other in enumerate(labels) if other != label]
        if positives and negatives:
            terms.append(max(0.0, margin + max(positives) - min(negatives)))
    return sum(terms) / len(terms) if terms else 0.0


def clustered_features(labels, spread, seed=0):
    """Features around one random direction a person; a small spread makes most triplets easy."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(max(labels) + 1, 16, generator=generator)
    return centres[labels] + spread * torch.randn(len(labels), 16, generator=generator)


def losses_of(features, labels, margin=MARGIN):
    logits = torch.zeros(len(labels), max(labels) + 1)
    return ReidLoss(margin)(logits, features, torch.tensor(labels))


@pytest.mark.parametrize("spread", [0.1, 0.6, 1.0, 3.0])
@pytest.mark.parametrize(
    "labels",
    [
        [p for p in range(8) for _ in range(4)],
        [0, 0, 1, 1],
        [0, 1, 0, 2, 2, 0, 1, 3, 3, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 2, 3],
    ],
    ids=["8 people x 4", "2 x 2", "unequal", "a person with one clip", "three people with one clip"],
)
def test_the_triplet_loss_is_the_mean_of_the_hardest_triplets_of_all_anchors(labels, spread):
    features = clustered_features(labels, spread)
    expected = batch_hard_triplet(features, labels, MARGIN)
    assert losses_of(features, labels).triplet.item() == pytest.approx(expected, abs=2e-6)


def test_anchors_without_loss_count_in_the_mean():
    """Two tight pairs at right angles, and one clip of the third person that looks like the first's."""
    labels = [0, 0, 1, 1, 2, 2]
    features = torch.eye(3)[labels]
    features[4] = features[0]
    # Anchors 0 and 1 lose margin + 0 - 0, anchor 4 margin + 1 - 0, anchor 5 margin + 1 - 1; 2 and 3 nothing.
    assert losses_of(features, labels).triplet.item() == pytest.approx((4 * MARGIN + 1) / 6, abs=1e-6)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one person", "single clips only"])
def test_without_triplets_the_triplet_loss_and_its_gradient_are_zero(labels):
    features = clustered_features(labels, 1.0).requires_grad_()
    triplet = losses_of(features, labels).triplet
    assert triplet.item() == 0
    triplet.backward()
    assert (features.grad == 0).all()


def test_a_person_with_one_clip_is_a_negative_for_others():
    labels = [0, 0, 1]
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.05]])
    loss = losses_of(features, labels)
    assert loss.triplet.item() == pytest.approx(batch_hard_triplet(features, labels, MARGIN), abs=1e-6)
    assert loss.triplet.item() > MARGIN


def test_the_cross_entropy_has_no_smoothing_and_the_sum_no_weights():
    labels = [0, 0, 1, 1, 2, 2]
    features = clustered_features(labels, 1.0)
    logits = 3 * torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    losses = ReidLoss(MARGIN)(logits, features, torch.tensor(labels))
    expected = 0.0
    for row, label in zip(logits.double().tolist(), labels, strict=True):
        expected -= (row[label] - math.log(sum(map(math.exp, row)))) / len(labels)
    assert losses.cross_entropy.item() == pytest.approx(expected, abs=1e-6)
    assert losses.total.item() == pytest.approx(expected + batch_hard_triplet(features, labels, MARGIN), abs=3e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_label_smoothing_spreads_its_share_of_the_target_over_all_people(smoothing):
    labels, people = [0, 2, 2, 1], 5
    logits = 3 * torch.randn(4, people, generator=torch.Generator().manual_seed(1))
    features = clustered_features(labels, 1.0)
    losses = ReidLoss(MARGIN, smoothing)(logits, features, torch.tensor(labels))
    expected = 0.0
    for row, label in zip(logits.double().tolist(), labels, strict=True):
        normaliser = math.log(sum(map(math.exp, row)))
        for person, logit in enumerate(row):
            target = smoothing / people + (1 - smoothing) * (person == label)
            expected -= target * (logit - normaliser) / len(labels)
    assert losses.cross_entropy.item() == pytest.approx(expected, abs=1e-6)
    assert losses.triplet == losses_of(features, labels).triplet


def test_perfect_logits_reach_zero_cross_entropy():
    losses = ReidLoss()(100 * torch.eye(3), clustered_features([0, 1, 2], 1.0), torch.tensor([0, 1, 2]))
    assert losses.cross_entropy.item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_gives_the_float32_loss_of_the_rounded_values(dtype):
    labels = [p for p in range(4) for _ in range(4)]
    features = clustered_features(labels, 0.6).to(dtype).requires_grad_()
    logits = torch.randn(16, 4, generator=torch.Generator().manual_seed(2)).to(dtype).requires_grad_()
    target = torch.tensor(labels)
    losses = ReidLoss(MARGIN)(logits, features, target)
    whole = ReidLoss(MARGIN)(logits.detach().float(), features.detach().float(), target)
    assert losses.total.dtype == torch.float32
    assert losses.total.item() == whole.total.item() and losses.triplet.item() > 0
    losses.total.backward()
    assert features.grad.dtype == dtype and features.grad.isfinite().all() and (features.grad != 0).any()


def test_the_gradient_is_that_of_the_hardest_triplets():
    """Against autograd through the same triplets written out in float64."""
    labels = [0, 0, 0, 1, 1, 2]
    features = clustered_features(labels, 1.0).requires_grad_()
    losses_of(features, labels).triplet.backward()

    twin = features.detach().double().requires_grad_()
    unit = F.normalize(twin)
    distances = 1 - unit @ unit.T
    same = torch.tensor(labels)[:, None] == torch.tensor(labels)
    positive = distances.masked_fill(~same | torch.eye(6, dtype=torch.bool), -9).amax(1)
    negative = distances.masked_fill(same, 9).amin(1)
    (MARGIN + positive - negative).clamp_min(0)[:5].mean().backward()
    torch.testing.assert_close(features.grad.double(), twin.grad, atol=1e-6, rtol=1e-4)


def test_equal_features_of_all_clips_give_the_margin_and_a_finite_gradient():
    features = torch.ones(4, 8, requires_grad=True)
    triplet = losses_of(features, [0, 0, 1, 1]).triplet
    assert triplet.item() == pytest.approx(MARGIN, abs=1e-6)
    triplet.backward()
    assert features.grad.isfinite().all()


def test_autocast_does_not_round_the_distances():
    labels = [p for p in range(8) for _ in range(4)]
    features = clustered_features(labels, 0.6)
    plain = losses_of(features, labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert losses_of(features, labels) == plain
