"""Everything that needs no language model: tickets, vectors, intents, exemplars, the files of a run."""
