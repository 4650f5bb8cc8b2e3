"""What `trygon label` says when it is done."""

from trygon.archive.run_folder.run import Run
from trygon.schemas import PASSING
from trygon.storage import join


def tell(out: str, done: bool) -> None:
    """What is there now, read back from the files."""
    summary = Run.open(out).summary
    found = summary["num_observations"]
    print(
        f"{summary['num_files']} images of {summary['num_deployments']} cameras: {summary['num_with_animals']} with "
        f"animals, {summary['num_blank']} blank, {summary['num_failed']} could not be read"
        + (f"; {summary['num_removed']} are no longer there" if summary["num_removed"] else "")
        + (f"; {summary['num_wrong_clock']} from a clock that is wrong" if summary["num_wrong_clock"] else "")
        + ("" if done else " (all of it stood here already)")
    )
    print(
        f"{found.get('animal', 0)} animals of {summary['num_taxa']} taxa in {summary['num_events']} events"
        + (f", {found['unknown']} observations of something unknown" if found.get("unknown") else "")
        + (f"; {summary['images_per_s']:.1f} images/s" if summary.get("images_per_s") else "")
        + (f"; a million cost {summary['cost_per_million']:,.2f}" if "cost_per_million" in summary else "")
    )
    if summary.get("num_redone"):
        again = summary["num_redone"]
        share = 100 * again / max(1, summary["num_files"])
        print(f"{again} images were done twice, as a session ended before they were committed ({share:.1f} %)")
    if repeated := summary.get("num_set_aside", {}).get("repeated"):
        print(f"{repeated} boxes, the same in frame after frame, are set aside: repeats.csv, or `trygon review {out}`")
    passing = {reason: num for reason, num in summary["failures"].items() if reason in PASSING}
    if passing:
        reasons = ", ".join(f"{reason} {num}" for reason, num in passing.items())
        print(f"--retry-failed tries {sum(passing.values())} files again that could not be read ({reasons})")
    print(f"look at {join(out, 'report', 'index.html')}; Camtrap DP in {join(out, 'export', 'camtrap-dp')}")
