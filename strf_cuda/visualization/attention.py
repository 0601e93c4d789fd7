"""`python -m strf_cuda.visualize attention`: where a stage's activations are large, with and without STRF.

Figure 5 of the paper, and Figure 3 of its supplement: the frames of a clip and the attention maps of stage 3 over them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from strf_cuda.cli import load_config
from strf_cuda.compared import comparison_notes, model_names
from strf_cuda.errors import InputError
from strf_cuda.visualization.common import (
    TrackletPictureConfig,
    check_picture,
    clip_tensor,
    frame_size,
    open_models,
    picture_path,
    shown_clips,
)

PROG = "python -m strf_cuda.visualize attention"
QUERIES = 4


@dataclass
class AttentionConfig(TrackletPictureConfig):
    """Draws attention maps over frames: the sum over channels of squared activations at a stage's output.

    Args:
        baseline: a second trained model, usually without STRF, whose maps are drawn above
        stage: 1 to 4; the paper shows stage 3
        scale: each model's map is divided by its largest value in the clip, or in each frame
    """

    baseline: str | None = None
    stage: int = 3
    scale: Literal["clip", "frame"] = "clip"


def read_options(words: Sequence[str]) -> AttentionConfig:
    """The checked configuration that a command line gives."""
    config = load_config(AttentionConfig, words, prog=PROG)
    check_picture(config)
    if not 1 <= config.stage <= 4:
        raise InputError(f"stage is {config.stage}, but a ResNet has the stages 1, 2, 3 and 4")
    return config


def draw(config: AttentionConfig) -> None:
    """Computes the maps and writes the picture."""
    from strf_cuda.attention import attention_maps, scaled
    from strf_cuda.drawing.attention import AttentionBlock, draw_attention

    path = picture_path(config.out, config.checkpoint, "attention.png")
    sources = [source for source in (config.baseline, config.checkpoint) if source is not None]
    trained, device = open_models(sources, config.device)
    ours = trained[-1].config
    notes = [note for each in trained[:-1] for note in comparison_notes(ours, each.config)]
    for note in notes:
        print(f"note: {note}")
    source, shown = shown_clips(config, ours.data, QUERIES)
    maps = [attention_maps(each.model, clip_tensor(shown, each.config.data, device), config.stage) for each in trained]
    size = frame_size(ours.data)
    blocks = [
        AttentionBlock(
            clip.label,
            "; ".join(clip.notes),
            clip.read(*size),
            [scaled(of_model[index], config.scale).numpy() for of_model in maps],
        )
        for index, clip in enumerate(shown)
    ]
    grids = dict.fromkeys(f"{of_model.shape[2]}x{of_model.shape[3]}" for of_model in maps)
    draw_attention(
        blocks,
        model_names([(each.config.model, each.source) for each in trained]),
        path,
        title=f"Attention maps of stage {config.stage}: squared activations, summed over channels",
        full_scale=f"the largest value of the {config.scale}",
        notes=[
            f"{source}; maps of {' and '.join(grids)} positions, enlarged by linear interpolation; each model has a "
            "scale of its own",
            *notes,
        ],
    )
    print(f"{path}: the attention of stage {config.stage}, clips: {len(blocks)}")
