"""Embeddings of whole tracklets: the mean over the clips that cover them (supplement, section C).

Batches go across tracklets and only sums are kept, so memory does not depend on how long a tracklet is, unless the
protocol asks for clips of whole tracklets. Several processes deal the same batches out among them
and add their sums, in float64, so they embed as one does.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from strf_cuda.config import DataConfig, ProtocolConfig
from strf_cuda.data.augment import normalise
from strf_cuda.data.loader import evaluation_loader
from strf_cuda.data.tracklets import Tracklet
from strf_cuda.distributed import add_over_processes, process_and_processes


def embed_tracklets(
    model: nn.Module,
    tracklets: Sequence[Tracklet],
    data: DataConfig,
    protocol: ProtocolConfig,
    *,
    autocast: torch.dtype | None = None,
    progress: bool = True,
) -> Tensor:
    """Embeds tracklets with a model in eval mode.

    Args:
        model: maps [B, 3, T, H, W] to features [B, F]; its parameters say on which device.
        autocast: a half type for the forward pass, or None.
        progress: show a bar with the remaining time where stderr is a terminal.

    Returns:
        float32 [len(tracklets), F] on the CPU: means of clip features, scaled to unit length, the same in all
        processes. With `protocol.flip` the feature of a clip is the mean of its own and of its mirror image's, as is
        common practice (described by Ni and Rahtu, "FlipReID", EUVIP 2021).

    Raises:
        InputError: a frame that cannot be read.
    """
    (embeddings,) = embed_in_parts(model, [tracklets], data, protocol, autocast=autocast, progress=progress)
    return embeddings


@torch.inference_mode()
def embed_in_parts(
    model: nn.Module,
    parts: Sequence[Sequence[Tracklet]],
    data: DataConfig,
    protocol: ProtocolConfig,
    *,
    autocast: torch.dtype | None = None,
    progress: bool = True,
) -> Iterator[Tensor]:
    """Yields the embeddings of one part after the other, arguments and errors as `embed_tracklets`.

    No batch goes across parts, so those of a part are the same to the bit whatever the others are. Frames are read
    ahead all the same.
    """
    device = next(model.parameters()).device
    process, processes = process_and_processes()
    sizes = [len(part) for part in parts]
    loader = evaluation_loader(
        [tracklet for part in parts for tracklet in part],
        batch_frames=protocol.batch * data.frames,
        height=data.height,
        width=data.width,
        frames=protocol.frames or data.frames,
        workers=data.workers,
        stride=protocol.stride,
        shuffle_frames=protocol.shuffle_frames,
        parts=sizes,
        process=process,
        processes=processes,
    )
    hidden = None if progress and process == 0 else True
    sums, part, first = None, 0, 0
    for clips, owners in tqdm(loader, desc="embedding", unit="batch", disable=hidden, leave=False):
        while owners[0] >= first + sizes[part]:
            yield _unit_sums(sums, sizes[part], device)
            sums, part, first = None, part + 1, first + sizes[part]
        clips = normalise(clips.to(device, non_blocking=True))
        for view in (clips, clips.flip(4)) if protocol.flip else (clips,):
            with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                features = model(view)
            if sums is None:
                sums = torch.zeros(sizes[part], features.shape[1], dtype=torch.float64)
            sums.index_add_(0, owners - first, features.cpu().double())
    for size in sizes[part:]:  # several where this process has no batch of the last ones
        yield _unit_sums(sums, size, device)
        sums = None


def _unit_sums(sums: Tensor | None, rows: int, device: torch.device) -> Tensor:
    sums = add_over_processes(sums, rows, device)
    # Means differ from sums by a factor, which the scaling to unit length takes away.
    return F.normalize(sums).float()


def cosine_distances(queries: Tensor, gallery: Tensor) -> Tensor:
    """1 - cos for unit vectors [Q, F] and [G, F]: [Q, G]."""
    return 1 - queries @ gallery.T
