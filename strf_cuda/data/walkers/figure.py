"""The articulated figure: a gait at given phases becomes coloured polygons, back to front.

Lengths are in body heights. A body point is (forward, up, lateral) relative to the ground below the hips, lateral
positive to the walker's side that faces the viewer at yaw 0; an image point is (right, up).
"""

from dataclasses import dataclass

import numpy as np

from strf_cuda.data.walkers.people import Appearance, Colour, Gait, Walker

THIGH, SHIN, HEEL, FOOT = 0.245, 0.235, 0.035, 0.115
TRUNK, NECK, UPPER_ARM, FOREARM = 0.30, 0.055, 0.165, 0.15
HEAD_RADIUS = 0.066
# Half widths of the trunk from hips to neck: (height along the trunk, seen from the side, seen from the front).
TRUNK_OUTLINE = (
    (-0.06, 0.078, 0.088),
    (0.3, 0.072, 0.082),
    (0.7, 0.084, 0.108),
    (0.95, 0.070, 0.118),
    (1.06, 0.03, 0.05),
)

# The knee bends while the thigh swings forward, a little before it passes the vertical.
KNEE_LEAD, LEAST_KNEE = 0.4, np.deg2rad(4)

_CAP_ANGLES = np.linspace(np.pi / 2, 3 * np.pi / 2, 5)
_CIRCLE = np.linspace(0, 2 * np.pi, 14, endpoint=False)

Polygon = tuple[np.ndarray, Colour]


@dataclass(frozen=True, slots=True)
class View:
    """From where a walker is seen.

    Attributes:
        heading: 1 walking to the right of the image, -1 to the left.
        yaw: radians by which the walk turns towards the viewer.
        pitch: radians by which the camera looks down.
    """

    heading: int
    yaw: float
    pitch: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Body points [..., 3] to image points [..., 2] (orthographic)."""
        forward, up, lateral = points[..., 0], points[..., 1], points[..., 2]
        right = forward * np.cos(self.yaw) - lateral * np.sin(self.yaw)
        depth = forward * np.sin(self.yaw) + lateral * np.cos(self.yaw)
        return np.stack([self.heading * right, up * np.cos(self.pitch) - depth * np.sin(self.pitch)], -1)

    @property
    def near_side(self) -> str:
        """The walker's side that faces the viewer."""
        return "right" if self.heading > 0 else "left"


@dataclass(frozen=True, slots=True)
class Joints:
    """Body points [F, 3] by name ("left knee"); the trunk's two ends have no side."""

    points: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.points[name]


def pose(gait: Gait, body: Appearance, phases: np.ndarray, near_side: str) -> Joints:
    """The joints at `phases` [F] (radians); the lower foot always stands on the ground, so the hips rise and fall."""
    swing, lean = np.deg2rad(gait.thigh), np.deg2rad(gait.lean)
    legs, arms, drops = {}, {}, []
    for side, offset in (("left", 0.0), ("right", np.pi)):
        phase = phases + offset
        thigh = swing * np.sin(phase) + 0.1 * swing
        knee = LEAST_KNEE + np.deg2rad(gait.knee) * np.clip(np.cos(phase + KNEE_LEAD), 0, 1) ** 1.5
        shin = thigh - knee
        foot = np.where(shin < 0, 0.8, 0.4) * shin
        legs[side] = thigh, shin, foot
        ankle = body.legs * (THIGH * np.cos(thigh) + SHIN * np.cos(shin))
        drops.append(ankle + np.maximum(HEEL * np.cos(foot), HEEL * np.cos(foot) - FOOT * np.sin(foot)))
        upper_arm = -np.deg2rad(gait.arm) * np.sin(phase) + 0.3 * lean
        arms[side] = upper_arm, upper_arm + np.deg2rad(gait.elbow) * (0.8 - 0.2 * np.sin(phase))
    still = np.zeros_like(phases)
    hips = np.stack([still, np.max(drops, axis=0), still], -1)
    trunk = TRUNK * np.array([np.sin(lean), np.cos(lean), 0.0])
    points = {"hips": hips, "neck": hips + trunk}
    for side in ("left", "right"):
        outward = (1 if side == near_side else -1) * np.array([0, 0, 1])
        thigh, shin, foot = legs[side]
        hip = hips + 0.05 * body.build * outward
        knee = hip + _down(thigh, THIGH * body.legs)
        ankle = knee + _down(shin, SHIN * body.legs)
        heel = ankle + _down(foot, HEEL)
        shoulder = hips + 0.93 * trunk + 0.112 * body.build * outward
        upper_arm, forearm = arms[side]
        elbow = shoulder + _down(upper_arm, UPPER_ARM)
        parts = {"hip": hip, "knee": knee, "ankle": ankle, "heel": heel, "toe": heel + _along(foot, FOOT)}
        parts |= {"shoulder": shoulder, "elbow": elbow, "hand": elbow + _down(forearm, FOREARM)}
        points |= {f"{side} {name}": point for name, point in parts.items()}
    return Joints(points)


