"""A walking body as shapes: joints in three dimensions from the body's genes, turned, seen from above, and dressed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.data.world.identity import painter
from sartor.data.world.identity.painter import ALONG, CAPSULE, CHECKS, ELLIPSE, PLAIN, TRAPEZOID, shape
from sartor.data.world.identity.people import BAGS, PATTERNS, STYLES, Outfits, People, rgb

_TEXTURES = np.array([{"plain": PLAIN, "across": painter.ACROSS, "along": ALONG, "checks": CHECKS}[name] for name in PATTERNS])
_DARK, _LIGHT = np.array([0.30, 0.19, 0.13], np.float32), np.array([0.96, 0.82, 0.72], np.float32)
_EYES = np.array([0.08, 0.07, 0.07], np.float32)


@dataclass(frozen=True)
class Stance:
    """How each of n people stands and from where; pixels and radians."""

    heading: np.ndarray
    """float [n]: 0 walks towards the camera, pi away from it, pi/2 to the right."""
    phase: np.ndarray
    """float [n], of the step."""
    foot: tuple[np.ndarray, np.ndarray]
    """Column and row between the feet, float [n] each."""
    scale: np.ndarray
    """float [n], 1 for a figure that just fits."""
    pitch: np.ndarray
    """float [n], of the camera, from above."""


def body(people: People, worn: Outfits, stance: Stance, *, own: float = 1.0) -> np.ndarray:
    """float32 [n, shapes, 16]: one row of people, of outfits and of stances a picture, back to front. `own` as in `painter.shape`."""
    n = len(people)
    sine, cosine = np.sin(stance.heading), np.cos(stance.heading)
    tilt_s, tilt_c = np.sin(stance.pitch), np.cos(stance.pitch)
    tall = (40 + 15 * people.gene("height")) * stance.scale
    shoulder = (0.095 + 0.055 * people.gene("shoulder")) * tall
    leg = (0.43 + 0.10 * people.gene("leg share")) * tall
    head = (0.068 + 0.028 * people.gene("head size")) * tall
    neck = tall - 2.1 * head
    thick = 0.55 * shoulder
    swing = 0.25 + 0.35 * people.gene("gait width")

    def seen(lateral: np.ndarray | float, up: np.ndarray, forward: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        depth = forward * cosine - lateral * sine
        return stance.foot[0] + lateral * cosine + forward * sine, stance.foot[1] - up * tilt_c + depth * tilt_s

    def part(kind: int, a: tuple[np.ndarray, np.ndarray], r0: np.ndarray, b: tuple[np.ndarray, np.ndarray], r1: np.ndarray, colour: np.ndarray,
             **more: object) -> np.ndarray:  # fmt: skip
        return shape(n, kind, a, r0, b, r1, colour, own=own, **more)  # type: ignore[arg-type]

    tone = people.gene("skin tone")[:, None]
    skin = _DARK + (_LIGHT - _DARK) * tone
    skin[:, 0] += 0.06 * people.gene("blush")
    limb = 0.035 * tall
    near = np.where(sine >= 0, -1.0, 1.0)
    """The side of the body that is nearer to the camera: its left when it walks to the right."""

    def legs(side: np.ndarray, shade: float) -> list[np.ndarray]:
        step = np.sin(stance.phase) * np.sign(side)
        angle, bend = swing * step, 0.5 * np.maximum(0, np.cos(stance.phase) * np.sign(side))
        hip, hip_up = 0.45 * shoulder * side, leg
        knee_f, knee_up = 0.5 * leg * np.sin(angle), hip_up - 0.5 * leg * np.cos(angle)
        foot_f, foot_up = knee_f + 0.5 * leg * np.sin(angle - bend), knee_up - 0.5 * leg * np.cos(angle - bend)
        top, knee, ankle = seen(hip, hip_up, 0.0), seen(hip, knee_up, knee_f), seen(hip, foot_up, foot_f)
        toe = seen(hip, foot_up, foot_f + 0.05 * tall)
        return [
            part(CAPSULE, top, 1.35 * limb, knee, 1.1 * limb, shade * worn.trousers),
            part(CAPSULE, knee, 1.1 * limb, ankle, 0.85 * limb, shade * worn.trousers),
            part(CAPSULE, ankle, 0.7 * limb, toe, 0.6 * limb, shade * worn.shoes),
        ]

    def arm(side: np.ndarray, shade: float) -> list[np.ndarray]:
        angle = -0.8 * swing * np.sin(stance.phase) * np.sign(side)
        up, length = neck - 0.6 * head, 0.19 * tall
        elbow_f, elbow_up = length * np.sin(angle), up - length * np.cos(angle)
        hand_f, hand_up = elbow_f + length * np.sin(angle + 0.3), elbow_up - length * np.cos(angle + 0.3)
        out = shoulder * side
        a, b, c = seen(0.95 * out, up, 0.0), seen(1.1 * out, elbow_up, elbow_f), seen(1.1 * out, hand_up, hand_f)
        sleeve = np.where(worn.sleeves[:, None], worn.top[:, 0], skin)
        return [
            part(CAPSULE, a, 0.95 * limb, b, 0.8 * limb, shade * worn.top[:, 0]),
            part(CAPSULE, b, 0.8 * limb, c, 0.65 * limb, shade * sleeve),
            part(CAPSULE, c, 0.6 * limb, c, 0.6 * limb, shade * skin),
        ]

    wide = np.sqrt((shoulder * cosine) ** 2 + (thick * sine) ** 2)
    upper, lower = seen(0.0, neck, 0.0), seen(0.0, leg - 0.04 * tall, 0.0)
    hem = seen(0.0, 0.55 * leg, 0.0)
    bag = np.array(BAGS)[worn.bag]
    back = seen(0.0, 0.62 * neck + 0.38 * leg, -1.5 * thick)
    pack = part(ELLIPSE, back, 0.75 * wide, back, 0.42 * (neck - leg), worn.bag_colour, there=(bag == "back") & (cosine > 0))
    pack_seen = part(ELLIPSE, back, 0.75 * wide, back, 0.42 * (neck - leg), worn.bag_colour, there=(bag == "back") & (cosine <= 0))
    hung = seen(1.15 * shoulder * near, leg * 1.0, 0.0)
    strap = seen(-0.7 * shoulder * near, neck, 0.0)
    texture = _TEXTURES[worn.pattern]
    clothes = [
        part(TRAPEZOID, upper, wide, lower, 0.85 * wide, worn.top[:, 0], second=worn.top[:, 1], texture=texture),
        part(TRAPEZOID, lower, 0.9 * wide, hem, 1.1 * wide, worn.top[:, 0], second=worn.top[:, 1], texture=texture, there=worn.coat),
    ]
    shoulder_bag = [
        part(CAPSULE, strap, 0 * wide + 0.6, hung, 0 * wide + 0.6, 0.8 * worn.bag_colour, there=bag == "shoulder"),
        part(ELLIPSE, hung, 0.07 * tall, hung, 0.06 * tall, worn.bag_colour, there=bag == "shoulder"),
    ]
    shapes = [
        pack, *arm(-near, 0.85), *legs(-near, 0.85), *legs(near, 1.0), *clothes, pack_seen,
        *_head(part, people, worn, stance, seen, neck, head, skin),
        *arm(near, 1.0), *shoulder_bag,
    ]  # fmt: skip
    return np.stack(shapes, 1)


def _head(part, people, worn, stance, seen, neck, head, skin):  # type: ignore[no-untyped-def]
    """Neck, hair, face and hat."""
    sine, cosine = np.sin(stance.heading), np.cos(stance.heading)
    x, y = seen(0.0, neck + head, 0.0)
    throat = seen(0.0, neck - 0.2 * head, 0.0)
    wide = head * (0.75 + 0.3 * people.gene("head ratio"))
    chin = (x + 0.15 * head * sine, y + 0.75 * head)
    hair = rgb(0.02 + 0.13 * people.hair[:, 0], 0.75 - 0.55 * people.hair[:, 1] ** 2, 0.06 + 0.84 * people.hair[:, 1])
    style = np.array(STYLES)[people.style]
    low = np.where(style == "fringe", 0.18, 0.0)
    crown = (x - 0.30 * head * sine, y - head * (0.16 + 0.36 * cosine - low))
    long = (x - 0.35 * head * sine, y + 1.3 * head)
    away = cosine < -0.1
    made = [
        part(CAPSULE, (x - 0.25 * head * sine, y), 0.95 * wide, long, 0.7 * wide, hair, there=(style == "long") & ~away),
        part(CAPSULE, throat, 0.45 * head, (x, y), 0.45 * head, 0.9 * skin),
        part(ELLIPSE, (x, y), wide, (x, y), 1.08 * head, skin),
        part(CAPSULE, (x, y), 0.8 * wide, chin, (0.35 + 0.35 * people.gene("jaw")) * wide, skin),
    ]
    for side in (-1.0, 1.0):
        turn = stance.heading + side * (0.3 + 0.35 * people.gene("eye gap"))
        eye = (x + wide * np.sin(turn), y - head * (0.25 * people.gene("eye height") - 0.05))
        brow = (eye[0], eye[1] - 0.38 * head)
        size = head * (0.10 + 0.12 * people.gene("eye size"))
        visible = np.cos(turn) > 0.15
        thick = head * (0.06 + 0.12 * people.gene("brow thickness"))
        made += [
            part(ELLIPSE, eye, 1.2 * size, eye, size, np.broadcast_to(_EYES, skin.shape), there=visible),
            part(ELLIPSE, brow, 1.8 * thick, brow, thick, 0.5 * hair, there=visible),
        ]
    mouth = (x + 0.9 * wide * sine, y + head * (0.45 + 0.25 * people.gene("mouth height")))
    lips = skin * np.array([0.85, 0.5, 0.5], np.float32)
    made.append(part(ELLIPSE, mouth, wide * (0.2 + 0.25 * people.gene("mouth width")), mouth, 0.13 * head, lips, there=cosine > 0.2))
    made += [
        part(ELLIPSE, crown, 1.02 * wide, crown, head * np.where(away, 1.1, 0.78), hair),
        part(CAPSULE, (x, y), wide, long, 0.85 * wide, hair, there=(style == "long") & away),
        part(ELLIPSE, (x, y - 0.75 * head), 1.15 * wide, (x, y), 0.5 * head, worn.hat.clip(min=0), there=worn.hat[:, 0] >= 0),
    ]
    return made
