"""A finished run that is loaded again answers as it did when it had trained: any row alone, in any order."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch

import run
from finetune import reply_writer
from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS
from finetune.gates import reply_gate_untested
from finetune.generate import Generation, Generations
from finetune.language_model import LanguageModel
from finetune.prompt import Prompt
from finetune.support_model import SupportModel, expect_answers, run_problems
from retrieval import saved_run
from retrieval.errors import ModelUnavailable
from retrieval.prediction import Prediction, Reply
from retrieval.progress import Group
from retrieval.retrieve import retrieve
from retrieval.tickets import InputProblems, Ticket
from tests.fakes import ROWS, HashEncoder, base, save_base
from tests.finetune.helpers import classifier_for, score_every_ticket, undisturbed
from tests.test_pipeline import INTENTS, knows_the_answer, write_unclear_rows
from tests.test_run import ROOT, arguments, write

TICKETS = [Ticket(f"v{i}", f"please help me 2{i} or {3 * i} with the {'folder' if i % 2 else 'filter'}") for i in range(6)]


@pytest.fixture(autouse=True)
def fake_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("retrieval.encoder.load_encoder", "retrieval.saved_run.load_encoder"):
        monkeypatch.setattr(place, lambda *_, **__: HashEncoder())


@pytest.fixture
def every_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft is given however near to its ticket the stored reply is."""
    monkeypatch.setattr("finetune.reply_choice.MARGIN", -2.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_unclear_rows(tmp_path / "train.jsonl")
    write(tmp_path / "val.jsonl", *({"id": ticket.id, "ticket": ticket.text} for ticket in TICKETS))
    return tmp_path


def trained(folder: Path, **options: object) -> list[dict[str, Any]]:
    """Runs the command; what predictions.jsonl says."""
    assert run.main(arguments(folder, **options)) == 0
    return [json.loads(line) for line in (folder / "weights" / "predictions.jsonl").read_text().splitlines()]


def alone_and_backwards(model: SupportModel) -> list[dict[str, Any]]:
    found = [model.answer([ticket])[0].explanation() for ticket in reversed(TICKETS)]
    return found[::-1]


def assert_same(found: object, expected: object) -> None:
    """All is equal, but for the last of the five decimals: a ticket alone is summed up in another order than among others."""
    if isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1.5e-5)
    elif isinstance(expected, dict) and isinstance(found, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list) and isinstance(found, list):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


def test_retrieval_alone_answers_each_ticket_alone_as_the_run_did(folder: Path) -> None:
    expected = trained(folder)
    model = SupportModel.load(folder / "weights")
    assert_same(alone_and_backwards(model), expected)
    assert [found.explanation() for found in model.answer(TICKETS)] == expected
    assert model.language_model is None


def test_a_ticket_without_any_other_is_answered_and_none_at_all_is_no_error(folder: Path) -> None:
    trained(folder)
    model = SupportModel.load(folder / "weights")
    assert isinstance(model.answer(TICKETS[:1])[0], Prediction)
    assert model.answer([]) == ()


def test_two_tickets_with_one_id_are_refused(folder: Path) -> None:
    trained(folder)
    with pytest.raises(ValueError, match="one id"):
        SupportModel.load(folder / "weights").answer([TICKETS[0], TICKETS[0]])


def test_a_service_hears_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(folder)
    capsys.readouterr()
    SupportModel.load(folder / "weights").answer(TICKETS)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


@pytest.mark.usefixtures("every_draft")
def test_generated_replies_are_those_of_the_run_and_the_adapter_is_the_one_it_trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[dict[str, torch.Tensor]] = []

    def noted(model: torch.nn.Module, base: BaseModel, prompts: Sequence[Prompt], **options: Any) -> Generations:
        used.append({name: weight.detach().clone() for name, weight in model.state_dict().items() if ".final." in name})
        return knows_the_answer(model, base, prompts, **options)

    monkeypatch.setattr(reply_writer, "generate", noted)
    expected = trained(folder, base_model=save_base(folder / "base"))
    assert {row["source"] for row in expected} == {"generated"}
    at_the_end = used[-1]
    assert any(weight.abs().max() > 0 for name, weight in at_the_end.items() if "lora_B" in name)
    model = SupportModel.load(folder / "weights")
    assert_same(alone_and_backwards(model), expected)
    assert at_the_end.keys() == used[-1].keys()
    assert all(torch.equal(weight, used[-1][name]) for name, weight in at_the_end.items())


