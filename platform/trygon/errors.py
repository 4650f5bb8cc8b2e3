"""The kinds of errors that reach a user, and how any error is told: one line and an exit code."""

import re


class TrygonError(Exception):
    """A failure that is not the user's: printed as one line, exit code 1."""

    exit_code = 1


class UserError(TrygonError):
    """Something the user can mend. The message names the thing and the way out; exit code 2."""

    exit_code = 2


class PermanentError(TrygonError):
    """A failure that another try would meet again. So is each `UserError`."""


class UnavailableError(TrygonError):
    """A storage does not answer, or not now: that may pass."""


def is_permanent(error: BaseException) -> bool:
    """Whether another try would meet the error again."""
    return isinstance(error, UserError | PermanentError)


def origin(error: BaseException) -> BaseException:
    """What was raised in a Ray worker, behind the errors that Ray wrapped it in; other errors as they are."""
    while type(error).__module__.startswith("ray."):
        inner = getattr(error, "cause", None) or next(iter(error.args), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return _without_advice(error)


_ADVICE = "Failed to apply UDF transform after "


def _without_advice(error: BaseException) -> BaseException:
    """The error as it was before Ray Data put advice on retries at its end, where an OSError has its file's name."""
    if isinstance(error, OSError) and str(error.filename).startswith(_ADVICE):
        return OSError(error.errno, error.strerror)
    if error.args and isinstance(error.args[0], str):
        error.args = (error.args[0].split(f"\n{_ADVICE}")[0], *error.args[1:])
    return error


_LOSSES = {
    *("ActorDiedError", "ActorUnavailableError", "RayActorError", "WorkerCrashedError", "OutOfMemoryError"),
    *("LocalRayletDiedError", "NodeDiedError", "OwnerDiedError", "ObjectLostError", "ObjectReconstructionFailedError"),
}
"""What Ray raises when one of its processes is gone; of these errors nothing else helps a user."""


def report(error: BaseException) -> int:
    """Print one line for an error to standard error; the exit code that goes with it."""
    from rich.console import Console

    error = origin(error)
    if isinstance(error, TrygonError):
        message, code = re.sub(r"\s*\n\s*", " ", str(error).strip()), error.exit_code
    elif isinstance(error, ModuleNotFoundError) and not (error.name or "trygon").startswith("trygon"):
        # What every job needs are dependencies; the rest is in the extra.
        message, code = f"this needs the Python package {error.name}: pip install 'trygon[demo]'", UserError.exit_code
    elif type(error).__name__ in _LOSSES and type(error).__module__.startswith("ray."):
        told = "a process of Ray died (it was killed, memory ran out, or its node is gone)"
        message, code = f"{told}: the same command, given again, goes on", 1
    else:
        message, code = f"{type(error).__name__}: {_telling_line(str(error))} (--debug shows the traceback)", 1
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {message}", style="red", markup=False)
    return code


def _telling_line(text: str) -> str:
    """The line that says what happened: a worker's traceback ends with it, any other message begins with it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    return lines[-1] if any(line.startswith('File "') for line in lines) else lines[0]
