"""A contact sheet of a set of walkers: rows of frames to look at, read from its files."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from strf_cuda.data.frames import read_frame
from strf_cuda.data.tracklets import DISTRACTOR_PERSON
from strf_cuda.data.walkers.config import CAMERAS, FRAMES_PER_SECOND, WalkersConfig
from strf_cuda.data.walkers.plan import TrackletPlan, plan_split

# Every so manieth frame of a tracklet, so that a row shows most of a gait cycle.
FRAMES_A_ROW, FRAME_STEP = 10, 4
EXAMPLES = 3

_FRAME_HEIGHT, _TITLE_HEIGHT, _GAP = 96, 18, 8
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    plans: list[TrackletPlan]


def contact_sheet(root: Path, config: WalkersConfig) -> Image.Image:
    """Two columns of rows, a tracklet each: look-alikes in gait and in pace; cameras, occluded and misaligned boxes.

    Args:
        root: a set that `make_walkers` made with `config`.
    """
    plans = [plan for plan in plan_split(config, "test") if plan.person_id > DISTRACTOR_PERSON]
    left = [
        _look_alikes(plans, "look-alike", "gait"),
        _look_alikes(plans, "look-alike-pace", "pace"),
        _Section("occluded", _examples(plans, "occluded")),
    ]
    right = [
        _Section("one tracklet of each camera", _one_a_camera(plans)),
        _Section("misaligned", _examples(plans, "misaligned")),
    ]
    size = (round(_FRAME_HEIGHT * config.width / config.height), _FRAME_HEIGHT)
    columns = [_column([section for section in column if section.plans], root, size) for column in (left, right)]
    sheet = Image.new("RGB", (sum(c.width + _GAP for c in columns) + _GAP, max(c.height for c in columns)), _PAPER)
    x = _GAP
    for column in columns:
        sheet.paste(column, (x, 0))
        x += column.width + _GAP
    return sheet


def _look_alikes(plans: list[TrackletPlan], challenge: str, what: str) -> _Section:
    """The first such group, every member in the camera that sees it first."""
    members = [plan for plan in plans if plan.challenge == challenge]
    first = [plan for plan in members if plan.group == members[0].group and plan.number == 1]
    paces = ", ".join(f"{plan.walker.gait.pace:.2f}" for plan in first)
    return _Section(f"four people who differ in {what} alone ({paces} cycles a second)", first)


def _one_a_camera(plans: list[TrackletPlan]) -> list[TrackletPlan]:
    """A tracklet of each camera, each of another person as far as there are enough."""
    chosen: list[TrackletPlan] = []
    for camera in range(1, CAMERAS + 1):
        seen = [plan for plan in plans if plan.camera == camera and plan.challenge not in ("occluded", "misaligned")]
        new = [plan for plan in seen if plan.walker.appearance not in [c.walker.appearance for c in chosen]]
        chosen += (new or seen)[-1:]
    return chosen


def _examples(plans: list[TrackletPlan], challenge: str) -> list[TrackletPlan]:
    found = [plan for plan in plans if plan.challenge == challenge]
    return found[:: max(1, len(found) // EXAMPLES)][:EXAMPLES]


def _column(sections: list[_Section], root: Path, size: tuple[int, int]) -> Image.Image:
    height = sum(_TITLE_HEIGHT + len(section.plans) * size[1] + _GAP for section in sections)
    column = Image.new("RGB", (FRAMES_A_ROW * size[0], height), _PAPER)
    draw, font = ImageDraw.Draw(column), ImageFont.load_default()
    y = 0
    for section in sections:
        draw.text((0, y + 3), section.title, fill=_INK, font=font)
        y += _TITLE_HEIGHT
        for plan in section.plans:
            for place, frame in enumerate(range(0, plan.num_frames, FRAME_STEP)[:FRAMES_A_ROW]):
                path = root / f"bbox_{plan.split}" / plan.folder / plan.frame_name(frame)
                column.paste(Image.fromarray(read_frame(str(path), size[1], size[0])), (place * size[0], y))
            y += size[1]
        y += _GAP
    return column


def caption() -> str:
    """What a row of the sheet shows, in words."""
    return f"a row is one tracklet, a frame every {FRAME_STEP / FRAMES_PER_SECOND:g} s"