@pytest.mark.usefixtures("every_draft")
def test_really_generated_words_are_those_of_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny base writes noise; here the gate lets it, and every draft passes the check."""
    monkeypatch.setattr("finetune.judging.MIN_REPLIES", 0)
    monkeypatch.setattr("finetune.judging.first_fold_stop", lambda *_, **__: "")
    monkeypatch.setattr("finetune.judging.reply_gate", lambda *_, **__: replace(reply_gate_untested("let pass"), passed=True))
    monkeypatch.setattr("finetune.grounding.findings", lambda *_, **__: ())
    expected = trained(folder, base_model=save_base(folder / "base"))
    assert {row["source"] for row in expected} == {"generated"}
    assert_same(alone_and_backwards(SupportModel.load(folder / "weights")), expected)


def test_the_same_drafts_are_given_as_in_the_run_and_the_same_stored_replies(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other draft says its ticket back, which is as near as a text can be; the rest are far from theirs."""
    near = {ticket.id: ticket.text for ticket in TICKETS[::2]}

    def written(_: torch.nn.Module, __: BaseModel, prompts: Sequence[Prompt], **___: object) -> Generations:
        return Generations({p.row_id: Generation(near.get(p.row_id, "no word of it"), 9, 0.5, ended=True) for p in prompts})

    monkeypatch.setattr(reply_writer, "generate", written)
    monkeypatch.setattr("finetune.grounding.findings", lambda *_, **__: ())
    monkeypatch.setattr("finetune.judging.MIN_REPLIES", 0)
    monkeypatch.setattr("finetune.judging.reply_gate", lambda *_, **__: replace(reply_gate_untested("let pass"), passed=True))
    expected = trained(folder, base_model=save_base(folder / "base"))
    assert [row["source"] for row in expected[::2]] == ["generated"] * 3
    assert {row["source"] for row in expected[1::2]} <= {"copied", "composed"}
    assert [row["draft"] for row in expected[1::2]] == ["no word of it"] * 3
    assert_same(alone_and_backwards(SupportModel.load(folder / "weights")), expected)


class MiddleTicket:
    """A remote model that answers the second of three tickets."""

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier

    def retrieve(self, tickets: Any, vectors: Any, *, local: Any) -> Any:
        return retrieve(self.classifier, tickets, vectors)

    def write_replies(self, found: Any) -> dict[str, Reply]:
        return {found[1].ticket.id: Reply("from afar", "remote")}


class Drafts:
    """A language model that writes these drafts."""

    def __init__(self, by_ticket: dict[str, str]) -> None:
        self.by_ticket = by_ticket

    def intent_scorer(self) -> None: ...

    def write_replies(self, found: Any) -> list[Reply]:
        return [Reply(self.by_ticket[one.ticket.id], "generated") for one in found]


def test_a_draft_beside_remote_replies_is_compared_with_its_own_ticket() -> None:
    first, middle, last = (Ticket(name, text) for name, text in (("a", "one seat"), ("b", "two keys"), ("c", "three domains")))
    classifier: Any = classifier_for(ROWS)
    drafts: Any = Drafts({first.id: first.text, last.id: middle.text})
    remote: Any = MiddleTicket(classifier)
    answers = SupportModel(HashEncoder(), classifier, drafts, remote).answer([first, middle, last])
    assert [found.reply.source for found in answers[:2]] == ["generated", "remote"]
    assert answers[2].reply.source in ("copied", "composed"), "what is near to the ticket beside it is not near to this one"


def test_the_display_waits_for_no_replies_where_the_gates_keep_the_model_from_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    left_out: list[Group] = []
    monkeypatch.setattr("finetune.support_model.leave_out", lambda *groups: left_out.extend(groups))
    scoring = LanguageModel(base(), replace(undisturbed(), lm_weight=0.4), (), False, SINGLE_PROCESS, inf)
    for model in (None, scoring):
        expect_answers(SupportModel(HashEncoder(), classifier_for(ROWS), model), TICKETS)
    assert left_out == [Group.REPLIES]


def test_the_prompts_of_a_loaded_run_say_the_descriptions_of_its_taxonomy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []

    def noted(model: torch.nn.Module, base: BaseModel, prompts: Sequence[Prompt], **options: Any) -> Generations:
        asked.extend(prompt.ids for prompt in prompts)
        return knows_the_answer(model, base, prompts, **options)

    monkeypatch.setattr(reply_writer, "generate", noted)
    words = {intent: intent.partition(".")[2] for intent in INTENTS}
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    write(folder / "train.jsonl", *(row | {"ticket": f"{row['ticket']} with the {words[row['intent']]}"} for row in rows))
    (folder / "taxonomy.json").write_text(json.dumps({intent: f"with the {word}" for intent, word in words.items()}))
    trained(folder, base_model=save_base(folder / "base"), taxonomy=folder / "taxonomy.json")
    in_training = asked[-len(TICKETS) :]
    asked.clear()
    model = SupportModel.load(folder / "weights")
    assert model.classifier.train_set.descriptions.keys() == words.keys()
    model.answer(TICKETS)
    assert sorted(asked) == sorted(in_training)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """LM scores with a weight, of every ticket."""
    score_every_ticket(monkeypatch)
    monkeypatch.setattr("finetune.fit.lm_scores_gate", passed(0.1))