def figure(walker: Walker, phases: np.ndarray, view: View) -> list[Polygon]:
    """Polygons [F, K, 2] (image points) of a walker at `phases` [F], to be painted in this order."""
    look = walker.appearance
    joints = pose(walker.gait, look, phases, view.near_side)
    near, far = view.near_side, "left" if view.near_side == "right" else "right"
    carried = _carried(look, joints, view)
    trunk = _Trunk(look, joints, view)
    skirt = [_skirt(look, joints, view)] if look.lower_garment == "skirt" else []
    return [
        *carried["rear"],
        *_arm(look, joints, view, far),
        *_leg(look, joints, view, far),
        *_leg(look, joints, view, near),
        *skirt,
        *carried["under trunk"],
        *trunk.polygons(),
        *_head(look, trunk, view),
        *carried["over trunk"],
        *_arm(look, joints, view, near),
        *carried["front"],
    ]


def _down(angle: np.ndarray, length: float) -> np.ndarray:
    """A bone [F, 3] hanging at `angle` from the vertical, forward positive."""
    return length * np.stack([np.sin(angle), -np.cos(angle), np.zeros_like(angle)], -1)


def _along(angle: np.ndarray, length: float) -> np.ndarray:
    """A bone [F, 3] pointing forward, raised by `angle`."""
    return length * np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], -1)


def shade(colour: Colour, side: str) -> Colour:
    """Left limbs lighter, right ones darker: without it a walk looks the same after half a cycle."""
    if side == "left":
        return tuple(min(255, round(1.05 * value + 24)) for value in colour)
    return tuple(round(0.68 * value) for value in colour)


def _limb(start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float) -> np.ndarray:
    """A tapered capsule [F, 10, 2] between image points [F, 2]."""
    along = end - start
    along = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], -1)
    cos, sin = np.cos(_CAP_ANGLES)[:, None], np.sin(_CAP_ANGLES)[:, None]
    cap = cos * along[:, None] + sin * across[:, None]
    return np.concatenate([start[:, None] + start_radius * cap, end[:, None] - end_radius * cap], 1)


def _leg(look: Appearance, joints: Joints, view: View, side: str) -> list[Polygon]:
    hip, knee, ankle, heel, toe = (
        view.project(joints[f"{side} {name}"]) for name in ("hip", "knee", "ankle", "heel", "toe")
    )
    lower, skin, width = shade(look.lower, side), shade(look.skin, side), look.build
    bare = look.lower_garment in ("shorts", "skirt")
    polygons = [
        (_limb(heel, toe, 0.026, 0.018), shade(look.shoes, side)),
        (_limb(knee, ankle, 0.042 * width, 0.028), skin if bare else lower),
        (_limb(hip, knee, 0.062 * width, 0.044 * width), lower),
    ]
    if look.lower_garment == "striped trousers":
        stripe = shade(look.accent, side)
        polygons += [(_limb(knee, ankle, 0.014, 0.012), stripe), (_limb(hip, knee, 0.014, 0.014), stripe)]
    return polygons


