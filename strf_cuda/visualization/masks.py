"""`python -m strf_cuda.visualize masks`: where a position of a unit's output takes its values from, path by path."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strf_cuda.cli import load_config
from strf_cuda.compared import model_name
from strf_cuda.errors import InputError
from strf_cuda.meaning import masks_in_words
from strf_cuda.visualization.common import (
    Shown,
    TrackletPictureConfig,
    check_picture,
    clip_tensor,
    frame_size,
    open_models,
    picture_path,
    shown_clips,
)

if TYPE_CHECKING:
    from strf_cuda.drawing.masks import MaskColumn, MaskRow
    from strf_cuda.masks import UnitMasks

PROG = "python -m strf_cuda.visualize masks"
QUERIES = 2
HALVES = {1: ("",), 2: ("first half", "second half, on the first's output")}


@dataclass
class MasksConfig(TrackletPictureConfig):
    """Draws, for a position of an STRF unit's output, the weights with which it takes its values from all positions.

    Args:
        unit: the layer behind the unit, such as layer3.0.temporal, or its block; null for the last unit of the model
        position: row,column on the unit's grid, or several with spaces between; null for two, where the unit's input
            is largest and where it is smallest
    """

    unit: str | None = None
    position: str | None = None


def read_options(words: Sequence[str]) -> MasksConfig:
    """The checked configuration that a command line gives."""
    config = load_config(MasksConfig, words, prog=PROG)
    check_picture(config)
    _positions(config.position)
    return config


def _positions(text: str | None) -> list[tuple[int, int]] | None:
    if text is None:
        return None
    pairs = [word.split(",") for word in text.split()]
    if not pairs or any(len(pair) != 2 or not all(side.isdecimal() for side in pair) for pair in pairs):
        raise InputError(f"position is {text!r}, but it must be row,column counted from 0, or several: '3,1 7,0'")
    return [(int(row), int(column)) for row, column in pairs]


def draw(config: MasksConfig) -> None:
    """Computes the masks and writes the picture."""
    from strf_cuda.drawing.masks import draw_masks
    from strf_cuda.masks import find_unit, unit_masks

    path = picture_path(config.out, config.checkpoint, "masks.png")
    (trained,), device = open_models([config.checkpoint], config.device)
    unit = find_unit(trained.model, config.unit)
    data = trained.config.data
    source, shown = shown_clips(config, data, QUERIES)
    found = unit_masks(trained.model, clip_tensor(shown, data, device), unit)
    given = _positions(config.position)
    for row, column in given or ():
        if row >= found.size[0] or column >= found.size[1]:
            raise InputError(
                f"position is {row},{column}, but the unit {unit} has a grid of {found.size[0]} rows x "
                f"{found.size[1]} columns, counted from 0"
            )
    rows = []
    for index, clip in enumerate(shown):
        places = [(place, "") for place in given or ()] or zip(
            (found.strongest(index), found.weakest(index)), (", largest input", ", smallest input"), strict=True
        )
        rows += [_row(found, index, clip, place, said, frame_size(data)) for place, said in places]
    network = trained.config.model
    height, width = found.size
    draw_masks(
        rows,
        _columns(found),
        path,
        title=f"Masks of the STRF unit {unit}: where the framed position of its output takes its values from",
        notes=[
            f"{source}; {model_name(network)}, {masks_in_words(network)}; {height}x{width} positions; drawn over the "
            "mean of the frames, since a mask is the same for all frames of a clip",
            "n of N positions: the exponential of the entropy of the weights, 1 where a single position is copied; at "
            "the top the mean over all positions of the clips shown",
            *([] if given else ["input: the sum of squares over frames and channels of what the unit gets"]),
        ],
    )
    print(f"{path}: the masks of {unit}, positions: {len(rows)}")


def _columns(found: "UnitMasks") -> list["MaskColumn"]:
    """A column for each path, in the order of execution, and one for the whole unit."""
    from strf_cuda.drawing.masks import MaskColumn
    from strf_cuda.masks import effective_positions

    columns = []
    for half, name in zip(found.halves, HALVES[len(found.halves)], strict=True):
        group = ", ".join(word for word in (name, "added" if len(half) > 1 else "") if word)
        for place, path in enumerate(half):
            columns.append((path.replace("_", " "), found.masks[path], "" if place else group))
    columns.append(("whole unit", found.total, "all together"))
    return [
        MaskColumn(
            title, f"mean {_share(effective_positions(mask / mask.sum(1, keepdim=True), 1).mean(), found)}", group
        )
        for title, mask, group in columns
    ]


def _row(
    found: "UnitMasks", index: int, clip: Shown, position: tuple[int, int], said: str, size: tuple[int, int]
) -> "MaskRow":
    from strf_cuda.drawing.masks import MaskRow
    from strf_cuda.masks import effective_positions

    weights = [found.weights(mask, index, position) for mask in [*found.masks.values(), found.total]]
    captions = [
        (f"largest weight {each.max():.2f}", f"{_share(effective_positions(each.flatten()), found)} positions")
        for each in weights
    ]
    labels = [clip.label, *clip.notes, f"position {position[0]},{position[1]}{said}"]
    return MaskRow(labels, clip.read(*size), position, [each.numpy() for each in weights], captions)


def _share(effective: float, found: "UnitMasks") -> str:
    return f"{float(effective):.1f} of {found.size[0] * found.size[1]}"
