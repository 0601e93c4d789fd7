"""Embeddings of tracklets, against a plain loop over their clips."""

import dataclasses
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from images import make_tracklets
from strf_cuda.config import DataConfig, ProtocolConfig
from strf_cuda.data.augment import normalise
from strf_cuda.data.clips import evaluation_clips, whole_clips
from strf_cuda.data.frames import read_frame
from strf_cuda.data.tracklets import Tracklet
from strf_cuda.embedding import cosine_distances, embed_tracklets
from strf_cuda.errors import InputError

DATA = DataConfig(height=12, width=6, frames=4, workers=0)
PROTOCOL = ProtocolConfig(batch=5)
LENGTHS = [1, 3, 4, 9, 41, 18]


class Motion(nn.Module):
    """A small model that tells frames, places and their order apart."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(3, 8, (4, 3, 3), padding=(2, 0, 0))

    def forward(self, clips):
        return torch.tanh(self.conv(clips)).mean((2, 3, 4))


@pytest.fixture(scope="module")
def model():
    return Motion().eval()


@pytest.fixture(scope="module")
def tracklets(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    made = []
    for index, length in enumerate(LENGTHS):
        paths = []
        for frame in range(length):
            paths.append(str(folder / f"{index}-{frame}.png"))
            Image.fromarray(random.integers(0, 256, (12, 6, 3), dtype=np.uint8)).save(paths[-1])
        made.append(Tracklet(paths, index, 1))
    return made


@torch.no_grad()
def embed_plainly(model, tracklets, stride=1, frames=DATA.frames, flip=False):
    """One clip at a time, the mean over a tracklet's clips, unit length; in float64 after the model."""
    embeddings = []
    for tracklet in tracklets:
        features = []
        length = len(tracklet)
        for clip in whole_clips(length, stride) if frames == "all" else evaluation_clips(length, frames, stride):
            pixels = np.stack([read_frame(tracklet.paths[i], DATA.height, DATA.width) for i in clip])
            views = [pixels, pixels[:, :, ::-1].copy()] if flip else [pixels]
            features += [model(normalise(torch.from_numpy(view)[None]))[0].double() for view in views]
        mean = sum(features) / len(features)
        embeddings.append(mean / mean.norm())
    return torch.stack(embeddings)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("frames", [None, 9, "all"])
def test_an_embedding_is_the_normalised_mean_over_all_clips(model, tracklets, frames, stride):
    protocol = dataclasses.replace(PROTOCOL, frames=frames, stride=stride)
    embeddings = embed_tracklets(model, tracklets, DATA, protocol)
    assert embeddings.dtype == torch.float32 and embeddings.shape == (len(LENGTHS), 8)
    expected = embed_plainly(model, tracklets, stride, frames or DATA.frames)
    torch.testing.assert_close(embeddings.double(), expected, atol=1e-6, rtol=0)


def test_the_flip_test_takes_the_mean_over_clips_and_their_mirror_images(model, tracklets):
    flipped = embed_tracklets(model, tracklets, DATA, dataclasses.replace(PROTOCOL, flip=True))
    torch.testing.assert_close(flipped.double(), embed_plainly(model, tracklets, flip=True), atol=1e-6, rtol=0)
    assert (flipped - embed_tracklets(model, tracklets, DATA, PROTOCOL)).abs().max() > 1e-3


@pytest.mark.parametrize(("batch", "workers"), [(1, 0), (2, 2), (64, 0), (5, 1)])
def test_batches_and_workers_do_not_matter(model, tracklets, batch, workers):
    expected = embed_tracklets(model, tracklets, DATA, PROTOCOL)
    data = dataclasses.replace(DATA, workers=workers)
    embeddings = embed_tracklets(model, tracklets, data, dataclasses.replace(PROTOCOL, batch=batch))
    torch.testing.assert_close(embeddings, expected, atol=1e-6, rtol=0)


def test_a_tracklet_s_embedding_does_not_depend_on_the_others(model, tracklets):
    together = embed_tracklets(model, tracklets, DATA, PROTOCOL)
    for index, tracklet in enumerate(tracklets):
        alone = embed_tracklets(model, [tracklet], DATA, PROTOCOL)
        torch.testing.assert_close(alone[0], together[index], atol=1e-6, rtol=0)


def test_memory_does_not_grow_with_the_length_of_a_tracklet(tmp_path):
    """No more than one full batch at a time reaches the model, and it is given up before the next but one."""
    tracklets = make_tracklets(tmp_path, [400, 2], [1, 2])
    model, seen, alive = Motion().eval(), [], []

    def watch(module, inputs, features):
        alive[:] = [held for held in alive if held() is not None]
        assert len(alive) <= 2
        seen.append(len(inputs[0]))
        alive.extend([weakref.ref(inputs[0]), weakref.ref(features)])

    model.register_forward_hook(watch)
    embed_tracklets(model, tracklets, DATA, dataclasses.replace(PROTOCOL, batch=8))
    assert seen == [8] * 12 + [5]


def test_shuffled_frames_change_the_embeddings_alike_on_every_run(model, tracklets):
    plain = embed_tracklets(model, tracklets, DATA, PROTOCOL)
    shuffled = dataclasses.replace(PROTOCOL, shuffle_frames=True)
    other = embed_tracklets(model, tracklets, DATA, shuffled)
    assert torch.equal(plain[0], other[0])  # one frame, repeated
    assert ((plain - other).abs().amax(1)[2:] > 1e-3).all()
    assert torch.equal(other, embed_tracklets(model, tracklets, DATA, dataclasses.replace(shuffled, batch=5)))


def test_autocast_changes_little_and_returns_float32(model, tracklets):
    plain = embed_tracklets(model, tracklets, DATA, PROTOCOL)
    half = embed_tracklets(model, tracklets, DATA, PROTOCOL, autocast=torch.bfloat16)
    assert half.dtype == torch.float32 and not torch.equal(half, plain)
    torch.testing.assert_close(half, plain, atol=0.02, rtol=0)


def test_an_unreadable_frame_is_named(model, tracklets, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    broken = Tracklet([*tracklets[3].paths, str(tmp_path / "cut.png")], 1, 1)
    with pytest.raises(InputError, match="cut.png"):
        embed_tracklets(model, [broken], DATA, PROTOCOL)


def test_cosine_distances_are_one_minus_the_cosine():
    queries = nn.functional.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)))
    distances = cosine_distances(queries, torch.cat((queries, -queries[:1])))
    assert distances.shape == (3, 4)
    torch.testing.assert_close(distances.diagonal(), torch.zeros(3), atol=1e-6, rtol=0)
    assert distances[0, 3].item() == pytest.approx(2, abs=1e-6)
    expected = 1 - nn.functional.cosine_similarity(queries[0], queries[1], dim=0)
    assert distances[0, 1].item() == pytest.approx(expected.item(), abs=1e-6)
