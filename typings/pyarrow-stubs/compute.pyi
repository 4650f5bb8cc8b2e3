"""pyarrow.compute makes most of its functions when it is imported: pyright cannot see them."""

from typing import Any

def __getattr__(name: str) -> Any: ...
