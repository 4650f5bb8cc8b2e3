"""How much one request to the online classifier may ask for, and how much all of them together may hold in memory."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Limits(BaseModel):
    """Limits that the one who runs the server may change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    body_bytes: int = Field(default=20_000_000, ge=1)
    """Bytes of one request's body."""
    images: int = Field(default=16, ge=1, le=32)
    """Pictures in one request."""
    pixels: int = Field(default=50_000_000, ge=1)
    """Pixels of one picture. Those of one request have together at most twice as many."""
    header_bytes: int = Field(default=16_384, ge=1)
    """Bytes of all headers and the path together."""
    header_s: float = Field(default=10, gt=0)
    """Seconds until all headers have arrived, or the rest of a body that was answered before its end."""
    body_s: float = Field(default=60, gt=0)
    """Seconds until a body has arrived whole. Large photos from a phone on a poor line take half a minute."""
    answer_s: float = Field(default=15, gt=0)
    """Seconds from the whole body to the answer."""
    waiting_images: int = Field(default=64, ge=1)
    """Pictures in work at once, of all requests to a replica; what comes on top is refused."""
    held_bytes: int = Field(default=256_000_000, ge=1)
    """Bytes of bodies that a replica holds at once."""

    @model_validator(mode="after")
    def _a_body_fits(self) -> "Limits":
        if self.held_bytes < self.body_bytes:
            raise ValueError(f"held_bytes ({self.held_bytes}) is below body_bytes ({self.body_bytes}): none would fit")
        return self

    @property
    def longest_s(self) -> float:
        """No request takes longer, from its whole head to its answer."""
        return self.body_s + self.answer_s + 5
