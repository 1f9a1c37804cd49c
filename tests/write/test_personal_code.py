"""Personal code models: five techniques on one small model, what they refuse, and peft's and transformers' reading of what they keep."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sartor
from sartor.data.population import Evidence, Population
from sartor.data.source_code import Project, as_population, read_project, split_files
from sartor.errors import ConfigError, CorruptFile, EmptyData, FileProblem, StateMismatch, TooLarge, TooLittleEvidence
from sartor.evaluate.adapters import compare_adapters
from sartor.method import Method, State
from sartor.parts.trainer import seeded
from sartor.write.code_lm import CodeLM
from sartor.write.parts.peft_files import read_tuned
from sartor.write.parts.tuning import TECHNIQUES, Technique
from sartor.write.personal_code import RATES, PersonalCode
from sartor.write.personal_code_transformers import tune_transformers
from sartor.write.population_lm import cached

SMALL: dict[str, Any] = {
    "tokens": 24_000,
    "dim": 32,
    "layers": 2,
    "vocabulary": 420,
    "width": 32,
    "places": 4,
    "max_tokens": 64,
    "rows": 8,
    "seed": 1,
}


def project(name: str, nouns: list[str], files: int = 6) -> Project:
    """Files of lines over a project's own nouns."""
    rng = np.random.default_rng(len(name) + len(nouns[0]))
    texts = {}
    for number in range(files):
        lines = []
        for place in range(40):
            a, b = rng.choice(nouns, 2)
            lines.append(f"{a} = {b}.{a}({b}, {place})")
        texts[f"{name}/part{number}.py"] = "\n".join(lines)
    return Project(name, texts)


POPULATION = as_population([project(name, [f"{name}er", "item", "row", "left"]) for name in ("read", "writ", "draw")])
ANA, BEN = project("ana", ["lemur", "okapi", "heron"]), project("ben", ["quark", "gluon", "boson"])
GIVEN = as_population([split_files(one, shares=(0.7, 0.3))[0] for one in (ANA, BEN)])
KEPT = as_population([split_files(one, shares=(0.7, 0.3))[1] for one in (ANA, BEN)])
BEGUN = [[{"role": "assistant", "content": "lemur = "}], [{"role": "user", "content": "row = "}]]


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> CodeLM:
    folder = tmp_path_factory.mktemp("code-lm")
    made = cached(CodeLM(**SMALL), POPULATION, SMALL, cache=folder)
    assert cached(CodeLM(**SMALL), POPULATION, SMALL, cache=folder).fingerprint_ == made.fingerprint_
    assert len(list(folder.iterdir())) == 1
    return made


@pytest.fixture(scope="module")
def arms(lm: CodeLM) -> dict[str, PersonalCode]:
    more: dict[str, Any] = {"lm": lm, "steps": 18, "batch": 4, "places": 4, "hidden": 16, "rank": 4, "max_new": 12}
    # A model so small, for so few steps, wants larger ones.
    return {one: PersonalCode(technique=one, learning_rate=8 * RATES[one], **more).fit(POPULATION, progress=False) for one in TECHNIQUES}


def test_every_technique_learns_its_project_and_no_other(arms: dict[str, PersonalCode], lm: CodeLM) -> None:
    before = lm.model.fingerprint

    def score(method: Method, who: Any, state: State | None) -> dict[str, float]:
        assert isinstance(method, PersonalCode)
        return {"nats": method.nats(KEPT[who], state)}

    found = compare_adapters(arms, GIVEN, score)
    assert lm.model.fingerprint == before
    none = found.values("lora", "nats", "none")
    for name in TECHNIQUES:
        own = found.values(name, "nats")
        assert (own < none).all(), name
        assert (own < found.values(name, "nats", "swapped")).all(), name
        np.testing.assert_allclose(found.values(name, "nats", "none"), none)
    assert found.versus("full", "lora", "nats").n == 2
    table = {row["arm"]: row for row in found.table().iter_rows(named=True)}
    n = sum(one.numel() for one in lm.network_.parameters() if one.ndim > 1)
    assert 6 * n * table["full"]["tokens"] < table["full"]["flops"] < 9 * n * table["full"]["tokens"]
    assert table["light-last"]["flops"] < table["lora"]["flops"] < table["full"]["flops"]
    assert all(row["tokens"] == table["full"]["tokens"] for row in table.values())
    assert table["prefix"]["bytes"] == 2 * 4 * 2 * 2 * 32
    assert table["lora"]["bytes"] == 2 * 8 * 4 * 64
    with pytest.raises(ConfigError, match="at least two"):
        compare_adapters(arms, GIVEN, score, people=["ana"])


