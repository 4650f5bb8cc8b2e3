"""A column of names as integers, without a Python object a row. Knows nothing of ranks or files."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class CodedNames:
    """`codes` (N,) int32 point into `names`, -1 where there is no name. `names` may hold a text more than once."""

    codes: np.ndarray
    names: pa.StringArray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> "CodedNames":
        """From texts of any Arrow type, dictionaries too; null and empty are no name."""
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        encoded = column.unify_dictionaries().combine_chunks()
        names = encoded.dictionary.cast(pa.string()).fill_null("")
        codes = encoded.indices.cast(pa.int32()).fill_null(-1).to_numpy()
        blank = np.flatnonzero(pc.equal(names, "").to_numpy(zero_copy_only=False))
        return cls(np.where(np.isin(codes, blank), np.int32(-1), codes) if blank.size else codes, names)

    @classmethod
    def constant(cls, name: str, count: int) -> "CodedNames":
        """The same name, or none, `count` times."""
        return cls(np.full(count, 0 if name else -1, np.int32), pa.array([name] if name else [], pa.string()))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def present(self) -> np.ndarray:
        """Where there is a name: (N,) bool."""
        return self.codes >= 0

    def ordinals(self) -> np.ndarray:
        """Integers that sort as the names do, equal where these are: (N,) int32; 0 where there is none."""
        if not len(self.names):
            return np.zeros(len(self), np.int32)
        ordinal_of = pc.rank(self.names, tiebreaker="dense").to_numpy().astype(np.int32)  # counts from 1
        return np.where(self.present, ordinal_of[self.codes], np.int32(0))

    def texts(self) -> pa.StringArray:
        """The names as texts, empty where there is none."""
        # Not null and then filled: the take has them all.
        with_blank = pa.concat_arrays([self.names, pa.array([""], pa.string())])
        return with_blank.take(pa.array(np.where(self.present, self.codes, np.int32(len(self.names)))))

    def column(self) -> pa.DictionaryArray:
        """The names as a dictionary column, null where there is none."""
        return pa.DictionaryArray.from_arrays(pa.array(self.codes, mask=~self.present), self.names)

    def take(self, rows: np.ndarray) -> "CodedNames":
        """The names of some rows; no name where a row is -1."""
        if not len(self):
            return CodedNames(np.full(len(rows), -1, np.int32), self.names)
        return CodedNames(np.where(rows >= 0, self.codes[rows], np.int32(-1)), self.names)

    def where(self, kept: np.ndarray) -> "CodedNames":
        """The names where `kept` (N,) holds, and none elsewhere."""
        if not (self.present & ~kept).any():
            return self
        return CodedNames(np.where(kept, self.codes, np.int32(-1)), self.names)

    def or_else(self, other: "CodedNames") -> "CodedNames":
        """These names, and where there is none, those of the other column."""
        if not (other.present & ~self.present).any():
            return self
        moved = np.where(other.present, other.codes + np.int32(len(self.names)), np.int32(-1))
        return CodedNames(np.where(self.present, self.codes, moved), pa.concat_arrays([self.names, other.names]))
