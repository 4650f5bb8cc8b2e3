"""How much one request may ask for, and how much all of them together may hold in memory."""

from pydantic import BaseModel, ConfigDict, Field

MAX_K = 100
MAX_NAMES = 1000
MAX_NAME_CHARACTERS = 200
MAX_CLADES = 16
MAX_PAGE = 500


class Limits(BaseModel):
    """Limits that the one who runs the server may change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: int = Field(default=20_000_000, ge=1)
    """Of one request."""
    images: int = Field(default=16, ge=1, le=32)
    """In one request."""
    pixels: int = Field(default=50_000_000, ge=1)
    """Of one picture."""
    header_bytes: int = Field(default=16_384, ge=1)
    """All headers and the path together."""
    body_s: float = Field(default=10, gt=0)
    """Until a body has arrived whole."""
    answer_s: float = Field(default=15, gt=0)
    """From the whole body to the answer."""
    waiting_images: int = Field(default=64, ge=1)
    """In work at once, of all requests; what comes on top is refused."""
    held_bytes: int = Field(default=256_000_000, ge=1)
    """Bodies in memory at once."""
