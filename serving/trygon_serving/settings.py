"""What `trygon serve` hands to `python -m trygon_serving`, and the checks that need nothing heavy."""

import ipaddress
import socket
import ssl
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trygon.archive.run import Run
from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.lists import read_names
from trygon.models.folder import describe, folder_of
from trygon_serving.keys import Keys


class Settings(BaseModel):
    """Where to listen, and what to serve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    labels: dict[str, str]
    checklists: dict[str, str]
    runs: dict[str, str] = {}
    host: str
    port: int
    triton: str | None
    keys: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    log: str | None = None


def check(settings: Settings) -> None:
    """`UserError` for what would fail later: the port, the labels, the model, or labels of another model."""
    require_safety(settings)
    require_port(settings.host, settings.port)
    banks = {folder: LabelBank.load(folder) for folder in settings.labels.values()}
    for folder, bank in banks.items():
        bank.require_sound(folder)
    for place in settings.checklists.values():
        read_names(place, "--checklist")
    for folder in settings.runs.values():
        Run.open(folder)
    if folder_of(settings.model) is not None:
        tower = describe(settings.model)
        for bank in banks.values():
            bank.require_model(tower)


def require_safety(settings: Settings) -> None:
    """`UserError` for a server that others on the network reach without a key, or for half a certificate."""
    if settings.keys:
        Keys(Path(settings.keys))
    elif not is_loopback(settings.host):
        raise UserError(
            f"--host {settings.host} lets others on the network ask: say who may, with --keys FILE "
            "(trygon keys FILE --add NAME makes one)"
        )
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise UserError("--tls-certificate and --tls-key go together: give both, or none")
    if settings.tls_certificate and settings.tls_key:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                settings.tls_certificate, settings.tls_key
            )
        except OSError as error:
            what = f"--tls-certificate {settings.tls_certificate} with --tls-key {settings.tls_key}"
            raise UserError(f"{what}: {error.strerror or error}; both are PEM files") from error


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_port(host: str, port: int) -> None:
    """`UserError` unless this process could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"cannot listen on {host}:{port}: {reason}; choose another with --port") from error
