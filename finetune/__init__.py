"""Everything that touches the language model: prompts, the adapter, generation, checks, gates."""
