"""What stands of all reviews: for every observation the last word that was not taken back. Knows no tables."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

Review = dict[str, Any]
"""A row of REVIEW."""


class Said:
    """Reviews as they come, by observation."""

    def __init__(self, reviews: Iterable[Review] = ()) -> None:
        self._by_id: dict[str, Review] = {}
        self._undone: set[str] = set()
        self._of: dict[int, list[str]] = defaultdict(list)
        for review in reviews:
            self.add(review)

    def add(self, review: Review) -> list[int]:
        """Take a review in; the observations whose word may be another now."""
        if review.get("undoes"):
            self._undone.add(review["undoes"])
            return self._by_id.get(review["undoes"], {}).get("observation_ids", [])
        self._by_id[review["review_id"]] = review
        for one in review["observation_ids"]:
            self._of[one].append(review["review_id"])
        return review["observation_ids"]

    def of(self, observation_id: int) -> Review | None:
        """The word that stands on an observation."""
        for review_id in reversed(self._of.get(observation_id, ())):
            if review_id not in self._undone:
                return self._by_id[review_id]
        return None

    def standing(self, review_id: str) -> Review | None:
        """A review that was not taken back."""
        return None if review_id in self._undone else self._by_id.get(review_id)

    def observations(self) -> Iterator[int]:
        """All that were ever reviewed."""
        return iter(list(self._of))
