"""A remote model behind OpenAI's chat protocol, used only where it is named: tried on train rows, paid from a budget."""
