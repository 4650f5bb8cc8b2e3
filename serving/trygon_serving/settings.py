"""What `trygon serve` hands to `python -m trygon_serving`, and the checks that need nothing heavy."""

import ipaddress
import socket
import ssl
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.sessions import makers
from trygon.errors import UserError
from trygon.gallery.gallery import Gallery
from trygon.labelling.lists import read_names
from trygon.limits import Limits
from trygon.models.folder import model_key
from trygon_serving.catalogue import (
    Catalogue,
    Weights,
    leading,
    one_version_each,
    read_catalogue,
    require_sound,
    specs,
)
from trygon_serving.keys import Keys
from trygon_serving.traces import require_endpoint

_THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]")


class Settings(BaseModel):
    """Where to listen, and what to serve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: dict[str, str] = {}
    """Model folders by the name that requests call them, each served with the label sets that were built with it."""
    labels: dict[str, str] = {}
    models: str | None = None
    """A file of models in versions, instead of both."""
    checklists: dict[str, str]
    runs: dict[str, str] = {}
    galleries: dict[str, str] = {}
    host: str
    port: int
    triton: str | None
    replicas: tuple[int, int]
    """At least, and at most."""
    scale_up_s: float
    scale_down_s: float
    encoder: str
    keys: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    log: str | None = None
    traces: str | None = None
    limits: Limits = Limits()


def check(settings: Settings) -> Catalogue:
    """What is to be served as the server starts. `UserError` for what would fail later: the port, the log, the labels,
    the model, its encoder, or labels of another model."""
    require_safety(settings)
    require_port(settings.host, settings.port)
    if settings.log:
        require_log(Path(settings.log))
    if settings.traces:
        require_endpoint(settings.traces)
    catalogue = catalogue_of(settings)
    for versions in catalogue.values():
        # Of several versions the one with most requests has to be good; the others may come in later.
        require_sound(versions[leading(versions)])
    for place in settings.checklists.values():
        read_names(place, "--checklist")
    require_searchable(settings, catalogue)
    return catalogue


def require_searchable(settings: Settings, catalogue: Catalogue) -> None:
    """`UserError` for a run or a gallery that cannot be read, or whose vectors are of a model that is not served.
    Where a file says what is served, that one may come in later."""
    found: list[tuple[str, str, str, str]] = []
    for folder in settings.runs.values():
        found.append(("--run", folder, Run.open(folder).summary["model"], makers(folder)["model"]))
    for folder in settings.galleries.values():
        card = Gallery(folder).card
        found.append(("--gallery", folder, card.model_ref, card.model))
    if settings.models is not None:
        return
    weights = [Weights.of(spec.model) for _, _, spec in specs(catalogue)]
    served = {model_key(it) for it in weights}
    for option, folder, ref, model in found:
        if model not in served:
            raise UserError(
                f"{option} {folder} holds vectors of the model {ref}, which is not served: make it again with --model "
                f"{weights[0].ref}, or serve that one"
            )


def catalogue_of(settings: Settings) -> Catalogue:
    """What is to be served. `UserError` where the file of it is not sound, labels and models do not fit, or an encoder
    is named that no Triton that is started here would run."""
    if settings.encoder != "torch" and settings.triton:
        raise UserError("--encoder says what runs in the Triton that is started here: it does not go with --triton")
    if settings.models is not None:
        if settings.encoder != "torch":
            raise UserError("--encoder goes with --model: a file of --models says it for each version")
        catalogue = read_catalogue(Path(settings.models))
        if settings.triton and any(spec.encoder != "torch" for _, _, spec in specs(catalogue)):
            raise UserError(f"--models {settings.models} names encoders, which do not go with --triton")
        return catalogue
    return one_version_each(settings.model, settings.labels, settings.encoder)


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
                settings.tls_certificate, settings.tls_key, _refuse_passphrase
            )
        except OSError as error:
            what = f"--tls-certificate {settings.tls_certificate} with --tls-key {settings.tls_key}"
            raise UserError(f"{what}: {error.strerror or error}; both are PEM files") from error


def _refuse_passphrase() -> str:
    """For a key that wants one: the proxy, which reads it too, has nobody to ask."""
    raise UserError("--tls-key has a passphrase: give a key without one, in a file that only you can read")


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_hosts(settings: Settings) -> tuple[str, ...]:
    """The names by which a server may be called that only this machine reaches, and that asks for no key; none where
    it asks for one."""
    if settings.keys or not is_loopback(settings.host):
        return ()
    host = settings.host.lower()
    return tuple(dict.fromkeys((*_THIS_MACHINE, f"[{host}]" if ":" in host else host)))


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


def require_log(path: Path) -> None:
    """`UserError` unless lines can be put at the end of a file, which is made if it is not there yet."""
    try:
        path.open("a").close()
    except OSError as error:
        raise UserError(
            f"--log {path}: {error.strerror}; give a file that can be written, in a folder that is there"
        ) from error