def _arm(look: Appearance, joints: Joints, view: View, side: str) -> list[Polygon]:
    shoulder, elbow, hand = (view.project(joints[f"{side} {name}"]) for name in ("shoulder", "elbow", "hand"))
    sleeve, skin, width = shade(look.upper, side), shade(look.skin, side), look.build
    return [
        (_limb(elbow, hand, 0.028 * width, 0.023), sleeve if look.long_sleeves else skin),
        (_limb(shoulder, elbow, 0.038 * width, 0.030 * width), sleeve),
        (_limb(hand, hand + (hand - elbow) * 0.15, 0.022, 0.02), skin),
    ]


def _skirt(look: Appearance, joints: Joints, view: View) -> Polygon:
    """From the waist to the knees, its hem as wide as the knees stand apart."""
    waist = view.project(joints["hips"]) + np.array([0, 0.03])
    knees = np.stack([view.project(joints[f"{side} knee"]) for side in ("left", "right")], 1)
    hem = knees[..., 1].mean(1) + 0.01
    width, reach = 0.085 * look.build, 0.055 * look.build
    corners = [
        (waist[:, 0] - width, waist[:, 1]),
        (waist[:, 0] + width, waist[:, 1]),
        (knees[..., 0].max(1) + reach, hem),
        (knees[..., 0].min(1) - reach, hem),
    ]
    return np.stack([np.stack(corner, -1) for corner in corners], 1), look.lower


class _Trunk:
    """The trunk's outline in the image, and patches of it for textures."""

    def __init__(self, look: Appearance, joints: Joints, view: View):
        self.look = look
        self.base = view.project(joints["hips"])
        self.axis = view.project(joints["neck"]) - self.base
        across = np.stack([self.axis[:, 1], -self.axis[:, 0]], -1)
        self.across = across / np.linalg.norm(across, axis=-1, keepdims=True)
        levels, side, front = np.array(TRUNK_OUTLINE).T
        self.levels = levels
        self.widths = look.build * np.hypot(side * np.cos(view.yaw), front * np.sin(view.yaw))

    def point(self, level: float, across: float) -> np.ndarray:
        """The image point [F, 2] at `level` (0 hips, 1 neck) and `across` from edge (-1) to edge (1)."""
        width = np.interp(level, self.levels, self.widths)
        return self.base + level * self.axis + across * width * self.across

    def patch(self, low: float, high: float, left: float = -1.0, right: float = 1.0) -> np.ndarray:
        """The part [F, K, 2] between two levels and two places across."""
        levels = [low, *(level for level in self.levels if low < level < high), high]
        edge = [self.point(level, left) for level in levels] + [self.point(level, right) for level in reversed(levels)]
        return np.stack(edge, 1)

    def polygons(self) -> list[Polygon]:
        """The upper garment with its texture; the hips belong to the lower garment."""
        look, low, high = self.look, self.levels[0], self.levels[-1]
        polygons = [(self.patch(low, high), look.upper), (self.patch(low, 0.06), look.lower)]
        if look.texture == "bands":
            patches = [self.patch(level, level + 0.13) for level in (0.16, 0.42, 0.68)]
        elif look.texture == "stripes":
            patches = [self.patch(0.06, 0.98, left, left + 0.3) for left in (-0.85, -0.15, 0.55)]
        elif look.texture == "checks":
            patches = [
                self.patch(level, level + 0.22, left, left + 1.0)
                for level, left in ((0.1, -1.0), (0.32, 0.0), (0.54, -1.0), (0.76, 0.0))
            ]
        elif look.texture == "two-tone":
            patches = [self.patch(0.06, 0.52)]
        elif look.texture == "emblem":
            patches = [self.patch(0.5, 0.82, -0.45, 0.45)]
        else:
            patches = []
        return polygons + [(patch, look.accent) for patch in patches]


