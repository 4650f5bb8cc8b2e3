"""Human, vehicle, blank or animal: what the detector says of a box and the classifier of its crop, put together.

The order of the rules is SpeciesNet's (its ensemble), with thresholds of our own. Where the labels hold no human,
vehicle or blank, their probability is 0 and the detector alone decides. Shapes: B detections, N taxa.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from trygon.labelling.classification import CLASSIFIER, FEW_SHOT, GEOFENCE, REASONS, Names
from trygon.taxonomy.taxon import Rank, Taxon
from trygon.taxonomy.tree import TaxonTree

TYPES = ("animal", "human", "vehicle", "blank", "unknown")
"""Camtrap DP's words."""

ANIMAL, HUMAN, VEHICLE, BLANK, UNKNOWN = range(len(TYPES))

DECIDED_BY = (*REASONS, "detector")
DETECTOR = len(REASONS)
_CLASSIFIER, _GEOFENCE, _FEW_SHOT = (REASONS.index(reason) for reason in (CLASSIFIER, GEOFENCE, FEW_SHOT))

CATEGORIES = {"animal": ANIMAL, "person": HUMAN, "human": HUMAN, "vehicle": VEHICLE}
"""What a detector may call its boxes. Any other category (`frame`: nothing was detected) is an unknown."""

PEOPLE = Taxon(("Animalia", "Chordata", "Mammalia", "Primates", "Hominidae", "Homo", "sapiens"), "human")
MOTORS = Taxon(("vehicle", "", "", "", "", "", ""), "vehicle")
NOTHING = Taxon(("blank", "", "", "", "", "", ""), "blank")
"""Labels that are no animals. The last two are clades of their own, which only examples can give a vector."""

SURE_BOX = 0.7
"""A person's or vehicle's box of this confidence is one, whatever its crop looks like."""
SURE_ANIMAL = 0.5
"""An animal's box of this confidence is an animal, even where nothing can be named; below it is unknown."""
LIKELY = 0.5
"""The probability at which the classifier's human, vehicle or blank counts beside a box that is not sure."""
CERTAIN = 0.9
"""The probability at which the classifier's blank counts against any box, and its animal against a person's box."""


@dataclass(frozen=True)
class Kinds:
    """Which labels of a tree are no animals."""

    tree: TaxonTree

    def probabilities(self, names: Names, probability_BN: np.ndarray) -> np.ndarray:
        """Of human, vehicle and blank, and of the best animal label: (B, 4)."""
        columns = [probability_BN[:, place].sum(1) for place in self._places]
        best_B = np.where(np.isin(names.top_BK[:, 0], np.concatenate(self._places)), 0, names.top_probability_BK[:, 0])
        return np.stack([*columns, best_B], axis=1)

    def animal_names(self, names: Names) -> Names:
        """The names less those that say nothing of an animal: the clade that all animals among the labels share has a
        probability of 1 whatever the crop shows, and a label that is no animal names none. A label itself stays, also
        where it is the only one."""
        leaf_B = names.clade_BR[:, Rank.SPECIES]  # every label is a clade of its own there
        is_label_B = names.rank_B == self.tree.deepest[leaf_B]
        says_B = np.where(is_label_B, self._is_animal[leaf_B], names.rank_B > self._shared_rank)
        return replace(names, rank_B=np.where(says_B, names.rank_B, -1).astype(np.int8))

    @cached_property
    def _is_animal(self) -> np.ndarray:
        """Which labels are animals: (N,) bool."""
        is_animal_N = np.ones(len(self.tree), bool)
        is_animal_N[np.concatenate(self._places)] = False
        return is_animal_N

    @cached_property
    def _shared_rank(self) -> int:
        """The deepest rank at which all animals among the labels lie in one clade, -1 where they do at none."""
        ids_RN = self.tree.clade_ids[:, self._is_animal]
        return int((ids_RN == ids_RN[:, :1]).all(1).sum()) - 1

    @cached_property
    def _places(self) -> list[np.ndarray]:
        """Positions of the labels for human, vehicle and blank."""
        return [
            np.concatenate([np.empty(0, np.int64), *(np.arange(it.start, it.stop) for it in self.tree.find(name))])
            for name in (PEOPLE.scientific, MOTORS.scientific, NOTHING.scientific)
        ]


def decide(
    category_B: np.ndarray, confidence_B: np.ndarray, names: Names, of_kind_B4: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The type, a place in `TYPES`, and what decided it, a place in `DECIDED_BY`: two (B,) int8.

    From `CATEGORIES`' codes, the boxes' confidences, the crops' `Kinds.animal_names`, and `Kinds.probabilities`. Only
    animals and unknowns keep their names.
    """
    human_B, vehicle_B, blank_B, animal_B = of_kind_B4.T
    person_B, motor_B, looked_B = category_B == HUMAN, category_B == VEHICLE, category_B != UNKNOWN
    weak_B = ~looked_B | (confidence_B < SURE_ANIMAL)
    named_B, reason_B = names.rank_B >= 0, names.reason_B
    surely_animal_B = named_B & (animal_B >= CERTAIN)
    crop_B = np.where(reason_B == _FEW_SHOT, _FEW_SHOT, _CLASSIFIER)
    unnamed_B = np.where(reason_B == _GEOFENCE, _GEOFENCE, np.where(looked_B, DETECTOR, _CLASSIFIER))
    box_B = np.full(len(names), DETECTOR)
    rules = [  # the first one that holds decides
        (person_B & (confidence_B >= SURE_BOX), HUMAN, box_B),
        (human_B >= LIKELY, HUMAN, crop_B),
        (motor_B & (confidence_B >= SURE_BOX), VEHICLE, box_B),
        (vehicle_B >= LIKELY, VEHICLE, crop_B),
        ((blank_B >= CERTAIN) | (weak_B & (blank_B >= LIKELY)), BLANK, crop_B),
        (person_B & ~surely_animal_B, HUMAN, box_B),
        (motor_B & ~surely_animal_B, VEHICLE, box_B),
        (named_B, ANIMAL, reason_B),
        (looked_B & (confidence_B >= SURE_ANIMAL), ANIMAL, unnamed_B),
    ]
    holds = [rule for rule, _, _ in rules]
    type_B = np.select(holds, [np.full(len(names), kind) for _, kind, _ in rules], UNKNOWN)
    decided_B = np.select(holds, [decided for _, _, decided in rules], unnamed_B)
    return type_B.astype(np.int8), decided_B.astype(np.int8)
