"""Whether a server that was started here answers pictures, and what it waits for."""

import time
from collections.abc import Callable

import httpx
import tritonclient.grpc as triton

from trygon_serving.problem import PROBLEM_TYPE, ProblemDocument

_PATIENCE_S = 20.0
"""A model is loaded by then, as a rule: whoever started the server wants to know what else is missing."""
_PAUSE_S = 0.3


def wait_ready(
    url: str,
    triton_address: str,
    say: Callable[[str], None],
    look: Callable[[], None],
    patience_s: float = _PATIENCE_S,
) -> None:
    """Block until `/readyz` of a server is 200. Says once what is missing where that takes long: it may come yet.
    `look` is called all along, and raises where it cannot."""
    said, start_s = False, time.monotonic()
    # Nothing but readiness is asked for: whose certificate it is, is the clients' to know. No proxy of the environment
    # lies between.
    with httpx.Client(base_url=url, verify=False, timeout=10, trust_env=False) as client:
        while missing := _missing(client):
            look()
            if not said and time.monotonic() - start_s >= patience_s:
                said = True
                say(f"not ready yet: {missing if _answers(triton_address) else _silent(triton_address)}")
            time.sleep(_PAUSE_S)


def _missing(client: httpx.Client) -> str:
    """Why a picture would get no answer; blank where it would get one."""
    try:
        response = client.get("/readyz")
    except httpx.TransportError as error:
        return str(error)
    if response.is_success:
        return ""
    if response.headers.get("content-type") != PROBLEM_TYPE:
        return f"{response.status_code} {response.reason_phrase}"
    problem = ProblemDocument.model_validate_json(response.content)
    return f"{problem.title}: {problem.detail}" if problem.detail else problem.title


def _answers(triton_address: str) -> bool:
    try:
        with triton.InferenceServerClient(triton_address) as client:
            return bool(client.is_server_live(client_timeout=5))
    except triton.InferenceServerException:
        return False


def _silent(triton_address: str) -> str:
    return f"no Triton answers at {triton_address}; is it HOST:PORT of its gRPC?"
