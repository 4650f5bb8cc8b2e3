"""How the samples of a step are divided: over the workers, and on each into pieces. Knows nothing of the samples."""

from dataclasses import dataclass

import torch.distributed as dist

from trygon.data.plan import shares
from trygon.training.settings import TrainSettings


@dataclass(frozen=True)
class Division:
    """Samples of each worker, in rank order; where this one's begin among all; in how many pieces it takes its own;
    and how many similarities are held with at once (0: all)."""

    sizes: tuple[int, ...]
    first: int
    num_pieces: int
    tile: int

    @staticmethod
    def of(total: int, settings: TrainSettings, in_pieces: bool) -> "Division":
        """Of `total` samples on the workers that are there; into pieces where the towers allow them."""
        num_workers, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
        sizes = shares(total, num_workers)
        # Where workers left, the others hold no more at once than before: it fitted so.
        usual = shares(total, max(settings.most_workers, num_workers))[0]
        most = usual if in_pieces else sizes[0]
        micro = min(settings.micro_batch or most, most)
        # As many pieces on each worker: shards of a tower are brought together for each of them.
        num_pieces = min(-(-sizes[0] // micro), sizes[-1])
        tile = settings.loss_tile
        if sizes[0] > usual:  # more rows of similarities than usual
            tile = max(1, (tile or total) * usual // sizes[0])
        return Division(tuple(sizes), sum(sizes[:rank]), num_pieces, tile)