@pytest.mark.parametrize("name", TECHNIQUES)
def test_states_write_alone_together_and_after_saving(arms: dict[str, PersonalCode], lm: CodeLM, name: str, tmp_path: Path) -> None:
    writer = arms[name]
    ana, ben = writer.adapt(GIVEN["ana"]), writer.adapt(GIVEN["ben"])
    nobody = writer.adapt(Evidence({}, person="ana"))
    assert writer.write_all(BEGUN, [None, nobody]) == lm.write_all(BEGUN, [None, None], max_new=12)
    chats = [BEGUN[0], BEGUN[1], BEGUN[0], BEGUN[0]]
    mixed = writer.write_all(chats, [ana, ben, None, ben])
    assert mixed == [writer.write(chat, state) for chat, state in zip(chats, [ana, ben, None, ben], strict=True)]
    assert len({mixed[0], mixed[2], mixed[3]}) > 1
    again = sartor.load(writer.save(tmp_path / name))
    assert again.write_all(chats, [State.from_bytes(ana.to_bytes()), ben, None, ben]) == mixed
    newer = writer.adapt(GIVEN["ana"], ana)
    assert (newer.version, newer.examples) == (2, 2 * ana.examples)
    assert writer.nats(GIVEN["ana"], newer) < writer.nats(GIVEN["ana"], ana)
    extra = writer.prompt_tokens(chats, [ana, ben, None, ben])
    assert extra[0] - extra[2] == (4 if name == "prefix" else 0)


