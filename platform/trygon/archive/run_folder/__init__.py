"""Everything that one labelling run wrote: its parts, its tables, what people said of them."""
