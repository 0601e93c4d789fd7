"""Small videos of coloured boxes that move over a grey ground, and the tracks of these boxes."""

from dataclasses import dataclass

import av
import numpy as np

GROUND = (90, 90, 90)
HEIGHT, WIDTH = 96, 160
# Of the losses of a codec at its best quality, in a box away from its edges.
TOLERANCE = 8


@dataclass(frozen=True)
class Mover:
    """A box of one colour, which is at (left, top) in its first frame and moves by (right, down) in each.

    Attributes:
        first, last: the frames in which it is there, counted from 1.
    """

    track: int
    colour: tuple[int, int, int]
    left: int
    top: int
    width: int = 20
    height: int = 40
    right: int = 0
    down: int = 0
    first: int = 1
    last: int = 20

    def box(self, frame):
        passed = frame - self.first
        return self.left + passed * self.right, self.top + passed * self.down, self.width, self.height


RED = Mover(1, (200, 40, 50), 4, 8, right=4)
GREEN = Mover(2, (40, 170, 60), 130, 50, right=-3, first=3, last=18)
BLUE = Mover(3, (40, 60, 190), 40, 50, first=6)
MOVERS = (RED, GREEN, BLUE)


def scene(movers=MOVERS, frames=20, height=HEIGHT, width=WIDTH):
    """The frames, uint8 [frames, height, width, 3]."""
    pictures = np.full((frames, height, width, 3), GROUND, np.uint8)
    for mover in movers:
        for frame in range(mover.first, min(mover.last, frames) + 1):
            left, top, box_width, box_height = mover.box(frame)
            rows, columns = slice(max(top, 0), top + box_height), slice(max(left, 0), left + box_width)
            pictures[frame - 1, rows, columns] = mover.colour
    return pictures


def tracks(movers=MOVERS, *, without=(), row="{frame},{track},{left},{top},{width},{height},0.9,-1,-1,-1"):
    """The text of a tracks file; `without` holds the (track, frame) that are left out."""
    lines = []
    for frame in range(1, max(mover.last for mover in movers) + 1):
        for mover in movers:
            if mover.first <= frame <= mover.last and (mover.track, frame) not in without:
                left, top, width, height = mover.box(frame)
                lines.append(row.format(frame=frame, track=mover.track, left=left, top=top, width=width, height=height))
    return "\n".join(lines) + "\n"


def write_video(
    path,
    pictures,
    *,
    codec="libx264",
    pixels="yuv444p",
    rotation=0,
    times=None,
    space=None,
    full=None,
    interlaced=False,
    **options,
):
    """Encodes frames nearly without loss, 25 a second or at the given times in hundredths of a second.

    Args:
        pixels: the pixel format of the video.
        rotation: degrees counter-clockwise by which a player turns the frames.
        space: 1 for the colour matrix of BT.709, 5 for BT.601; None leaves that unsaid.
        full: whether values use the full range; None leaves that unsaid.
        options: of the container.
    """
    matrix = {None: None, 1: "ITU709", 5: "ITU601"}[space]
    values = {None: None, True: "JPEG", False: "MPEG"}[full]
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25 if times is None else 100)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pixels
        stream.options = {"crf": "1", "preset": "ultrafast"} if codec == "libx264" else {"qmin": "1", "qmax": "1"}
        if interlaced:
            stream.options = {**stream.options, "flags": "+ilme+ildct"}
        if space is not None:
            stream.codec_context.colorspace = space
        if full is not None:
            stream.codec_context.color_range = 2 if full else 1
        if rotation:
            stream.set_display_rotation(rotation)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=values)
            if times is not None:
                frame.pts = times[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
