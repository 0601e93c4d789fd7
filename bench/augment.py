"""Times clip augmentation against kornia's, which does the same: a flip, erasing and normalisation for each clip.

    pip install kornia && python -m bench.augment

32 clips of 4 frames, on the CPU. Reads and writes every pixel once at the least: 9 MB in and 50 MB out at 256x128. Both
results must be as bright on average, or the comparison means nothing. Writes bench/results/augment.json.
"""

import statistics
import time
from functools import partial

import kornia.augmentation as K
import torch

from bench.machine import write_result
from strf_cuda.data.augment import ERASED_AREA, ERASED_ASPECT, IMAGENET_MEAN, IMAGENET_STD, ClipAugmentation

CLIPS, FRAMES, ROUNDS = 32, 4, 15
SIZES = ((64, 32), (256, 128))


def with_kornia(clips: torch.Tensor, augment: torch.nn.Module) -> torch.Tensor:
    """uint8 [B, T, H, W, 3] to float32 [B, 3, T, H, W] in channels-last memory, as the models read it."""
    scaled = clips.permute(0, 1, 4, 2, 3).float() / 255  # [B, T, 3, H, W]
    out = augment(scaled).transpose(1, 2)
    return out.contiguous(memory_format=torch.channels_last_3d)


def milliseconds(*functions) -> list[float]:
    """The median time of each function, called in turn so that a slow spell of the machine meets them all."""
    times = [[] for _ in functions]
    for _ in range(ROUNDS + 1):
        for function, own in zip(functions, times, strict=True):
            started = time.perf_counter()
            function()
            own.append(1000 * (time.perf_counter() - started))
    return [statistics.median(own[1:]) for own in times]


def main() -> None:
    ours = ClipAugmentation().train()
    theirs = K.VideoSequential(
        K.RandomHorizontalFlip(p=0.5),
        K.Normalize(torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)),
        K.RandomErasing(ERASED_AREA, ERASED_ASPECT, p=0.5),
        data_format="BTCHW",
        same_on_frame=True,
    )
    figures = {}
    for height, width in SIZES:
        clips = torch.randint(0, 256, (CLIPS, FRAMES, height, width, 3), dtype=torch.uint8)
        both = partial(ours, clips), partial(with_kornia, clips, theirs)
        means = [sum(augment().mean().item() for _ in range(8)) / 8 for augment in both]
        assert abs(means[0] - means[1]) < 0.05, means
        a, b = milliseconds(*both)
        figures[f"{height}x{width}"] = {"ours_ms": round(a, 2), "kornia_ms": round(b, 2), "ratio": round(b / a, 2)}
        print(f"{height}x{width}: {a:.1f} ms, kornia {b:.1f} ms, ratio {b / a:.1f}")
    write_result(
        "augment",
        f"milliseconds to augment {CLIPS} clips of {FRAMES} frames on the CPU, median of {ROUNDS}",
        ("torch", "kornia"),
        {"threads": torch.get_num_threads(), "sizes": figures},
    )


if __name__ == "__main__":
    main()
