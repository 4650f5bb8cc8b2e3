"""Names for vectors: the LabelBank and classification with roll-up."""
