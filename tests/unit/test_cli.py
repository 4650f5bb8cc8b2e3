"""What a user gets from the command line: help at once, and one line for each mistake."""

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import trygon
from trygon.testing.commands import told
from trygon_jobs.cli import JOBS, app, check_command, split_config


def _trygon(*words: str, cwd: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("TRYGON_", "RAY_"))}
    return subprocess.run(
        [sys.executable, "-m", "trygon_jobs", *words],
        cwd=cwd,
        env=variables | environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _problem(*words: str, cwd: Path, stdin: str = "", **environment: str) -> str:
    """The one line that a mistake of the user gets. In this process: there are many, and each start takes its time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TRYGON_", "RAY_"))]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        result = told(*words, cwd=cwd)
    line = result.stderr
    assert (result.returncode, result.stdout) == (2, ""), line
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert "Traceback" not in line
    return line


def test_help_lists_every_job(tmp_path: Path) -> None:
    result = _trygon("--help", cwd=tmp_path)
    assert result.returncode == 0
    assert all(job in result.stdout for job in JOBS)


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
from trygon_jobs.cli import JOBS, main
for job in ([], *([job] for job in JOBS)):
    sys.argv = ["trygon", *job, "--help"]
    try:
        main()
    except SystemExit:
        pass
    heavy = [name for name in ("torch", "ray", "open_clip", "timm", "pandas") if name in sys.modules]
    assert not heavy, (job, heavy)
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Usage: trygon") == 1 + len(JOBS)


def test_usage_of_label_begins_with_the_archive(tmp_path: Path) -> None:
    assert _trygon("label", "--help", cwd=tmp_path).stdout.startswith("Usage: trygon label ARCHIVE --model MODEL")


def test_help_lists_the_demo_first_and_then_the_journey(tmp_path: Path) -> None:
    lines = told("--help", cwd=tmp_path).stdout.splitlines()
    words = [line.split()[1] for line in lines if line.startswith("│")]
    assert [word for word in words if word in JOBS] == list(JOBS)
    assert next(iter(JOBS)) == "demo"


def test_help_says_no_default_that_says_nothing(tmp_path: Path) -> None:
    text = " ".join(told("label", "--help", cwd=tmp_path).stdout.replace("│", " ").split())
    assert "[default: Animalia]" in text
    assert not any(noise in text for noise in ('""', "()", "--empty-examples"))
    assert "--empty-clade for all" in text


@pytest.mark.parametrize("text_type", ["sci-com", "sci_com", "taxon-tag-com", "taxonTag"])
def test_choices_are_taken_as_help_spells_them_and_as_the_docs_do(text_type: str, tmp_path: Path) -> None:
    words = ["build-labels", "--model", "gone", "--out", "labels", "--text-type", text_type]
    assert "--model gone: no such folder" in _problem(*words, cwd=tmp_path)


def test_version(tmp_path: Path) -> None:
    assert _trygon("--version", cwd=tmp_path).stdout == f"{trygon.__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lable"], "lable: no such job (jobs: demo, sample, curate"),
        (["lable", "--help"], "lable: no such job"),
        (["train"], "error: give --shards … and --out …; see trygon train --help"),
        (["demo", "--prot", "3"], "Unknown option: --prot. Did you mean --port?"),
        (["demo", "--port", "many"], "port: Input should be a valid integer"),
        (["demo", "--port"], "--port requires an argument"),
        (["demo", "--config", "nope"], "--config nope: no such file, nor a recipe of that name (recipes: "),
        (["--config"], "--config requires an argument"),
        (["label", "x"], "error: give --out …; see trygon label --help"),
        (["label", "x", "--out", "y"], "give an archive with --model and --labels, or --from RUN"),
        (
            ["review", "run", "examples"],
            "error: examples: a word too many; settings come with their flags, see trygon",
        ),
        (["search", "run", "a", "fox"], "error: a: a word too many"),
        (["submit"], "submit: name a job"),
        (["submit", "--address", "http://127.0.0.1:9", "lable"], "submit: name a job"),
        (["submit", "serve", "--model", "m"], "submit: trygon serve is for this machine alone; name a job"),
        (["submit", "submit", "train"], "submit: trygon submit is for this machine alone"),
        (["submit", "curate", "--prot", "3"], "Unknown option: --prot"),
        (["submit", "curate", "--config", "nope"], "--config nope: no such file"),
    ],
)
def test_mistakes_are_one_line(words: list[str], expected: str, tmp_path: Path) -> None:
    assert expected in _problem(*words, cwd=tmp_path)


@pytest.mark.parametrize(
    "address", ["s3://AKIA:se/cret@bucket/run", "s3://AKIA:secret@b/run", "s3:/AKIA:secret@b", "gs://AKIA:se/cret@b"]
)
def test_a_secret_in_an_address_is_not_printed(address: str, tmp_path: Path) -> None:
    line = _problem("export", address, "--out", "x", cwd=tmp_path)
    assert "run: " in line
    assert "AKIA" not in line
    assert "cret" not in line


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("prot: 3", '"[prot]" from'),
        ("config: 3", "unknown key: config"),
        ("port: many", "port: Input should be a valid integer"),
        ("port: [", "is not YAML"),
        ("- port", "must be a mapping"),
    ],
)
def test_mistakes_in_a_config_name_the_key_and_the_file(yaml: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml)
    line = _problem("demo", "--config", "mine.yaml", cwd=tmp_path)
    assert expected in line
    if "Input should be" not in line:
        assert "mine.yaml" in line
    assert expected in _problem("demo", "--config=-", cwd=tmp_path, stdin=yaml)


def test_environment_is_read_and_checked(tmp_path: Path) -> None:
    assert "port" in _problem("demo", cwd=tmp_path, TRYGON_DEMO_PORT="many")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = _trygon("--debug", "demo", "--port", "many", cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "--debug" not in _problem("demo", "--port", "many", cwd=tmp_path)


@pytest.mark.slow
def test_what_is_missing_is_the_users_to_mend(tmp_path: Path) -> None:
    commands = [
        ["label", "/nonexistent/archive", "--model", "/nonexistent/model", "--labels", "l", "--out", "o"],
        ["evaluate", "--model", "/nonexistent/model", "--shards", "/nonexistent/shards", "--out", "o"],
        ["train", "--shards", "/nonexistent/shards", "--out", "o"],
        ["build-labels", "--model", "/nonexistent/model", "--out", "o"],
    ]
    for command in commands:
        assert "/nonexistent" in _problem(*command, cwd=tmp_path)
        assert not list(tmp_path.rglob("*.parquet"))
    # Where it is not refused, it becomes another program.
    result = _trygon("serve", "--model", "/nonexistent/model", "--labels", "/nonexistent/labels", cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.stderr
    assert "/nonexistent" in result.stderr


def test_config_is_taken_out_of_a_command() -> None:
    assert split_config(["train", "--config", "a b", "--out=x"]) == (["train", "--out=x"], "a b")
    assert split_config(["train", "--config=a"]) == (["train"], "a")
    assert split_config(["train"]) == (["train"], None)


@pytest.mark.parametrize("words", [["--config=-"], ["--config", "-"], ["--config", "mine.yaml"]])
def test_a_submitted_command_takes_its_config_along(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("out: shards\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("out: shards\n"))
    assert check_command(["curate", *words]) == (["curate"], "out: shards\n")
    assert not app.config, "the next command would read it"


def test_an_output_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/labels.csv").write_text("path,kingdom,phylum,class,order,family,genus,species\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for words in (
        ["curate", "file/shards", "--source", "photos"],
        ["sample", "--out", "file/sample"],
        ["demo", "--out", "file/demo", "--port", port],
    ):
        line = _problem(*words, cwd=tmp_path)
        assert "cannot be written to (Not a directory); give another --out" in line
