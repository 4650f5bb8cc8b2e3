"""The body plans of animals, each drawn from genes. Seen from above (insects, stars) or from the side (the others)."""

import math

import numpy as np

from trygon.data.synthetic.coat import Coat, paint, shaded
from trygon.data.synthetic.genes import Genome
from trygon.data.synthetic.strokes import Canvas, Colour, Tube, cone, oval

_DARK = (24, 20, 18)


def insect(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """Three pairs of legs, antennae; wings as the order has them."""
    _jointed(canvas, genome, coat, rng, pairs=3, wings=("none", "elytra", "one", "two")[genome.choice("wings", 4)])


def arthropod(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """Four, five, seven or ten pairs of legs, no wings."""
    _jointed(canvas, genome, coat, rng, pairs=(4, 5, 7, 10)[genome.choice("limbs", 4)], wings="none")


def _jointed(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator, pairs: int, wings: str) -> None:
    length, girth = genome.between("length", 0.55, 0.95), genome.between("girth", 0.09, 0.3)
    if pairs > 5:
        girth *= 0.6
    dark = shaded(coat.base, 0.45)
    front = length * 0.25
    _legs(canvas, genome, rng, pairs, (front, -length * (0.15 if pairs < 5 else 0.75)), girth, dark)
    head = girth * genome.between("head", 0.55, 1.05)
    for side in (-1, 1):
        if pairs != 4:
            reach = genome.between("tail", 0.15, 0.7)
            feeler = Tube.grown((front + head, side * head * 0.4), side * 0.5, reach, cone(0.01, 0.01), side * 0.5)
            canvas.line(feeler.at(np.linspace(0, 1, 8), 0), 0.018, dark)
    if wings in ("one", "two"):
        _open_wings(canvas, genome, coat, rng, front, girth, wings == "two")
    taper = genome.between("taper", 0.25, 1.0)
    abdomen = Tube.grown((front * 0.6, 0), math.pi + rng.uniform(-0.1, 0.1), length * 1.15, oval(girth, 0.5, taper))
    paint(canvas, abdomen, coat, rng)
    canvas.disc((front * 0.7, 0), girth * 0.85, shaded(coat.base, 0.8), 0.95)
    if wings == "elytra":
        for side in (-1, 1):
            cover = Tube.grown((front * 0.5, side * girth * 0.5), math.pi, length * 1.2, oval(girth * 0.55, 0.4, 0.5))
            paint(canvas, cover, coat, rng)
    canvas.disc((front + girth * 0.5, 0), head, coat.second if genome["mark"] > 0.6 else dark)
    for side in (-1, 1):
        canvas.disc((front + girth * 0.6, side * head * 0.75), head * 0.32, coat.accent if pairs == 3 else _DARK)


def _legs(
    canvas: Canvas,
    genome: Genome,
    rng: np.random.Generator,
    pairs: int,
    span: tuple[float, float],
    girth: float,
    colour: Colour,
) -> None:
    """Pairs of bent legs at both sides, fanned out from the front one to the last."""
    reach = genome.between("limb_length", 0.35, 1.0) * (0.75 if pairs < 6 else 0.4)
    thick = genome.between("limb_width", 0.02, 0.055)
    for pair in range(pairs):
        share = pair / (pairs - 1)
        root = span[0] + (span[1] - span[0]) * share
        angle = 0.9 + 1.3 * share + rng.uniform(-0.12, 0.12)
        for side in (-1, 1):
            hip = np.array([root, side * girth * 0.4])
            knee = hip + reach * 0.55 * np.array([math.cos(angle), side * math.sin(angle)])
            outer = angle + (0.7 if share > 0.5 else -0.5) * genome.between("form", 0.3, 1.2)
            foot = knee + reach * 0.6 * np.array([math.cos(outer), side * math.sin(outer)])
            canvas.line(np.stack([hip, knee, foot]), thick, colour)


def _open_wings(
    canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator, front: float, girth: float, two: bool
) -> None:
    """One or two pairs of wings; clear or painted, as the tail's form says."""
    size, width = genome.between("wing_length", 0.55, 1.0), genome.between("wing_width", 0.14, 0.42)
    sweep = genome.between("taper", 0.1, 0.75)
    clear = genome["tail_form"] < 0.35
    for side in (-1, 1):
        if two:
            hind = Tube.grown((front * 0.1, side * girth * 0.4), side * (2.1 + sweep * 0.4), size * 0.8, oval(width))
            _wing(canvas, hind, coat, rng, clear)
        profile = oval(width, 0.9, genome.between("form", 0.25, 0.7))
        fore = Tube.grown((front * 0.7, side * girth * 0.4), side * (1.15 + sweep), size, profile, side * 0.3)
        _wing(canvas, fore, coat, rng, clear)


def _wing(canvas: Canvas, wing: Tube, coat: Coat, rng: np.random.Generator, clear: bool) -> None:
    if clear:
        canvas.polygon(wing.outline(), (*shaded(coat.base, 1.3)[:3], 110))
        for v in (-0.6, 0.0, 0.6):
            canvas.line(wing.at(np.linspace(0, 0.95, 8), v), 0.008, (*_DARK, 190))
    else:
        paint(canvas, wing, coat, rng)
    canvas.line(wing.at(np.linspace(0, 1, 10), -1), 0.012, _DARK)


def star(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """Arms around a disc: five to twelve of them, thick or thin, on some with spines."""
    arms = (5, 6, 7, 9, 12)[genome.choice("limbs", 5)]
    reach, width = genome.between("limb_length", 0.55, 0.98), genome.between("limb_width", 0.05, 0.2)
    centre = genome.between("girth", 0.12, 0.42)
    taper, curl = genome.between("taper", 0.1, 0.8), genome.between("form", -0.5, 0.5)
    for arm in range(arms):
        angle = 2 * math.pi * arm / arms
        profile = cone(width, width * (1 - taper)) * np.minimum(1, np.linspace(2.5, 0, 17) ** 0.5)
        tube = Tube.grown((0, 0), angle + rng.uniform(-0.06, 0.06), reach, profile, curl + rng.uniform(-0.25, 0.25))
        if genome["parts"] > 0.5:
            for u in np.linspace(0.3, 0.95, 7):
                canvas.line(tube.at(np.array([u, u]), np.array([-1.7, 1.7])), 0.02, shaded(coat.base, 0.6))
        paint(canvas, tube, coat, rng)
    canvas.disc((0, 0), centre, coat.base)
    canvas.disc((0, 0), centre * 0.7, shaded(coat.base, 1.15))
    if genome["mark"] > 0.35:
        canvas.disc((0, 0), centre * 0.4, coat.second)


def fish(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """A body with fins, seen from the side; the tail is forked, round, pointed or square."""
    length, girth = genome.between("length", 0.95, 1.5), genome.between("girth", 0.12, 0.48)
    fin = shaded(coat.accent if genome["mark"] > 0.6 else coat.base, 0.75)
    bend = rng.uniform(-0.25, 0.25)
    body = Tube.grown(
        (length * 0.5, 0), math.pi - bend / 2, length, oval(girth, 0.55, genome.between("taper", 0.6, 1.3)), bend
    )
    end = body.at(np.array([0.93]), 0)[0]
    tail = genome.between("tail", 0.25, 0.6)
    spread = tail * (0.5 + 0.5 * genome["form"])
    middle = {0: 0.35, 1: 1.15, 2: 1.4, 3: 0.95}[form := genome.choice("tail_form", 4)]
    tips = [(-tail, -spread), (-tail * middle, 0.0), (-tail, spread)] if form != 2 else [(-tail * 1.4, 0.0)]
    canvas.polygon(end + np.array([(0.05, -0.07), *tips, (0.05, 0.07)]), fin)
    height = genome.between("wing_length", 0.25, 1.3)
    for index in range(1 + genome.choice("parts", 3)):
        start = 0.22 + 0.22 * index
        edge = body.at(np.array([start, start + genome.between("wing_width", 0.1, 0.35)]), -0.7)
        peak = body.at(np.array([start + 0.2]), -1.0 - height)
        canvas.polygon(np.concatenate([edge[:1], peak, edge[1:]]), fin)
    canvas.polygon(body.at(np.array([0.5, 0.62, 0.68]), np.array([0.8, 1.0 + height, 0.8])), fin)
    paint(canvas, body, coat, rng)
    flipper = Tube.grown(body.at(0.32, 0.3), math.pi - 0.6, genome.between("limb_length", 0.12, 0.4), oval(0.07))
    canvas.polygon(flipper.outline(), shaded(fin, 1.2))
    eye = body.at(0.1 + 0.05 * genome["head"], -0.3)
    canvas.disc(eye, 0.03 + 0.04 * genome["head"], (235, 230, 210))
    canvas.disc(eye, 0.018 + 0.025 * genome["head"], _DARK)


def bird(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """Spread wings, a tail like a fan, a beak: seen from above."""
    length, girth = genome.between("length", 0.5, 0.9), genome.between("girth", 0.1, 0.24)
    span, width = genome.between("wing_length", 0.6, 1.0), genome.between("wing_width", 0.12, 0.34)
    sweep = genome.between("form", -0.1, 0.55) + rng.uniform(-0.12, 0.12)
    tail, fan = genome.between("tail", 0.2, 0.65), genome.between("tail_form", 0.08, 0.6)
    for angle in np.linspace(-fan, fan, 5):
        feather = Tube.grown((-length * 0.4, 0), math.pi + angle, tail * (1 - 0.3 * abs(angle)), cone(0.03, 0.06))
        canvas.polygon(feather.outline(), shaded(coat.second if genome["mark"] > 0.5 else coat.base, 0.75))
    for side in (-1, 1):
        profile = oval(width, 0.35, genome.between("taper", 0.3, 1.1))
        wing = Tube.grown((length * 0.2, side * girth * 0.3), side * (1.3 + sweep), span, profile, side * 0.45)
        paint(canvas, wing, coat, rng)
        fringe = wing.patch((0.35, 1), (0.6 * side, 1.0 * side))
        canvas.polygon(fringe, shaded(coat.second, 0.9))
    body = Tube.grown((length * 0.5, 0), math.pi, length, oval(girth, 0.45, 0.7))
    canvas.polygon(body.outline(), shaded(coat.base, 1.1))
    canvas.polygon(body.patch((0.1, 0.9), (0.3, 0.9)), shaded(coat.base, 0.9))
    head = np.array([length * 0.5, 0])
    size, beak = girth * genome.between("head", 0.5, 0.95), genome.between("limb_length", 0.1, 0.4)
    bill = genome.between("limb_width", 0.02, 0.09)
    canvas.polygon(head + np.array([(size * 0.5, -bill), (size + beak, 0), (size * 0.5, bill)]), coat.accent)
    canvas.disc(head, size, coat.base if genome["parts"] > 0.5 else coat.second)
    for side in (-1, 1):
        canvas.disc(head + np.array([size * 0.3, side * size * 0.55]), size * 0.2, _DARK)


def beast(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """A body on four legs with neck, head, ears or horns, and a tail: seen from the side."""
    length, girth = genome.between("length", 0.75, 1.25), genome.between("girth", 0.16, 0.34)
    legs, thick = genome.between("limb_length", 0.2, 0.75), genome.between("limb_width", 0.04, 0.1)
    lift = -0.1 - legs * 0.4
    hips, shoulders = -length / 2, length / 2
    bend = rng.uniform(-0.3, 0.5)
    tail = Tube.grown(
        (hips + 0.03, lift), math.pi - 0.5, genome.between("tail", 0.1, 0.8), cone(thick, 0.02), bend - 0.6
    )
    paint(canvas, tail, coat, rng)
    for x, tone in ((hips + 0.2, 0.6), (shoulders - 0.08, 0.6), (hips + 0.1, 0.9), (shoulders - 0.18, 0.9)):
        leg = Tube.grown(
            (x, lift), math.pi / 2 + rng.uniform(-0.35, 0.35), girth + legs, cone(thick * 1.4, thick * 0.7)
        )
        canvas.polygon(leg.outline(), shaded(coat.base, tone))
        if genome["mark"] > 0.6:
            canvas.polygon(leg.patch((0.75, 1), (-1, 1)), coat.second)
    angle = -genome.between("form", 0.1, 1.2) + rng.uniform(-0.15, 0.15)
    neck = Tube.grown(
        (shoulders - 0.15, lift), angle, genome.between("wing_length", 0.25, 0.75), cone(girth * 0.75, girth * 0.4)
    )
    paint(canvas, neck, coat, rng)
    body = Tube.grown((hips - 0.05, lift), 0, length + 0.1, oval(girth, 0.35, genome.between("taper", 0.3, 0.6)))
    paint(canvas, body, coat, rng)
    top = neck.at(0.97, 0)
    size = genome.between("head", 0.1, 0.2)
    ear = genome.between("wing_width", 0.08, 0.35)
    for shift in (-0.35, 0.1):
        crown = Tube.grown(
            top + np.array([size * shift, -size * 0.5]),
            -1.9 + shift,
            ear,
            (oval(0.06) if genome["parts"] > 0.4 else cone(0.03, 0.005)),
        )
        canvas.polygon(crown.outline(), shaded(coat.second if genome["parts"] > 0.7 else coat.base, 0.85))
    muzzle = Tube.grown(top, 0.35, size * (1.2 + 1.6 * genome["tail_form"]), cone(size * 0.8, size * 0.4))
    canvas.polygon(muzzle.outline(), shaded(coat.base, 0.85))
    canvas.disc(top, size, coat.base)
    canvas.disc(top + np.array([size * 0.3, -size * 0.2]), size * 0.2, _DARK)


def snail(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """A coiled shell, flat or tall, on a soft foot with tentacles."""
    foot_length = genome.between("length", 1.0, 1.6)
    skin = shaded(coat.second, 0.9)
    foot = Tube.grown((-foot_length / 2, 0.42), 0, foot_length, oval(0.13, 1.1, 0.35), -0.35 - rng.uniform(0, 0.3))
    front = foot.at(0.95, -0.3)
    for shift in (-0.1, 0.15):
        horn = Tube.grown(
            front, -1.1 + shift * 4, genome.between("tail", 0.12, 0.45), cone(0.025, 0.015), rng.uniform(-0.4, 0.4)
        )
        canvas.polygon(horn.outline(), skin)
        canvas.disc(horn.at(1.0, 0), 0.03, _DARK)
    canvas.polygon(foot.outline(), skin)
    canvas.polygon(foot.patch((0.05, 0.95), (0.3, 1)), shaded(skin, 0.75))
    turns = 1.5 + genome.choice("limbs", 4) * 0.75
    tall = genome.between("form", 0.0, 1.0)
    size = genome.between("girth", 0.4, 0.62)
    shrink = genome.between("taper", 0.55, 0.75)
    at_N = np.linspace(0, 1, 33)
    radius_N = size * (1 - shrink * at_N) * 0.62
    turn_N = 0.4 + at_N * turns * 2 * math.pi
    spine_N2 = np.stack([np.cos(turn_N), -np.sin(turn_N)], axis=1) * radius_N[:, None]
    spine_N2[:, 1] -= at_N * tall * 0.75 + 0.02
    shell = Tube(spine_N2, (1 - 0.75 * at_N) * size * 0.4)
    canvas.polygon(shell.outline(), shaded(coat.base, 0.5))
    canvas.disc((0, -0.05), size * 0.95, shaded(coat.base, 0.6))
    paint(canvas, shell, coat, rng)


def worm(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """A long body in waves, with rings and on some with bristles."""
    at_N = np.linspace(0, 1, 33)
    girth = genome.between("girth", 0.05, 0.17)
    waves, height = genome.between("length", 0.6, 2.0), rng.uniform(0.15, 0.4)
    phase = rng.uniform(0, 2 * math.pi)
    spine_N2 = np.stack([0.95 - 1.9 * at_N, height * np.sin(phase + waves * 2 * math.pi * at_N)], axis=1)
    body = Tube(
        spine_N2, girth * np.minimum(1, 5 * at_N + 0.6) * np.minimum(1, (1 - at_N) * genome.between("taper", 2, 9))
    )
    if genome["limbs"] > 0.5:
        reach = 1.4 + 1.6 * genome["limb_length"]
        for u in np.linspace(0.08, 0.92, 14 + genome.choice("parts", 4) * 5):
            canvas.line(body.at(np.array([u, u + 0.01]), np.array([-reach, reach])), 0.018, shaded(coat.base, 0.6))
    paint(canvas, body, coat, rng)
    if genome["form"] > 0.4:
        for u in np.linspace(0.1, 0.9, 8 + genome.choice("tail_form", 3) * 6):
            canvas.line(body.at(np.array([u, u]), np.array([-1.0, 1.0])), 0.012, shaded(coat.base, 0.55))
    if genome["mark"] > 0.4:
        start = genome.between("head", 0.12, 0.3)
        canvas.polygon(body.patch((start, start + 0.12), (-1.1, 1.1)), coat.accent)
