"""What the application is told: the arguments of `trygon_serving.app:build`, as a RayService gives them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from trygon.limits import Limits
from trygon_serving.catalogue import Catalogue


class AppArgs(BaseModel):
    """The arguments of the application, as a RayService's `args` gives them."""

    model_config = ConfigDict(extra="forbid")

    models: Annotated[Catalogue, Field(min_length=1)] | str
    """Versions by model and name, or a file of them, which is read again when it changes. The first model is the
    default."""
    triton: str
    """HOST:PORT of Triton's gRPC, or the socket of ours."""
    triton_metrics: str = Field(default="", pattern=r"^(http://.+)?$")
    """Where a Triton that each replica has for itself tells its metrics, like http://127.0.0.1:8002/metrics: the
    policy of `scaling` follows its queue then. Nothing where replicas share one, as more of them would not shorten
    it."""
    shared_metrics: str = Field(default="", pattern=r"^(http://.+)?$")
    """The same of a Triton that all replicas share: its figures stand in `/metrics` beside theirs."""
    repository: str = ""
    """Triton's model repository, where this process may write it and Triton loads what it is told to (explicit mode).
    Without it, Triton has to hold the models by itself."""
    checklists: dict[str, str] = {}
    """Lists of the names that may be given, by the name that requests call them."""
    runs: dict[str, str] = {}
    """Run folders that `/v1/similar` searches in, by the name that requests call them; the first is the default."""
    galleries: dict[str, str] = {}
    """Galleries that `/v1/similar` searches in and whose pictures are shown, by the name that requests call them."""
    keys: str = ""
    """A file of API keys; without it everyone who reaches the server may ask."""
    hosts: tuple[str, ...] = ()
    """Without keys: the names by which requests may call the server, as in the header Host without its port. By
    default any: a probe calls a pod by its address. Where there are names, pages of other sites may not ask either."""
    log: str = ""
    """A file for the log of requests; by default standard error."""
    traces: str = ""
    """Where spans go: the address of an OTLP receiver. Without it there are none."""
    limits: Limits = Limits()
