"""What `trygon serve` hands to `python -m trygon_serving`, and the checks that need nothing heavy."""

import socket

from pydantic import BaseModel, ConfigDict

from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.models.folder import describe, folder_of
from trygon.taxonomy.tables import read_checklist


class Settings(BaseModel):
    """Where to listen, and what to serve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    labels: dict[str, str]
    checklists: dict[str, str]
    host: str
    port: int
    triton: str | None


def check(settings: Settings) -> None:
    """`UserError` for what would fail later: the port, the labels, the model, or labels of another model."""
    require_port(settings.host, settings.port)
    banks = [LabelBank.load(folder) for folder in settings.labels.values()]
    for place in settings.checklists.values():
        read_checklist(place)
    if folder_of(settings.model) is not None:
        tower = describe(settings.model)
        for bank in banks:
            bank.require_model(tower)


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
