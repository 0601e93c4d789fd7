"""Runs and pages for the tests of `strf_cuda.visualize report`."""

import json

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from strf_cuda import visualize
from strf_cuda.cli import run
from strf_cuda.config import ProtocolConfig
from strf_cuda.data.tracklets import Tracklet, TrackletDataset
from strf_cuda.evaluation import rank
from strf_cuda.trained import open_model
from strf_cuda.visualization.page.content import page_content, rankings
from strf_cuda.visualization.page.history import run_history
from strf_cuda.visualization.page.loops import Loop, strips
from strf_cuda.visualization.page.writing import write_page

HISTORY = [
    {"epoch": 1, "mAP": 0.25, "rank-1": 0.5, "rank-5": 0.75},
    {"epoch": 2, "mAP": 0.375, "rank-1": 0.25, "rank-5": None},
]


def command(*argv):
    """Exit status of the command, run in this process."""
    return run(lambda: visualize.main(["report", *map(str, argv)]))


def make_run(folder, checkpoint):
    """What a run of two epochs leaves behind, with the weights of a checkpoint; returns the new checkpoint."""
    content = torch.load(checkpoint, weights_only=True)
    folder.mkdir()
    torch.save({**content, "epoch": 1}, folder / "best.ckpt")
    (folder / "metrics.json").write_text(json.dumps({"history": HISTORY}))
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for step in range(6):
            writer.add_scalar("train/loss", 3.0 - 0.25 * step, step)
            writer.add_scalar("train/accuracy", 0.125 * step, step)
            writer.add_scalar("epoch", step // 3, step)
    return folder / "best.ckpt"


def made_up(tracklets, queries, gallery, people=200):
    """A data set of as many queries and gallery tracklets, which have the frames of given ones, and its distances."""
    random = np.random.default_rng(0)
    made = [
        Tracklet(tracklets[index % len(tracklets)].paths, index % people + 1, int(camera), f"kind {index % 3}")
        for index, camera in enumerate(random.integers(1, 7, gallery))
    ]
    persons = np.array([tracklet.person_id for tracklet in made])
    distances = random.random((queries, gallery), dtype=np.float32)
    distances += 0.4 * (persons[:queries, None] != persons)
    return TrackletDataset("made up", [], made[:queries], made), distances.astype(np.float32)


def write_made_up(path, checkpoint, tracklets, queries, gallery):
    """The page of a made-up data set; its tracklets share a few pictures, since drawing all would take long."""
    dataset, distances = made_up(tracklets, queries, gallery)
    evaluation = rank(dataset, distances)
    trained = open_model(checkpoint)
    shown, loop = rankings(evaluation, 10), Loop(6, 1, 64, 32)
    history = run_history(path.parent)
    content = page_content(trained, trained.config.data, ProtocolConfig(), evaluation, shown, loop, history)
    pictures = list(strips(tracklets[:20], loop))
    write_page(path, content, (pictures[number % 20] for number in range(len(shown.tracklets))))
    return evaluation, shown


def content_of(page):
    """What Python wrote into a page, read back."""
    text = page.read_text(encoding="utf-8")
    return json.loads(text.split('<script type="application/json" id="content">')[1].split("</script>")[0])
