"""What `trygon label` says before it begins: how much there is to do, how long that takes, and what it costs."""

import sys


def estimate(out: str, price_per_hour: float | None, num_files: int, num_todo: int, num_bytes: int) -> None:
    """Say what there is to do and, where earlier sessions tell how fast this goes, how long that takes."""
    from trygon.archive.sessions import cost_per_million, figures
    from trygon_jobs.progress import duration

    known = figures(out)
    said = f"{num_files:,} images, {num_todo:,} to do, {num_bytes / 1e9:.1f} GB to read"
    if known.get("num_redone"):
        said += f"; {known['num_redone']:,} of them again"
    if rate := known.get("images_per_s"):
        said += f"; at {rate:.1f} images/s as before some {duration(num_todo / rate)}"
        if price_per_hour:
            said += f", for {cost_per_million(price_per_hour, rate) * num_todo / 1e6:,.2f}"
    print(said, file=sys.stderr, flush=True)
