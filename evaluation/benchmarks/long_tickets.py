"""python -m evaluation.benchmarks.long_tickets: what to embed of a ticket that is longer than the encoder's window.

Test tickets of a draw are made longer than the window: unrelated sentences (out-of-scope rows of a public set) stand before or
behind the question, or other test tickets of the same intent follow it. Each is embedded by its beginning alone, as the program
does it, and by all its windows (the mean of their vectors, weighted by their word pieces), and classified.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from evaluation.benchmarks.public_sets import (
    Draw,
    PublicSet,
    add_set_options,
    chosen_encoder,
    draw,
    load_set,
    parsed_size,
    read_public,
)
from evaluation.command import count, new_parser, print_table, run_command
from retrieval.encoder import Encoder, Vectors, load_encoder, unit
from retrieval.intent_classifier import fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.runtime import configure

SIZE = parsed_size("15x2")
WINDOWS = 1.6  # how long the tickets are, in windows
Pieces = Callable[[str], list[tuple[int, int]]]  # a text -> where each of its word pieces begins and ends


def window_of(folder: Path) -> tuple[Pieces, int]:
    """How an encoder cuts a text into word pieces, and how many it reads besides its special tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    width = int(json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"])
    options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
    return lambda text: tokenizer(text, **options)["offset_mapping"], width - tokenizer.num_special_tokens_to_add()


def windows(text: str, pieces: Pieces, width: int) -> tuple[list[str], list[int]]:
    """The text in parts of at most `width` word pieces, and how many each has."""
    spans = pieces(text)
    parts = [spans[start : start + width] for start in range(0, len(spans), width)]
    return [text[part[0][0] : part[-1][1]] for part in parts], [len(part) for part in parts]


def lengthened(text: str, others: Sequence[str], pieces: Pieces, *, length: int, question_last: bool) -> str:
    """The text with as many of the other sentences as make it so many word pieces long."""
    added: list[str] = []
    size = len(pieces(text))
    for i in range(len(others) * length):
        if size >= length:
            break
        added.append(others[i % len(others)] + ".")
        size += len(pieces(added[-1]))
    return " ".join([*added, text] if question_last else [text + ".", *added])


def long_texts(drawn: Draw, unrelated: Sequence[str], pieces: Pieces, *, length: int) -> dict[str, list[str]]:
    """The tests of a draw made long in three ways."""
    generator = np.random.default_rng(0)
    found: dict[str, list[str]] = {"question first": [], "question last": [], "same intent throughout": []}
    for row in drawn.tests:
        noise = [unrelated[i] for i in generator.permutation(len(unrelated))]
        siblings = [other.text for other in drawn.tests if other.intent == row.intent and other.text != row.text] or [row.text]
        found["question first"].append(lengthened(row.text, noise, pieces, length=length, question_last=False))
        found["question last"].append(lengthened(row.text, noise, pieces, length=length, question_last=True))
        found["same intent throughout"].append(lengthened(row.text, siblings, pieces, length=length, question_last=False))
    return found


def pooled(texts: Sequence[str], pieces: Pieces, width: int, encoder: Encoder) -> tuple[Vectors, Vectors]:
    """(m, d) vectors of the beginnings, and of all windows pooled."""
    first, whole = [], []
    for text in texts:
        parts, sizes = windows(text, pieces, width)
        vectors = encoder.encode(parts)
        first.append(vectors[0])
        whole.append(np.average(vectors, axis=0, weights=sizes))
    return unit(np.stack(first)), unit(np.stack(whole))


def table_lines(
    source: PublicSet, drawn: Draw, texts: dict[str, list[str]], both: Callable[..., tuple[Vectors, Vectors]]
) -> list[dict[str, str]]:
    """A line for each kind of long ticket."""
    classifier = fit_classifier(drawn.train_set, with_names=label_names_gate(drawn.train_set, seed=0).passed)
    lines = []
    for kind, long in texts.items():
        by_beginning, by_all = (classifier.score(vectors, long).winners == drawn.expected for vectors in both(long))
        gap = by_all.astype(float) - by_beginning
        lines.append(
            {
                "set": source.name,
                "kind": kind,
                "tickets": str(len(long)),
                "beginning %": f"{100 * by_beginning.mean():.0f}",
                "all windows %": f"{100 * by_all.mean():.0f}",
                "difference": f"{100 * gap.mean():+.0f} ± {100 * gap.std() / np.sqrt(len(gap)):.0f}",
            }
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares the two ways."""
    parser = new_parser("evaluation.benchmarks.long_tickets", __doc__)
    add_set_options(parser, sets=("bitext", "hwu64"))
    parser.add_argument("--tests", type=count, default=40, help="test rows of a set (default: 40)")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Makes, embeds, classifies, prints."""
    configure()
    encoder = chosen_encoder(options)
    pieces, width = window_of(load_encoder(options.encoder).files.path)
    unrelated = [row.text for row in read_public(options.data / "clinc150_out_of_scope.jsonl", ("id", "ticket"))]
    lines = []
    for name in options.sets:
        source = load_set(options.data, name, encoder)
        drawn = draw(source, SIZE, seed=0, tests=options.tests)
        texts = long_texts(drawn, unrelated, pieces, length=int(WINDOWS * width))
        lines += table_lines(source, drawn, texts, lambda long: pooled(long, pieces, width, encoder))
    print_table(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
