"""Everything that touches the language model: prompts, the adapter, generation, checks, gates."""

import logging

# It says on a CPU which of a GPU's kernels it misses, as soon as peft is imported.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
