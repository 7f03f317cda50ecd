"""Everything that needs no language model: tickets, vectors, votes, exemplars."""
