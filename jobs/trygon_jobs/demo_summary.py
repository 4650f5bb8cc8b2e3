"""What the demo says at its end. Every number is read back from the files that the steps wrote."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trygon.storage import read_json


def lines(out: Path) -> Iterator[str]:
    """Lines for people, a few for each step."""
    yield from _evaluation(read_json(out / "evaluation" / "metrics.json"))
    yield from _run(out)
    yield from _answer(read_json(out / "answer.json"))
    summary = read_json(out / "summary.json")
    total = summary["total"]
    yield f"[bold]Cost[/]  {total['seconds']:.0f} s, at most {total['peak_memory_bytes'] / 1e9:.1f} GB"
    yield "[bold]Look at[/]"
    yield f"  {out / 'evaluation' / 'index.html'}   how well the model names species it never saw"
    yield f"  {out / 'run' / 'report' / 'index.html'}   the labelled archive"
    yield f"  {out / 'run' / 'export' / 'camtrap-dp' / 'datapackage.json'}   the same as Camtrap DP"
    yield f"  trygon serve --model {out / 'model'} --labels {out / 'labels'}   then open http://127.0.0.1:8000"


def _evaluation(metrics: dict[str, float]) -> Iterator[str]:
    yield "[bold]Species that training never saw[/], right at the first guess, in percent (guessing; before training)"
    for rank in ("species", "family", "class"):
        key = f"zero_shot/unseen/taxon/{rank}"
        low, high = 100 * metrics[f"{key}/top1_low"], 100 * metrics[f"{key}/top1_high"]
        yield (
            f"  {rank:8} {100 * metrics[f'{key}/top1']:5.1f}  ({low:.0f} to {high:.0f} with 95 % confidence, "
            f"n = {metrics[f'{key}/n']:.0f})   guessing {100 * metrics[f'{key}/chance']:.1f}, "
            f"before {100 * metrics[f'baseline/{key}/top1']:.1f}"
        )


def _run(out: Path) -> Iterator[str]:
    from collections import Counter

    import pyarrow.parquet as pq

    media = pq.read_table(out / "run" / "media.parquet", columns=["failure"])
    observations = pq.read_table(out / "run" / "observations.parquet", columns=["type"])
    counts = Counter(observations["type"].to_pylist())
    broken = media.num_rows - media["failure"].null_count
    yield (
        f"[bold]Archive[/]  {media.num_rows} files, {broken} of them broken; "
        + ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
        + " observations"
    )


def _answer(answer: dict[str, Any]) -> Iterator[str]:
    taxon = answer["taxon"] or {}
    best = answer["top"][0]
    name = " ".join(str(part) for part in (taxon.get("rank"), taxon.get("scientific")) if part) or "nothing sure"
    yield (
        f"[bold]One request[/]  the classifier says {name}; "
        f"its best species is {best['scientific']} with probability {best['probability']:.2f}"
    )
