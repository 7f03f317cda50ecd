"""A remote model behind OpenAI's chat protocol, used only where it is named: it is tried, paid and replaced by the local parts."""
