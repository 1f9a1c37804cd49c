"""Pictures from the command line: things from photos into files, files into pictures that say what they are."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from sartor.cli import app
from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw.concepts import open_concepts
from sartor.draw.parts.concept_file import ConceptFile
from sartor.draw.parts.picture_files import facts_in, png, sheet
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.tokens import Concept, save_embeds
from sartor.errors import BadImage, CorruptFile, EmptyData, StateMismatch

WORLD = ShapesWorld()
FEW = ["--set", "steps=2", "--set", "batch=2"]


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior") / "small"
    Prior.small(VOCABULARY, widths=(16, 16), text_width=16).save(folder)
    return folder


@pytest.fixture
def photos(tmp_path):
    """Two people's critters, three photos each; one with a place in it."""
    for person, subject in zip(("ana", "ben"), WORLD.subjects(2, noun="critter"), strict=True):
        (tmp_path / person).mkdir()
        for number, one in enumerate(WORLD.references(subject, 3).render()):
            Image.fromarray(one).resize((48, 48), Image.Resampling.NEAREST).save(tmp_path / person / f"{number}.png")
    (tmp_path / "ana" / "notes.txt").write_text("not a photo")
    return tmp_path


def call(*args):
    done = CliRunner().invoke(app, ["draw", *map(str, args)])
    return done.exit_code, json.loads(done.stdout) if "--json" in args else done.stdout


def test_a_thing_is_learned_drawn_and_told_of(prior, photos):
    out = photos / "pip.safetensors"
    code, said = call("learn", "-c", f"pip={photos / 'ana'}", "--class", "critter", "--prior", prior, "--out", out, *FEW, "--json")
    assert code == 0, said
    assert said["concepts"]["<pip>"] == {"file": str(out), "class": "critter", "images": 3, "steps": 2, "bytes": 64, "file_bytes": out.stat().st_size}
    other = photos / "other.safetensors"
    assert call("learn", "-c", f"pip={photos / 'ben'}", "--class", "critter", "--prior", prior, "--out", other, *FEW, "--json")[0] == 0
    code, said = call(
        "picture", "a <pip> on snow", "--concept", f"pip={out}", "--other", f"pip={other}", "--reference", f"pip={photos / 'ana'}", "--prior", prior,
        "--n", 2, "--seed", 7, "--steps", 2,
        "--out", photos / "drawn.png", "--sheet", photos / "sheet.png", "--json",
    )  # fmt: skip
    assert code == 0, said
    assert [file.rpartition("/")[2] for file in said["files"]] == ["drawn-1.png", "drawn-2.png"]
    method, state = (opened := open_concepts(Prior.load(prior), {"pip": out}, sampling_steps=2)).method, opened.state
    wanted = method.draw(["a <pip> on snow"] * 2, [state, state], seeds=[7, 8])
    for file, one in zip(said["files"], wanted, strict=True):
        assert (np.asarray(Image.open(file)) == one).all()
    facts = facts_in(said["files"][1])
    assert (facts["generated"], facts["prompt"], facts["seed"], facts["method"]) == (True, "a <pip> on snow", 8, "textual-inversion")
    assert facts["prior"] == method.prior_fingerprint_
    assert facts["concepts"] == said["concepts"] != {}
    data = (photos / "drawn-1.png").read_bytes()
    assert b"trainedAlgorithmicMedia" in data
    # No path of anybody goes out with a picture.
    assert str(photos).encode() not in data + out.read_bytes() + (photos / "sheet.png").read_bytes()
    # Photos are gone into numbers: population, personalised and the other's stand beside each other.
    assert facts_in(photos / "sheet.png")["sheet"] == ["reference", "population", "personalised", "someone else's"]
    assert call("about", photos / "drawn-1.png", "--json")[1]["facts"]["seed"] == 7
    # The whole way in one command, photos first.
    code, one_step = call(
        "--concept", f"pip={photos / 'ana'}", "--class", "critter", "a <pip> on snow", "--prior", prior, *FEW, "--steps", 2, "--seed", 7,
        "--out", photos / "at-once.png", "--sheet", photos / "with-reference.png", "--json",
    )  # fmt: skip
    assert code == 0, one_step
    assert one_step["concepts"] == said["concepts"]
    assert (np.asarray(Image.open(photos / "at-once.png")) == wanted[0]).all()
    assert facts_in(photos / "with-reference.png")["sheet"] == ["reference", "population", "personalised"]


