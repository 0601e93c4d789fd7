"""What the pages take for granted: data sets, weights and earlier runs, all very small, and settings of that size."""

import shutil
from pathlib import Path

import numpy as np
import torch

import trees
import videos
from strf_cuda.data.walkers import WalkersConfig, make_walkers
from strf_cuda.embeddings import Embeddings, encode_paths, read_embeddings, write_embeddings
from strf_cuda.models import create_model
from strf_cuda.models.weights import _image_entries

WALKERS = dict(
    train_people=4, test_people=4, gait_groups=1, pace_groups=0, cameras_per_person=6, distractors=1, junk=1,
    height=32, width=16, frames=10,
)  # fmt: skip
NETWORK = dict(width=16, depth=(1, 1, 1, 1))
TRAINING = [
    "--device=cpu", "--devices=1", "--nodes=1", "--epochs=2", "--data.height=32", "--data.width=16", "--data.people=2",
    "--data.clips=2", "--data.stride=2", "--data.workers=0", "--model.width=16", "--model.depth=[1, 1, 1, 1]",
    "--evaluation.every=2", "--evaluation.stride=2",
]  # fmt: skip


def smaller(module: str, words: list[str]) -> list[str]:
    """Options to add to those of a command, whose last one counts, so that it takes seconds."""
    if module == "strf_cuda.train" and "--resume" in words:
        return ["--epochs=3"]
    if module == "strf_cuda.train":
        return TRAINING
    if module == "strf_cuda.evaluate":
        return ["--workers=0", "--devices=1", "--queries=2"]
    if module in ("strf_cuda.ablate", "strf_cuda.repeat"):
        return ["--seeds=1"]
    if module == "strf_cuda.synthesize":
        return [f"--{name}={value}" for name, value in WALKERS.items()]
    return []


def write_galleries(folder: Path) -> None:
    """Made-up embeddings, by the model of the queries, of as many tracklets as a compressed gallery needs."""
    query = read_embeddings(folder / "query.safetensors")
    random, rows = np.random.default_rng(0), 1000
    vectors = random.standard_normal((rows, query.vectors.shape[1])).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    persons, cameras, seconds, ones = np.arange(rows) // 4 + 1, np.arange(rows) % 6 + 1, np.arange(rows), np.ones(rows)
    paths, path_ends = encode_paths([[f"{row}.jpg"] for row in range(rows)])
    made = Embeddings(
        vectors, persons, cameras, ones, seconds, seconds + 1, ones, paths, path_ends, dict(query.description)
    )
    for name in ("city.safetensors", "cam2.safetensors"):
        write_embeddings(folder / name, made)


def write_world(folder: Path) -> Path:
    """Everything but the runs, below a new folder, and the built-in walkers beside it; returns these."""
    data = folder / "data"
    size = (16, 32)
    walkers = make_walkers(folder.parent / "walkers", WalkersConfig(**WALKERS), progress=False)
    shutil.copytree(walkers, data / "MARS")
    for name in ("iLIDS", "iLIDS-VID"):
        trees.small_ilids(folder / name, size)
        (folder / name / "ilids").rename(data / name)
        (folder / name).rmdir()
    trees.small_prid(data, size)
    people = {
        f"{person}/{camera}/{number}": 8 for person in "abcdefgh" for camera in ("door", "hall") for number in "12"
    }
    trees.write_folder(data / "people", people, size)
    for name in ("MARS", "iLIDS"):
        (folder / name).symlink_to(data / name)
    torch.save(_image_entries(create_model("c2d", 2, unit=None, **NETWORK)), folder / "resnet50.pth")
    row = "{frame},{track},{left},{top},{width},{height},1,1,1.0"
    for right, (name, tracks) in enumerate(
        [("cam1.mp4", "cam1.txt"), ("cam2.mp4", "cam2.txt"), ("MOT17-02.mkv", "gt.txt")]
    ):
        movers = [videos.Mover(track, (40 * track, 90, 160), 30 * track, 20, right=right) for track in range(1, 5)]
        videos.write_video(folder / name, videos.scene(movers))
        (folder / tracks).write_text(videos.tracks(movers, row=row))
    shutil.copytree(next((walkers / "bbox_test").iterdir()), folder / "frames")
    shutil.copy(next((folder / "frames").glob("*.jpg")), folder / "door.jpg")
    return walkers
