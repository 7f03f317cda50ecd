"""Everything that needs no language model: tickets, vectors, intent_scores, exemplars."""
