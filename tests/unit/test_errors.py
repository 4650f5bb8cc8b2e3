"""How errors are told: whose they are decides the exit code, and each is one line."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from pydantic import ValidationError

from trygon import s3
from trygon.errors import TrygonError, UnavailableError, UserError, report
from trygon_jobs.cli import _problem
from trygon_jobs.config import JobConfig


class Config(JobConfig):
    """A config."""

    epochs: int = 1
    """How many."""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("the folder /a is missing"), 2, "error: the folder /a is missing\n"),
        (TrygonError("the run failed"), 1, "error: the run failed\n"),
        (UserError("[bold] stays\n  and lines join"), 2, "error: [bold] stays and lines join\n"),
        (OSError(28, "No space left on device", "/out/a"), 1, "No space left on device: '/out/a' (--debug"),
        (KeyError("x"), 1, "KeyError: 'x' (--debug shows the traceback)\n"),
        (RuntimeError("out of memory\nCompile with X to enable Y"), 1, "error: RuntimeError: out of memory (--debug"),
        (
            RuntimeError('f() (pid=7)\n  File "a.py", line 1\nOSError: full'),
            1,
            "error: RuntimeError: OSError: full (--",
        ),
        (
            ModuleNotFoundError(name="yolox"),
            2,
            "error: this needs the Python package yolox: pip install 'trygon[demo]'\n",
        ),
        (ModuleNotFoundError(name="trygon.gone"), 1, "(--debug"),
        (RuntimeError(), 1, "error: RuntimeError: no message (--debug"),
        (RuntimeError("long " * 100), 1, "long long"),
    ],
)
def test_one_line(error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error) == code
    written = capsys.readouterr().err
    assert line in written
    assert written.count("\n") == 1


@pytest.mark.parametrize(("values", "name"), [({"epochs": "many"}, "epochs"), ({"epoch": 3}, "epoch")])
def test_config_errors_name_the_field_and_the_value(
    values: dict[str, object], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(values)
    assert report(_problem(caught.value)) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {name}: ")
    assert repr(values[name]) in line


def test_configs_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Config().epochs = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_a_storage_that_is_away_is_told_from_one_that_refuses() -> None:
    def ask(error: Exception) -> None:
        def raise_it() -> None:
            raise error

        s3.persist(s3.Address.parse("s3://bucket/key"), raise_it, attempts=1)

    busy = ClientError({"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "PutObject")  # pyright: ignore[reportArgumentType]
    refused = ClientError({"Error": {"Code": "Odd"}, "ResponseMetadata": {"HTTPStatusCode": 409}}, "PutObject")  # pyright: ignore[reportArgumentType]
    for error in (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), busy):
        with pytest.raises(UnavailableError):
            ask(error)
    with pytest.raises(TrygonError) as told:
        ask(refused)
    assert not isinstance(told.value, UnavailableError)