def _head(look: Appearance, trunk: _Trunk, view: View) -> list[Polygon]:
    """Neck, face and hair; of somebody who walks away little face is seen."""
    neck = trunk.point(1.0, 0.0)
    upward = trunk.axis / np.linalg.norm(trunk.axis, axis=-1, keepdims=True)
    radius = HEAD_RADIUS * look.head
    centre = neck + (NECK + radius) * upward
    ahead = view.heading * np.cos(view.yaw) * np.array([1.0, 0.0])
    face = max(0.0, 0.25 + 0.75 * np.sin(view.yaw))
    shift = -(0.48 - 0.25 * face) * radius * ahead
    hair = {
        "short": [_ellipse(centre + shift + 0.25 * radius * upward, 0.84 * radius, 0.84 * radius)],
        "long": [
            _ellipse(centre + shift + 0.22 * radius * upward, 0.9 * radius, 0.9 * radius),
            _limb(centre + 1.3 * shift, neck + 1.6 * shift - 0.05 * upward, 0.8 * radius, 0.55 * radius),
        ],
        "cap": [
            _ellipse(centre + 0.4 * radius * upward, 0.98 * radius, 0.68 * radius),
            _limb(centre + 0.3 * radius * upward, centre + 0.3 * radius * upward + 1.4 * radius * ahead, 0.012, 0.01),
        ],
    }[look.hair_style]
    hair_colour = look.accent if look.hair_style == "cap" else look.hair
    skull = [(_limb(neck - 0.02 * upward, centre, 0.034, 0.034), look.skin)]
    skull.append((_ellipse(centre, 0.92 * radius, 1.12 * radius), look.skin))
    return skull + [(polygon, hair_colour) for polygon in hair]


def _ellipse(centre: np.ndarray, width: float, height: float) -> np.ndarray:
    """An ellipse [F, 14, 2] around image points [F, 2] with these half axes."""
    return centre[:, None] + np.stack([width * np.cos(_CIRCLE), height * np.sin(_CIRCLE)], -1)


def _carried(look: Appearance, joints: Joints, view: View) -> dict[str, list[Polygon]]:
    """Things carried, by the layer in which they are painted."""
    layers: dict[str, list[Polygon]] = {"rear": [], "under trunk": [], "over trunk": [], "front": []}
    colour = look.carried_colour
    dark = tuple(round(0.6 * value) for value in colour)
    hips, neck = joints["hips"], joints["neck"]
    if look.carried == "backpack":
        back = np.array([-0.115 * look.build, 0.0, 0.0])
        low = view.project(hips + 0.3 * (neck - hips) + back)
        high = view.project(hips + 0.88 * (neck - hips) + back)
        layers["over trunk" if view.yaw < -0.2 else "under trunk"] += [
            (_limb(low, high, 0.068, 0.058), colour),
            (_limb(low, 0.6 * low + 0.4 * high, 0.03, 0.03), dark),
        ]
    elif look.carried == "shoulder bag":
        centre = view.project(0.5 * (joints["right hip"] + hips) + np.array([-0.05, -0.03, 0.0]))
        half_length = np.array([0.045, 0.0])
        layers["over trunk" if view.near_side == "right" else "rear"] += [
            (_limb(centre, view.project(joints["left shoulder"]), 0.012, 0.012), dark),
            (_limb(centre - half_length, centre + half_length, 0.055, 0.055), colour),
        ]
    elif look.carried in ("handbag", "briefcase"):
        half_width, half_height = (0.05, 0.05) if look.carried == "handbag" else (0.1, 0.06)
        half_width *= max(0.45, float(np.cos(view.yaw)))
        centre = view.project(joints["left hand"]) - np.array([0, half_height + 0.025])
        layers["front" if view.near_side == "left" else "rear"] += [
            (_box(centre, half_width, half_height), colour),
            (_box(centre + np.array([0, 0.6 * half_height]), half_width, 0.25 * half_height), dark),
        ]
    return layers


def _box(centre: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * [half_width, half_height]
    return centre[:, None] + corners