def test_files_of_others_are_drawn_and_ours_are_theirs(pipeline, photos):
    """Embeddings and LoRA of a Stable Diffusion: what is written here is read by diffusers, and draws the same when it is read again here."""
    folder = photos / "sd"
    pipeline.save_pretrained(folder)
    few = ["--prior", folder, "--class", "mug", "--set", "steps=2", "--set", "batch=2", "--json"]
    embeds, lora = photos / "learned_embeds.safetensors", photos / "lora"
    assert call("learn", "-c", f"cup={photos / 'ana'}", "--out", photos / "cup.safetensors", "--embeddings", embeds, *few)[0] == 0
    tuned = ["--method", "dreambooth", "--set", "class_images=2", "--set", "learning_rate=0.1"]
    assert call("learn", "-c", f"cup={photos / 'ana'}", "--out", photos / "tuned.safetensors", "--lora", lora, *tuned, *few)[0] == 0
    ways = {
        "own": f"cup={photos / 'cup.safetensors'}", "embeds": f"cup={embeds}", "lora": f"cup={lora}", "tuned": f"cup={photos / 'tuned.safetensors'}",
    }  # fmt: skip
    drawn = {}
    for name, path in ways.items():
        more = ["--trigger", "photo"] if name == "lora" else []
        code, said = call(
            "picture",
            "a <cup> on the beach",
            "-c",
            path,
            "--class",
            "mug",
            *more,
            "--prior",
            folder,
            "--steps",
            2,
            "--out",
            photos / f"{name}.png",
            "--json",
        )
        assert code == 0, said
        drawn[name] = np.asarray(Image.open(photos / f"{name}.png")).astype(int)
    assert np.abs(drawn["own"] - drawn["embeds"]).max() <= 1
    faint = photos / "faint.png"
    for strength, like in ((1.0, True), (0.0, False)):
        assert (
            call(
                "picture",
                "a <cup> on the beach",
                "-c",
                ways["tuned"],
                "--strength",
                strength,
                "--prior",
                folder,
                "--steps",
                2,
                "--out",
                faint,
                "--json",
            )[0]
            == 0
        )
        assert (np.abs(np.asarray(Image.open(faint)).astype(int) - drawn["tuned"]).max() <= 1) == like
    pipeline.load_textual_inversion(str(embeds))
    assert "<cup>" in pipeline.tokenizer.get_vocab()
    pipeline.unload_textual_inversion()
    # Half precision, as on a GPU, of what was learned in full.
    code, said = call(
        "picture",
        "a <cup> on the beach",
        "-c",
        ways["own"],
        "--class",
        "mug",
        "--dtype",
        "bf16",
        "--prior",
        folder,
        "--steps",
        2,
        "--out",
        faint,
        "--json",
    )
    assert code == 0, said
    assert np.asarray(Image.open(faint)).shape == (16, 16, 3)
    assert call("learn", "-c", f"cup={photos / 'ana'}", "--out", photos / "half.safetensors", "--dtype", "bf16", *tuned, *few)[0] == 0


