"""The commands in the documentation are commands that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest

from trygon.data.sources.folder import Folder
from trygon.data.splits import depths
from trygon.taxonomy.names import clean_lineages
from trygon.taxonomy.taxon import Rank
from trygon.testing.photos import draw_photo
from trygon_jobs import reference
from trygon_jobs.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _commands() -> list[str]:
    blocks = [block for page in PAGES for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return sorted({line for line in lines if line.startswith("trygon ")})


def test_there_are_commands() -> None:
    assert len(_commands()) >= 8


@pytest.mark.parametrize("command", _commands())
def test_documented_command_parses(command: str) -> None:
    tokens = shlex.split(command, comments=True)[1:]
    if "--config" in tokens:  # read by the layer above, which fills in the rest from the recipe
        at = tokens.index("--config")
        tokens = tokens[:at] + tokens[at + 2 :]
    function, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    assert callable(function)
    assert bound.arguments or len(tokens) == 1


def _anchors(page: Path) -> set[str]:
    """The addresses of headings within a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_to_pages_and_headings() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    within = [(page, *link.partition("#")[::2]) for page, link in links if not link.startswith("http")]
    assert len(within) > 50
    for page, path, anchor in within:
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {path}"
        assert not anchor or anchor in _anchors(target), f"{page.name}: {path}#{anchor}"


def test_archives_page_names_every_file_for_a_spreadsheet_that_a_run_writes() -> None:
    """Names of files as they stand in the code: one that is written and not explained is found there."""
    archive = ROOT / "platform/trygon/archive"
    sources = [*archive.glob("naming/*.py"), *archive.glob("run_folder/*.py"), *(ROOT / "jobs").rglob("label*.py")]
    written = {name for path in sources for name in re.findall(r'"(\w+\.csv)"', path.read_text())}
    page = (ROOT / "docs/label.md").read_text()
    table = page.partition("## What comes out")[2].partition("## ")[0]
    assert {"observations.csv", "examples.csv", "repeats.csv"} <= written
    written |= {"names.csv", "checklist.csv"}  # called after their settings
    assert not {name for name in written if f"`{name}`" not in table}


def test_reference_is_what_the_code_says() -> None:
    written = (ROOT / "docs/reference.md").read_text()
    assert written == reference.page(), "python -m trygon_jobs.reference > docs/reference.md"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"^make ([\w-]+)", page.read_text(), re.MULTILINE)}
    assert named
    assert named <= targets


def test_example_of_labels_is_read_whole(tmp_path: Path) -> None:
    (text,) = re.findall(r"```csv\n(.*?)```", (ROOT / "docs/train.md").read_text(), re.DOTALL)
    (tmp_path / "labels.csv").write_text(text)
    paths = [line.split(",")[0] for line in text.splitlines()[1:]]
    for path in paths:
        draw_photo(tmp_path / path, hue=0, cutout=path.endswith(".png"))
    records = clean_lineages(Folder(str(tmp_path)).records())
    assert records["source_id"].to_pylist() == paths
    assert depths(records).tolist() == [Rank.SPECIES, Rank.SPECIES, Rank.GENUS, Rank.SPECIES]
    assert sorted(paths) == [member for unit in Folder(str(tmp_path)).units() for member in unit.members]


def test_every_difference_from_upstream_has_its_test() -> None:
    page = (ROOT / "docs/differences.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| published")]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(\w+/\w+\.py)::(\w+)`", row)
        assert named, row
        for path, test in named:
            assert f"def {test}(" in (ROOT / "tests" / path).read_text(), f"{path} has no {test}"
