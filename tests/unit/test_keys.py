"""API keys: made once, hashed at rest, limited, and changed without a restart."""

import os
import stat
from pathlib import Path

import pytest

from trygon.errors import UserError
from trygon_serving.keys import Command, Keys, add_key, read_keys, remove_key, run
from trygon_serving.problem import Problem


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _status(keys: Keys, token: str) -> int:
    try:
        keys.use(keys.identify(f"Bearer {token}"))
    except Problem as problem:
        return problem.status
    return 200


def test_file_holds_no_key_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    token = add_key(path, "field app")
    secret = token.split("_", 2)[2]
    assert len(secret) >= 43
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keys(path).identify(f"Bearer {token}").name == "field app"


@pytest.mark.parametrize("token", ["", "x", "trygon_00000000_abc", "_", "__", "\xff_\xff_\xff"])
def test_other_tokens_are_refused(tmp_path: Path, token: str) -> None:
    real = add_key(tmp_path / "keys.json", "app")
    keys = Keys(tmp_path / "keys.json")
    assert _status(keys, token) == 401
    assert _status(keys, real + "x") == _status(keys, real[:-1]) == 401
    with pytest.raises(Problem) as caught:
        keys.identify(token)
    assert caught.value.headers["WWW-Authenticate"] == "Bearer"


def test_the_scheme_may_be_written_in_any_way_and_has_to_be_there(tmp_path: Path) -> None:
    token = add_key(tmp_path / "keys.json", "app")
    keys = Keys(tmp_path / "keys.json")
    for given in (f"bearer {token}", f"BEARER {token}", f"Bearer   {token} "):
        assert keys.identify(given).name == "app"
    for given in (token, f"Basic {token}", f"Bearer{token}", f"Bearer Bearer {token}", "Bearer"):
        with pytest.raises(Problem, match="A key is needed"):
            keys.identify(given)


def test_a_minute_and_a_day_are_limits(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    token = add_key(path, "app", per_minute=2, per_day=4)
    other = add_key(path, "other")
    keys = Keys(path, clock)
    assert [_status(keys, token) for _ in range(3)] == [200, 200, 429]
    assert _status(keys, other) == 200
    with pytest.raises(Problem) as caught:
        keys.use(keys.identify(f"Bearer {token}"))
    assert caught.value.retry_after_s == 31
    clock.now_s += 31
    assert [_status(keys, token) for _ in range(2)] == [200, 429]
    clock.now_s += 600
    assert [_status(keys, token) for _ in range(2)] == [200, 429]
    with pytest.raises(Problem, match="4 a day") as caught:
        keys.use(keys.identify(f"Bearer {token}"))
    clock.now_s += caught.value.retry_after_s or 0
    assert _status(keys, token) == 200


def test_keys_come_and_go_without_a_restart(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    old = add_key(path, "app")
    keys = Keys(path, clock)
    new = add_key(path, "app, next")
    remove_key(path, old.split("_")[1])
    clock.now_s += 2
    assert (_status(keys, new), _status(keys, old)) == (200, 401)
    path.write_text("{half")
    clock.now_s += 2
    assert _status(keys, new) == 200  # a file that cannot be read changes nothing


def test_a_file_that_could_not_be_read_is_read_again_though_it_is_the_same(tmp_path: Path) -> None:
    file, now_s = tmp_path / "keys.json", 0.0
    token = add_key(file, "app")
    keys = Keys(file, lambda: now_s)
    remove_key(file, token.split("_")[1])
    add_key(file, "another")
    whole = file.stat()
    content = file.read_bytes()
    file.write_bytes(b"x" * len(content))  # as one that is not the server's to read
    os.utime(file, ns=(whole.st_atime_ns, whole.st_mtime_ns))
    now_s = 10.0
    keys.identify(f"Bearer {token}")
    file.write_bytes(content)
    os.utime(file, ns=(whole.st_atime_ns, whole.st_mtime_ns))
    now_s = 20.0
    with pytest.raises(Problem):
        keys.identify(f"Bearer {token}")


def test_command_shows_a_key_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.json"
    run(Command(file=path, add="app", per_minute=60))
    token = capsys.readouterr().out.splitlines()[0]
    run(Command(file=path))
    listed = capsys.readouterr().out
    assert token not in listed
    assert "app  (60 a minute, any number a day" in listed
    run(Command(file=path, remove=token.split("_")[1]))
    assert read_keys(path) == []
    with pytest.raises(UserError, match="holds no key"):
        Keys(path)
    with pytest.raises(UserError, match="holds no key with this id"):
        remove_key(path, "00000000")
    with pytest.raises(UserError, match="--add NAME"):
        read_keys(tmp_path / "none.json")


def test_half_of_a_command_is_never_left_undone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    old = add_key(path, "app").split("_")[1]
    with pytest.raises(UserError, match="one after the other"):
        run(Command(file=path, add="app", remove=old))
    with pytest.raises(UserError, match="name it with --add"):
        run(Command(file=path, per_day=5))
    assert [key.id for key in read_keys(path)] == [old]