@pytest.mark.parametrize(
    ("args", "error", "what"),
    [
        (["learn", "-c", "mug", "--out", "{out}/x.safetensors"], "ConfigError", "--concept is 'mug'"),
        (["learn", "-c", "mug={out}/none", "--out", "{out}/x.safetensors"], "FileProblem", "there is nothing here"),
        (["learn", "-c", "mug={out}/empty", "--class", "critter", "--out", "{out}/x.safetensors"], "FileProblem", "no photos"),
        (["learn", "-c", "mug={out}/ana", "--out", "{out}/x.safetensors"], "BadPrompt", "'mug'"),
        (["learn", "-c", "mug={out}/ana", "-c", "cup={out}/ben", "--out", "{out}/x.safetensors"], "ConfigError", "several things"),
        (["learn", "-c", "mug={out}/ana", "-c", "mug={out}/ben", "--out", "{out}"], "ConfigError", "two concepts"),
        (["learn", "-c", "mug={out}/ana", "--method", "als", "--out", "{out}/x.safetensors"], "ConfigError", ""),
        (["picture", "a <mug>", "-c", "mug={out}/embeds.safetensors", "--class", "critter", "--strength", "0.5"], "ConfigError", "no strength"),
        (["picture", "a <cup>", "-c", "mug={out}/embeds.safetensors", "--class", "critter"], "BadPrompt", "<cup> is not a concept"),
        (["picture", "a <mug>", "-c", "mug={out}/wide.safetensors"], "ConfigError", "the text encoder takes 16"),
        (["picture", "a <mug>", "-c", "mug={out}/ana", "-c", "cup={out}/embeds.safetensors"], "ConfigError", "some things are photos"),
        (["picture", "a critter", "--other", "mug={out}/embeds.safetensors"], "ConfigError", "contact sheet"),
        (["picture", "a critter", "--dtype", "int8"], "ConfigError", "--dtype"),
        (["picture", "a <mug>", "-c", "mug={out}/ana/notes.txt"], "CorruptFile", "safetensors"),
        (["picture", "a critter", "-c", "mug={out}/embeds.safetensors"], "BadPrompt", "no prompt says <mug>"),
        (["picture", "a <mug>", "-c", "mug={out}/wild.safetensors", "--class", "critter"], "CorruptFile", "not finite"),
        (["picture", "a critter", "--out", "{out}/ana"], "FileProblem", "this is a folder"),
        (["picture", "a critter", "--out", "{out}/drawn.jpg"], "ConfigError", "--out is"),
        (["about", "{out}/ana/notes.txt"], "BadImage", "cannot be read"),
    ],
)  # fmt: skip
def test_mistakes_in_pictures_are_named(prior, photos, args, error, what):
    (photos / "empty").mkdir()
    save_embeds(photos / "embeds.safetensors", [Concept("<mug>", torch.zeros(1, 16))])
    save_embeds(photos / "wide.safetensors", [Concept("<mug>", torch.zeros(1, 768))])
    save_embeds(photos / "wild.safetensors", [Concept("<mug>", torch.full((1, 16), torch.nan))])
    more = [] if args[0] == "about" else ["--prior", prior]
    code, said = call(*(one.format(out=photos) for one in args), *more, "--json")
    assert (code, said["error"]) == (2, error), said
    assert what in said["what"]


def test_a_concepts_file_that_is_damaged_or_of_another_prior_is_named(prior, tmp_path):
    good = ConceptFile(
        {"rows": np.zeros((1, 16), np.float32)}, "textual-inversion", Prior.load(prior).fingerprint, "critter", ["<mug>"], 3, [], "draw"
    )
    for changes, error, says in (
        ({"prior": "0" * 32}, StateMismatch, "learned on prior 00000000"),
        ({"arrays": {"rows": np.full((1, 16), np.inf, np.float32)}}, CorruptFile, "not finite"),
        ({"arrays": {"rows": np.zeros((1, 7), np.float32)}}, CorruptFile, "the text encoder takes 16"),
        ({"settings": {"method": []}}, CorruptFile, "settings"),
        ({"method": "als"}, CorruptFile, "'als' has learned it"),
        ({"method": "magic"}, CorruptFile, "'magic' has learned it"),
    ):
        file = replace(good, **changes).save(tmp_path / "mug.safetensors")
        with pytest.raises(error, match=says) as refused:
            open_concepts(Prior.load(prior), {"mug": file})
        assert refused.value.where == {"file": file}


def test_pictures_say_what_they_are_whatever_the_prompt_is():
    picture = np.zeros((4, 4, 3), np.uint8)
    odd = 'a <mug> & "tea" \x00 ]]> ünï \ud7ff 🐱'
    assert facts_in(png(picture, {"prompt": odd}))["prompt"] == odd
    assert facts_in(png(picture, {})) == {"generated": True}
    with pytest.raises(BadImage):
        png(picture[..., 0], {})
    page = sheet([[picture, None], [picture + 9, picture]], ["a", "b"], ["one", "two"], side=8)
    assert page.shape == (18 + 8 + 2 * (8 + 18 + 8), 8 + 2 * 16, 3)
    with pytest.raises(EmptyData):
        sheet([[picture]], ["a", "b"], ["one"])
