import json
from pathlib import Path
from typing import Any

import pytest

from evaluation import generation
from evaluation.benchmarks import prompt_variants
from evaluation.benchmarks.prompt_variants import RESTATED, VARIANTS, answer, main, measure, table_line
from evaluation.generation import supported_examples
from finetune.prompt import prompt_writer
from finetune.training_data import TrainingConfig, config_for
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.intent_classifier import fit_classifier
from retrieval.prediction import Reply
from retrieval.retrieve import retrieve
from tests.evaluation.ablation.test_ablation import spy_on_training
from tests.evaluation.samples import LABEL, tiny_split, use_hash_encoder
from tests.fakes import ROWS, HashEncoder, base, row, train_set
from tests.test_run import GOOD, write


def test_the_variants_train_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each variant: the kind of model that answers, and for each training example whether it shows the row's own reply."""
    trained, answering, shown_to = spy_on_training(monkeypatch), dict[str, str](), dict[str, int]()

    def replies(found: Any, model: Any, *_: Any, label: str, exemplars: int) -> list[Reply]:
        answering[label], shown_to[label] = type(model).__name__, exemplars
        return [Reply("x", "generated") for _ in found]

    monkeypatch.setattr(prompt_variants, "generated_replies", replies)
    monkeypatch.setattr(prompt_variants, "_restated", lambda *_, **__: pytest.fail("has tests of its own"))
    tiny, split = base(), tiny_split()
    classifier = fit_classifier(split.train_set, with_names=True)
    found = retrieve(classifier, split.tickets, split.vectors)
    for variant in (variants := [name for name in VARIANTS if name != RESTATED]):
        written, losses = answer(split, classifier, found, variant, tiny, seed=0)
        assert len(written) == len(losses) == len(found)
    numbered = [variant for variant in variants if variant[0] in "24"]
    assert {variant: shown_to[variant] for variant in numbered} == {variant: int(variant[0]) for variant in numbered}
    del trained[8:]  # the variants that follow change nothing about the row's own reply
    assert answering.pop("no LoRA") == "LlamaForCausalLM"
    assert set(answering.values()) == {"PeftModelForCausalLM"}
    assert {learning_rate for _, learning_rate in trained} == {config_for(tiny).learning_rate}
    own = {row.id: row.ideal_reply for row in ROWS}
    shown = [
        [own[x.row_id] in tiny.tokenizer.decode(x.ids).partition("\n\nTicket:")[0] for epoch in epochs for x in epoch]
        for epochs, _ in trained
    ]
    always, half, never, longer, always_15, never_15, *supported = shown
    assert [len(flags) / len(ROWS) for flags in shown[:6]] == [2, 2, 2, 4, 2, 2]
    assert (all(always), any(never), any(longer), all(always_15), any(never_15)) == (True, False, False, True, False)
    assert all(len(flags) < 2 * len(ROWS) for flags in supported), "a row whose reply has no supported sentence is left out"
    assert 0 < sum(half) < len(half)


def test_a_draft_and_what_a_customer_gets_are_measured_apart_and_against_copying() -> None:
    split = tiny_split()
    ideal = [label.ideal_reply for label in split.labels]
    copied = measure(split, "copy", [Reply(text, "copied") for text in ideal], HashEncoder())
    replaced = [Reply(text, "replaced", ("no",), "Nothing of it") for text in ideal]
    found = measure(split, "x", replaced, HashEncoder(), losses=[1.0, 2.0], seconds=3.0)
    assert found["checked"] == [1.0, 1.0]
    assert max(found["drafted"]) < 0.5
    line = table_line("x", [copied, found])
    assert (line["minus copy"], line["replaced"], line["facts"], line["s per split"]) == ("+0.000 ± 0.000", "2", "0/0", "3")
    assert (line["stored reply"], line["ROUGE-L"], line["quality"]) == ("2", "1.000", "1.000")
    assert (line["loss"], table_line("copy", [copied])["loss"]) == ("1.500", "")


def test_the_command_prints_a_json_line_for_each_variant_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_hash_encoder(monkeypatch, generation.__name__)
    monkeypatch.setattr(generation, "load_base", lambda choice: base())
    monkeypatch.setattr(prompt_variants, "answer", lambda *args, **options: ([Reply("No seat.", "generated")], [1.0]))
    write(tmp_path / "train.jsonl", GOOD, GOOD | {"id": "b", "intent": "api.token"})
    write(tmp_path / "val.jsonl", {"id": "a", "ticket": "a seat?"})
    write(tmp_path / "val_labels.jsonl", LABEL)
    assert main(["--split", str(tmp_path), "--only", "own reply never"]) == 0
    captured = capsys.readouterr()
    lines: list[dict[str, Any]] = [json.loads(line) for line in captured.out.splitlines()]
    assert [line["variant"] for line in lines] == ["copy", "own reply never"]
    assert [line["facts_met"] for line in lines] == [1, 1]
    assert "minus copy" in captured.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "found neither --split nor --folds"),
        (["--split", "x", "--first-split", "2"], "--first-split 2: found no --folds"),
        (["--split", "x", "--base-model", "none"], "--base-model none: found no base"),
    ],
)
def test_bad_options_are_a_sentence(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options) == 2
    assert said in capsys.readouterr().err


def test_supported_targets_keep_the_sentences_whose_facts_stand_in_the_prompt() -> None:
    rows = (
        row(1, "one more seat", "billing.seat", "One more seat is $12. Write to Ann within 9 days."),
        row(2, "another seat", "billing.seat", "A seat is $12."),
        row(3, "rotate a token", "api.token", "Press Rotate. It works for 24 hours."),
        row(4, "old token", "api.token", "It takes 7 minutes."),
    )
    tiny, classifier = base(), fit_classifier(train_set(rows), with_names=True)
    log_p, writer = out_of_fold_log_probabilities(classifier), prompt_writer(tiny.tokenizer, tiny.max_length)
    found = supported_examples(classifier, log_p, writer, TrainingConfig())
    targets = {x.row_id: tiny.tokenizer.decode(x.ids[-x.supervised : -1]).strip() for x in found}
    assert targets == {"t1": "One more seat is $12.", "t2": "A seat is $12.", "t3": "Press Rotate."}
