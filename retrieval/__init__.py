"""Everything that needs no language model: tickets, vectors, intents, exemplars, the files of a run."""

__version__ = "2.0.0"  # of the whole program; the one place