def passed(weight: float) -> Callable[..., Any]:
    from finetune.gates import lm_scores_gate_untested

    return lambda *_, **__: (weight, lm_scores_gate_untested("a test")[1])


@pytest.mark.usefixtures("scored")
def test_lm_scores_are_those_of_the_run_without_an_adapter_being_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained(folder, base_model=save_base(folder / "base"))
    assert any("lm_score" in score for score in expected[0]["intents"])
    monkeypatch.setattr("finetune.lora.load_adapter", lambda *_, **__: pytest.fail("an adapter was loaded"))
    found = alone_and_backwards(SupportModel.load(folder / "weights"))
    for one, other in zip(found, expected, strict=True):
        for mine, theirs in zip(one.pop("intents"), other.pop("intents"), strict=True):
            assert mine.pop("intent") == theirs.pop("intent")
            assert mine == pytest.approx(theirs, abs=1e-4), "a score moves in its last digits with the batch"
        assert [one[key] for key in ("prediction", "exemplars", "source")] == [
            other[key] for key in ("prediction", "exemplars", "source")
        ]


def test_a_base_that_has_no_say_is_not_loaded_and_may_be_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = save_base(folder / "base")
    expected = trained(folder, base_model=base)
    assert {row["source"] for row in expected} <= {"copied", "composed"}
    for path in base.iterdir():
        path.unlink()
    assert_same(alone_and_backwards(SupportModel.load(folder / "weights")), expected)


def generating(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The base of a finished run that lets its language model write."""
    monkeypatch.setattr(reply_writer, "generate", knows_the_answer)
    trained(folder, base_model=save_base(folder / "base"))
    return folder / "base"


@pytest.mark.usefixtures("every_draft")
def test_a_base_that_has_a_say_and_is_gone_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = generating(folder, monkeypatch)
    base.rename(folder / "elsewhere")
    with pytest.raises(ModelUnavailable, match=rf"the base model of the run in .* is gone: found no {re.escape(str(base))}"):
        SupportModel.load(folder / "weights")


@pytest.mark.usefixtures("every_draft")
def test_another_base_in_its_place_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = generating(folder, monkeypatch)
    from safetensors.torch import load_file, save_file

    weights = load_file(base / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"has the digest sha256:\w+, expected the one that the run in"):
        SupportModel.load(folder / "weights")


def test_a_run_that_used_a_remote_model_is_refused_before_anything_is_loaded(folder: Path) -> None:
    trained(folder)
    path = folder / "weights" / "run.json"
    record = json.loads(path.read_text())
    record["gates"].append(record["gates"][0] | {"name": "remote replies", "passed": True})
    path.write_text(json.dumps(record | {"remote": {"model": "gpt-4.1-mini"}}))
    (problem,) = run_problems(folder / "weights")
    assert "found a run that used remote replies of gpt-4.1-mini, which is not asked again" in problem
    with pytest.raises(InputProblems):
        SupportModel.load(folder / "weights")
    record["gates"][-1]["passed"] = False
    path.write_text(json.dumps(record))
    assert run_problems(folder / "weights") == []


@pytest.mark.parametrize(
    "changes", [{"gates": 3}, {"gates": [3]}, {"replies": []}, {"replies": {"generated": True}}, {"base": {"precision": "fp8"}}]
)
def test_a_record_of_another_shape_is_one_sentence(folder: Path, changes: dict[str, Any]) -> None:
    trained(folder)
    path = folder / "weights" / "run.json"
    generated = {"replies": {"generated": True, "max_new_tokens": 9, "exemplars": 2}}
    path.write_text(json.dumps(json.loads(path.read_text()) | generated | changes))
    (problem,) = run_problems(folder / "weights")
    assert problem.endswith("run.json: found something else, expected the record of a finished run")


def test_retrieval_alone_imports_nothing_of_the_language_model(folder: Path) -> None:
    trained(folder)
    code = f"""
import sys
from pathlib import Path
from finetune.support_model import SupportModel
from retrieval import saved_run
from retrieval.tickets import Ticket
from tests.fakes import HashEncoder
for name in [name for name in sys.modules if name.startswith(("finetune.", "peft"))]:
    del sys.modules[name]
saved_run.load_encoder = lambda *_, **__: HashEncoder()
from finetune.support_model import SupportModel
SupportModel.load(Path({str(folder / "weights")!r})).answer([Ticket("v", "help")])
print(sorted(name for name in sys.modules if name.startswith(("finetune.", "peft"))))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['finetune.base_selection', 'finetune.reload', 'finetune.support_model']"


def test_no_file_is_ever_read_as_a_pickle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_writer, "generate", knows_the_answer)
    trained(folder, base_model=save_base(folder / "base"))
    for place in ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler"):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("a pickle was read"))
    assert SupportModel.load(folder / "weights").answer(TICKETS)
    assert saved_run.find_run(folder / "weights")[1] == []