def test_bad_input_is_named(arms: dict[str, PersonalCode], lm: CodeLM, tmp_path: Path) -> None:
    lora, prefix = arms["lora"], arms["prefix"]
    small = as_population([Project("tiny", {"a.py": "x = 1\n" * 50})])["tiny"]
    with pytest.raises(TooLittleEvidence, match="300 bytes") as caught:
        lora.adapt(small)
    assert "search" in str(caught.value.fix)
    assert lora.adapt(small, lora.adapt(GIVEN["ana"])).version == 2
    with pytest.raises(TooLarge, match="'full'"):
        PersonalCode(lm=lm, technique="full", most=10_000).fit(POPULATION, progress=False)
    with pytest.raises(ConfigError, match="held_out"):
        PersonalCode(lm=lm, held_out=1.0).fit(POPULATION, progress=False)
    with pytest.raises(ConfigError, match="technique"):
        PersonalCode(lm=lm, technique="half").fit(POPULATION, progress=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="width"):
        CodeLM(width=250).fit(POPULATION, progress=False)
    with pytest.raises(ConfigError, match="export"):
        lora.model(lora.adapt(GIVEN["ana"]))

    # A prefix of another base model: by its fingerprint in the state, and by its name in a file.
    other = cached(CodeLM(**SMALL | {"tokens": 2_000}), POPULATION, SMALL | {"tokens": 2_000}, cache=tmp_path / "lm")
    theirs = PersonalCode(lm=other, technique="prefix", steps=6, places=4, hidden=0).fit(POPULATION, progress=False)
    strange = theirs.adapt(GIVEN["ana"])
    with pytest.raises(StateMismatch):
        prefix.write(BEGUN[0], strange)
    folder = theirs.export(strange, tmp_path / "theirs")
    with pytest.raises(StateMismatch, match="prefix"):
        prefix.read(folder)
    np.testing.assert_array_equal(theirs.read(folder)["prefix"], strange["prefix"])
    (folder / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(CorruptFile):
        theirs.read(folder)
    with pytest.raises(FileProblem):
        read_tuned(tmp_path)
    broken = prefix.make_state({"prefix": np.zeros((2, 2), np.float16)}, examples=1)
    with pytest.raises(CorruptFile, match="wanted"):
        prefix.write(BEGUN[0], broken)


def test_what_is_kept_opens_in_transformers_and_peft(arms: dict[str, PersonalCode], lm: CodeLM, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    peft = pytest.importorskip("peft", reason="needs peft, which the extra 'dev' installs")
    base = lm.model.save(tmp_path / "base")
    ids = torch.tensor([lm.prompt(BEGUN[0])])
    for name, writer in arms.items():
        state = writer.adapt(GIVEN["ana"])
        folder = writer.export(state, tmp_path / name)
        if name in ("prefix", "lora"):
            model = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(base), folder)
        else:
            model = transformers.AutoModelForCausalLM.from_pretrained(folder)
        tuned = writer._open(dict(state.arrays))
        with torch.no_grad():
            expected = tuned.network.words_out(tuned.run(ids, None))
            torch.testing.assert_close(model.eval()(input_ids=ids).logits, expected, atol=2e-4, rtol=1e-3)
        tuned.close()
        if name in ("prefix", "lora"):
            assert writer.write(BEGUN[0], writer.read(folder)) == writer.write(BEGUN[0], state)


def test_pairs_of_a_method_and_its_test_are_learned_as_answers(lm: CodeLM) -> None:
    nouns = ["lemur", "okapi", "heron"]
    rows = [(f"def {a}_{b}():", f"def test_{a}_{b}(): assert {b}({n}) == {a}", f"{a}.py") for n in range(40) for a in nouns for b in nouns]
    pairs = {"prompt": [row[0] for row in rows], "text": [row[1] for row in rows], "item": [row[2] for row in rows], "person": ["ana"] * len(rows)}
    population = Population.from_frames(texts=pairs)
    taught = CodeLM(**SMALL | {"task_tokens": 4_000}).fit(population, progress=False)
    writer = PersonalCode(lm=taught, steps=6).fit(population, progress=False)
    state = writer.adapt(population["ana"])
    assert state.notes["cost"]["tokens"] > 0
    assert math.isfinite(state.notes["held_out"])
    assert writer.nats(population["ana"], state) < writer.nats(population["ana"], None)
    assert taught.prompt([{"role": "user", "content": "def a():"}]) == taught.model.tokenizer.chat([{"role": "user", "content": "def a():"}])


def test_projects_are_read_by_file_and_what_is_no_source_is_listed(tmp_path: Path) -> None:
    (tmp_path / "inner" / "tests").mkdir(parents=True)
    for name, content in {
        "a.py": b"x = 1\n", "inner/b.py": b"y = 2\n" * 40, "binary.py": b"x\0y", "latin.py": b"caf\xe9", "min.py": b"x=1;" * 900, "empty.py": b" \n",
        "inner/tests/c.py": b"z = 3\n", "readme.md": b"text",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    found = read_project(tmp_path, name="ana", without=["tests"])
    assert list(found.files) == ["a.py", "inner/b.py"]
    assert found.skipped == {"binary.py": "binary", "empty.py": "empty", "latin.py": "binary", "min.py": "minified"}
    with pytest.raises(FileProblem):
        read_project(tmp_path / "nowhere")
    with pytest.raises(EmptyData):
        read_project(tmp_path, suffixes=[".rs"])
    with pytest.raises(ConfigError):
        split_files(found, shares=(0.5, 0.3, 0.2))
    parts = split_files(ANA, shares=(0.6, 0.2, 0.2), seed=3)
    assert {path for part in parts for path in part.files} == {*ANA.files}
    assert sum(len(part.files) for part in parts) == len(ANA.files)
    assert min(len(part.files) for part in parts) >= 1


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_any_model_of_the_transformers_library(lm: CodeLM, kind: str, technique: Technique, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    peft = pytest.importorskip("peft", reason="needs peft, which the extra 'dev' installs")
    base = lm.model.save(tmp_path / "base")
    if kind == "gpt2":
        shape = transformers.GPT2Config(vocab_size=len(lm.model.tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2)
        with seeded(0):
            transformers.GPT2LMHeadModel(shape).save_pretrained(base)
    files = dict(ANA.files)
    more: dict[str, Any] = {"steps": 12, "width": 24, "learning_rate": 1e-2, "places": 4, "hidden": 16, "rank": 2}
    out = tune_transformers(base, files, tmp_path / "out", technique=technique, **more)
    assert out["last_loss"] < out["first_loss"]
    assert out["tokens"] == 12 * 4 * 24
    model = transformers.AutoModelForCausalLM.from_pretrained(base if technique in ("prefix", "lora") else tmp_path / "out")
    ids = torch.tensor([lm.model.tokenizer.encode(next(iter(files.values())))[:24]])
    plain = transformers.AutoModelForCausalLM.from_pretrained(base).eval()
    if technique in ("prefix", "lora"):
        model = peft.PeftModel.from_pretrained(model, tmp_path / "out")
        # The network behind the prefix is gone: what is kept is smaller than it.
        assert out["bytes"] < 12_000
        assert read_tuned(tmp_path / "out")[0] == technique or kind == "gpt2"
    with torch.no_grad():
        assert float(model.eval()(input_ids=ids, labels=ids).loss) < float(plain(input_ids=ids, labels=ids).loss)
    if technique == "lora":
        with pytest.raises(TooLittleEvidence, match="tokens"):
            tune_transformers(base, files, tmp_path / "out", width=10_000)
        with pytest.raises(TooLittleEvidence, match="bytes"):
            tune_transformers(base, {"a.py": "x"}, tmp_path / "out")
        with pytest.raises(FileProblem):
            tune_transformers(tmp_path / "nowhere", files, tmp_path / "out")
