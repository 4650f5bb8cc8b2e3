"""The body plans of plants and fungi, each drawn from genes: flowers, fronds, rosettes; caps, shelves, corals."""

import math

import numpy as np

from trygon.data.synthetic.coat import Coat, colour, paint, shaded
from trygon.data.synthetic.genes import Genome
from trygon.data.synthetic.strokes import Canvas, Colour, Tube, cone, oval


def _green(genome: Genome) -> Colour:
    return colour(
        0.2 + 0.2 * genome["second_hue"], genome.between("saturation", 0.4, 0.8), 0.3 + 0.35 * genome["value"]
    )


def flower(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """Petals around a centre, on a stem with leaves."""
    petals = (3, 4, 5, 6, 8, 13)[genome.choice("limbs", 6)]
    reach, width = genome.between("limb_length", 0.4, 0.75), genome.between("limb_width", 0.08, 0.3)
    head = np.array([0.0, -0.22])
    green = _green(genome)
    stem = Tube.grown(head, math.pi / 2, 1.2, cone(0.025, 0.04), rng.uniform(-0.35, 0.35))
    canvas.polygon(stem.outline(), green)
    leaf, broad = genome.between("wing_length", 0.2, 0.75), genome.between("wing_width", 0.05, 0.2)
    for index in range(2 + genome.choice("parts", 4)):
        side = -1 if index % 2 else 1
        angle = math.pi / 2 - side * (1.5 + rng.uniform(-0.2, 0.2))
        blade = Tube.grown(
            stem.at(0.5 + 0.09 * index, 0), angle, leaf, oval(broad, 0.6, genome.between("taper", 0.4, 1)), side * 0.4
        )
        canvas.polygon(blade.outline(), shaded(green, 0.85 + 0.1 * (index % 2)))
        canvas.line(blade.at(np.linspace(0, 0.9, 6), 0), 0.012, shaded(green, 1.25))
    blunt, curl = genome.between("tail_form", 0.15, 0.9), genome.between("form", -0.4, 0.4)
    for ring in range(1 + (genome["wings"] > 0.6)):
        for petal in range(petals):
            angle = 2 * math.pi * (petal + ring / 2) / petals - math.pi / 2 + rng.uniform(-0.05, 0.05)
            paint(canvas, Tube.grown(head, angle, reach * (1 - 0.35 * ring), oval(width, 0.9, blunt), curl), coat, rng)
    centre = genome.between("head", 0.06, 0.22)
    canvas.disc(head, centre, shaded(coat.accent, 0.8))
    canvas.disc(head, centre * 0.65, coat.accent)


def frond(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """A branch with leaflets in pairs, on some with cones or berries; the leaves bear the pattern."""
    green = _green(genome)
    leafy = Coat(green, shaded(coat.base, 0.9), coat.accent, coat.pattern, coat.density, coat.share, coat.place)
    axis = Tube.grown((0, 0.95), -math.pi / 2, 1.85, cone(0.035, 0.01), rng.uniform(-0.5, 0.5))
    pairs = 4 + genome.choice("limbs", 4) * 3
    reach, width = genome.between("limb_length", 0.3, 0.85), genome.between("limb_width", 0.25, 0.75) / pairs
    angle, peak = genome.between("form", 0.75, 1.45), genome.between("taper", 0.15, 0.7)
    for index in range(pairs):
        u = 0.12 + 0.85 * index / pairs
        size = reach * (1 - abs(u - peak) * 0.9)
        for side in (-1, 1):
            turn = -math.pi / 2 + side * (angle + rng.uniform(-0.08, 0.08))
            leaflet = Tube.grown(
                axis.at(u, 0), turn, size, oval(width, 0.5, genome.between("tail_form", 0.3, 1)), -side * 0.35
            )
            if index % 2 or pairs < 8:
                paint(canvas, leaflet, leafy, rng)
            else:
                canvas.polygon(leaflet.outline(), green)
            if genome["wings"] > 0.55 and index % 2:
                canvas.disc(leaflet.at(0.95, 0), genome.between("head", 0.03, 0.1), coat.accent)
    canvas.polygon(axis.outline(), shaded(coat.second, 0.6))


def rosette(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """Thick leaves in rings around the middle, coloured and patterned; on some a flower spike."""
    leaves = 5 + genome.choice("limbs", 4) * 2
    reach, width = genome.between("limb_length", 0.6, 0.98), genome.between("limb_width", 0.08, 0.28)
    green = _green(genome)
    mixed = tuple((2 * g + b) // 3 for g, b in zip(green, coat.base, strict=True))
    leafy = Coat(mixed, coat.second, coat.accent, coat.pattern, coat.density, coat.share, coat.place)
    tip, curl = genome.between("tail_form", 0.2, 1.2), genome.between("form", -0.5, 0.5)
    rings = 2 + genome.choice("parts", 2)
    for ring in range(rings):
        size = reach * (1 - ring / (rings + 0.6))
        for leaf in range(leaves):
            angle = 2 * math.pi * (leaf + ring * 0.5) / leaves + rng.uniform(-0.1, 0.1)
            blade = Tube.grown((0, 0), angle, size, oval(width * (1 - 0.25 * ring), 0.5, tip), curl)
            paint(canvas, blade, leafy, rng)
    if genome["wings"] > 0.5:
        bloom = genome.between("head", 0.08, 0.25)
        for petal in range(6):
            canvas.disc((bloom * math.cos(petal * 1.05), bloom * math.sin(petal * 1.05)), bloom * 0.6, coat.accent)
        canvas.disc((0, 0), bloom * 0.5, shaded(coat.accent, 0.6))


def mushroom(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """A cap on a stalk, alone or with small ones beside it."""
    companions = genome.choice("limbs", 3)
    for index in range(companions, -1, -1):
        shift = 0.0 if index == 0 else (-0.62 if index == 1 else 0.6) + rng.uniform(-0.08, 0.08)
        _mushroom(canvas, genome, coat, rng, shift, 1.0 if index == 0 else 0.5)


def _mushroom(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator, shift: float, size: float) -> None:
    pale = colour(genome["second_hue"] * 0.15, 0.18, genome.between("second_value", 0.7, 0.95))
    height, thick = genome.between("length", 0.5, 1.3) * size, genome.between("limb_width", 0.05, 0.2) * size
    stalk = Tube.grown(
        (shift, 0.9),
        -math.pi / 2,
        height,
        cone(thick * genome.between("tail", 0.8, 1.8), thick),
        rng.uniform(-0.25, 0.25),
    )
    canvas.polygon(stalk.outline(), pale)
    canvas.polygon(stalk.patch((0, 1), (0.3, 1)), shaded(pale, 0.8))
    top = stalk.at(1.0, 0)
    if genome["wings"] > 0.5:
        ring = stalk.at(0.7, 0)
        canvas.disc(ring, thick * 1.7, shaded(pale, 0.9), 0.35)
    width, rise = genome.between("girth", 0.35, 0.85) * size, genome.between("wing_length", 0.2, 0.85) * size
    x_N = np.linspace(-1, 1, 17)
    arch_N = (1 - np.abs(x_N) ** genome.between("form", 1.1, 3.5)) * rise
    # The cap as a tube from its left rim to the right one: the pattern runs over it.
    cap = Tube(np.stack([top[0] + x_N * width, top[1] - arch_N / 2], axis=1), arch_N / 2 + 0.02)
    canvas.disc(top, width, shaded(pale, 0.7), 0.18)
    for line in np.linspace(-0.8, 0.8, 9):
        ends = top + np.array([(line * width, 0.12 * width * (1 - line**2)), (line * width * 0.3, -0.02)])
        canvas.line(ends, 0.012, shaded(pale, 0.5))
    paint(canvas, cap, coat, rng)
    if genome["mark"] > 0.5:
        canvas.disc(top - np.array([0, rise * 0.9]), width * 0.25, coat.accent, 0.4)


def shelf(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """Brackets one above the other, with zones of colour."""
    number = 1 + genome.choice("limbs", 4)
    zones = 2 + round(4 * genome["density"])
    width, thick = genome.between("girth", 0.5, 0.95), genome.between("limb_width", 0.25, 0.75)
    for index in range(number):
        y = 0.75 - index * 1.4 / number
        centre = np.array([rng.uniform(-0.2, 0.2) * min(1, number - 1), y])
        size = width * rng.uniform(0.8, 1.0) * (1 - 0.12 * number)
        canvas.disc(centre + np.array([0, 0.06]), size, shaded(coat.base, 0.45), thick)
        for zone in range(zones):
            tone = coat.second if zone % 2 else coat.base
            if genome["mark"] > 0.5 and zone == 0:
                tone = coat.accent
            share = 1 - zone / zones * genome.between("share", 0.6, 1.0)
            canvas.disc(
                centre - np.array([0, (1 - share) * size * thick * 0.7]),
                size * share,
                shaded(tone, 0.85 + 0.08 * zone),
                thick,
            )


def coral(canvas: Canvas, genome: Genome, coat: Coat, rng: np.random.Generator) -> None:
    """Branches that fork and fork again, with tips of another colour."""
    forks = 2 + genome.choice("limbs", 2)
    spread, shrink = genome.between("form", 0.3, 0.8), genome.between("taper", 0.6, 0.8)
    tips: list[np.ndarray] = []

    def grow(start: np.ndarray, angle: float, length: float, thick: float, level: int) -> None:
        branch = Tube.grown(start, angle, length, cone(thick, thick * 0.75), rng.uniform(-0.3, 0.3))
        canvas.polygon(branch.outline(), shaded(coat.base, 0.75 + 0.15 * level))
        if coat.pattern in ("bands", "spots", "saddles"):
            canvas.polygon(branch.patch((0.4, 0.6), (-1, 1)), coat.second)
        if level == 2:
            tips.append(branch.at(1.0, 0))
            return
        for fork in range(forks):
            turn = spread * (fork - (forks - 1) / 2) + rng.uniform(-0.1, 0.1)
            grow(branch.at(0.95, 0), angle + turn, length * shrink, thick * 0.75, level + 1)

    stems = 1 + genome.choice("parts", 3)
    for stem in range(stems):
        lean = (stem - (stems - 1) / 2) * 0.6
        grow(
            np.array([lean * 0.2, 0.9]),
            -math.pi / 2 + lean,
            genome.between("length", 0.45, 0.75),
            genome.between("girth", 0.04, 0.12),
            0,
        )
    for tip in tips:
        canvas.disc(tip, genome.between("head", 0.02, 0.1), coat.accent)
