"""What `trygon label` says of how much there is to do, how long that takes, and what it costs: before it begins as far
as that is known, and once the first parts are done."""

import sys
from dataclasses import dataclass

from rich.filesize import decimal

from trygon.archive.run_folder.sessions import Session, cost_per_million, figures, num_uncommitted
from trygon_jobs.progress import duration

_PARTS, _SECONDS = 3, 10.0
"""What has to be done before it tells how fast the rest goes."""


def estimate(out: str, price_per_hour: float | None, num_files: int, num_todo: int, num_bytes: int) -> None:
    """Say what there is to do and, where earlier sessions tell how fast this goes, how long that takes."""
    known = figures(out)
    said = f"{num_files:,} images, {num_todo:,} to do, {decimal(num_bytes)} to read"
    if again := num_uncommitted(out):
        said += f"; {again:,} of them again"
    if rate := known.get("images_per_s"):
        said += f"; at {rate:.1f} images/s as before some {_rest(num_todo, rate, price_per_hour)}"
    print(said, file=sys.stderr, flush=True)


@dataclass
class FirstParts:
    """Says once how long the rest takes, as soon as the first parts of a session tell how fast it goes."""

    session: Session
    num_todo: int
    price_per_hour: float | None = None
    num_parts: int = 0
    was_said: bool = False

    def add(self) -> None:
        """One more part is committed."""
        self.num_parts += 1
        rate, num_left = self.session.images_per_s(_SECONDS), self.num_todo - self.session.num_images
        if self.was_said or self.num_parts < _PARTS or not rate or not num_left:
            return
        self.was_said = True
        said = f"the first {self.num_parts} parts went at {rate:.1f} images/s: {num_left:,} images are left, some "
        print(said + _rest(num_left, rate, self.price_per_hour), file=sys.stderr, flush=True)


def _rest(num: int, rate: float, price_per_hour: float | None) -> str:
    """How long that many images take, and what they cost where there is a price."""
    cost = f", for {cost_per_million(price_per_hour, rate) * num / 1e6:,.2f}" if price_per_hour else ""
    return duration(num / rate) + cost
