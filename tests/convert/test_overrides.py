"""`--override` and `--four-bit`: what is refused, what a bundle says of them, and who sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imp_deploy import bundle as bundles
from imp_deploy.cli.main import app
from imp_deploy.convert.inspect import read_gguf
from imp_deploy.convert.overrides import parse
from imp_deploy.errors import BadInput
from tests.imatrix import random_sums, write_imatrix
from tests.small import contents, one_sentence, run_export


def cli(*arguments: object) -> tuple[int, str]:
    """The exit code, and all that is printed."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, BadInput):  # which the program reports
        return result.exception.exit_code, str(result.exception)
    return result.exit_code, result.output


def overridden(checkpoint: Path, out: Path, *texts: str, **options: object) -> dict[str, str]:
    """The types of the 4-bit file by tensor name."""
    made = run_export(checkpoint, out, bits=(4,), overrides=tuple(map(parse, texts)), **options)
    (llm,) = (file for file in made.bundle.files if file.role == "llm")
    return {t.name: t.type for t in read_gguf(out / llm.path).tensors}


@pytest.mark.parametrize(
    ("text", "pattern", "kind"),
    [
        ("attn_qkv=Q8_0", "attn_qkv", "Q8_0"),
        ("blk\\.0\\.=f16", "blk\\.0\\.", "F16"),
        ("(?=blk)=q4_k", "(?=blk)", "Q4_K"),
    ],
)
def test_parse(text: str, pattern: str, kind: str) -> None:
    """As llama-quantize's --tensor-type, so that what is known of that can be used."""
    found = parse(text)
    assert (found.pattern, found.type.name) == (pattern, kind)
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("attn_qkv", "PATTERN=TYPE"),
        ("=Q8_0", "PATTERN=TYPE"),
        ("attn_qkv=", "is not one of F16"),
        ("attn_qkv=Q9_0", "is not one of F16"),
        ("attn_qkv=F32", "is not one of F16"),
        ("attn_(qkv=Q8_0", "no regular expression"),
    ],
)
def test_malformed(text: str, reason: str, made: Path, tmp_path: Path) -> None:
    """Wrong usage, said before a checkpoint of gigabytes is read."""
    code, output = cli("export", made / "phi2", tmp_path / "out", "--override", text)
    assert code == 2
    assert reason in output
    assert "--override" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (("attn_kv=Q8_0",), "names no tensor"),
        (("attn_norm=Q8_0",), "only vectors, which stay F32 (blk.0.attn_norm.weight)"),
        (("ffn=Q8_0", "ffn_up=Q4_0"), "an earlier --override names too"),
        (("ffn_down=Q6_K",), "rows of 96 are not whole blocks of 256"),
        (("^output.weight=Q4_K",), "rows of 64 are not whole blocks of 256"),
        (("v.blk.0.attn_out=Q8_0",), "names no tensor of the language model"),
    ],
)
def test_what_does_nothing_or_cannot_be(
    texts: tuple[str, ...], reason: str, made: Path, tmp_path: Path
) -> None:
    """llama-quantize would go on in silence, and the user would believe in a better model."""
    with pytest.raises(BadInput) as caught:
        overridden(made / "phi2", tmp_path / "out", *texts)
    message = str(caught.value)
    assert reason in message
    assert f"--override {texts[-1]}" in message
    assert one_sentence(message), message
    assert not list((tmp_path / "out").iterdir())


def test_only_what_was_named(made: Path, tmp_path: Path) -> None:
    """Of two patterns that fit, the first counts; vectors among what is named are left alone."""
    plain = overridden(made / "phi2", tmp_path / "plain")
    types = overridden(
        made / "phi2", tmp_path / "out", "blk.0.FFN_DOWN=Q8_0", "blk.0=F16", "token_embd=Q5_0"
    )
    assert {name: kind for name, kind in types.items() if kind != plain[name]} == {
        "blk.0.ffn_down.weight": "Q8_0",
        "blk.0.attn_qkv.weight": "F16",
        "blk.0.attn_output.weight": "F16",
        "blk.0.ffn_up.weight": "F16",
        "token_embd.weight": "Q5_0",
    }


def test_f16_by_choice_is_no_news(made: Path, tmp_path: Path) -> None:
    """The note about matrices that are no whole blocks must stay true."""
    chosen = (parse("ffn=F16"),)
    notes = run_export(made / "phi2", tmp_path / "out", bits=(4,), overrides=chosen).notes
    assert not [note for note in notes if "at F16" in note]


def test_other_bits_are_not_touched(made: Path, tmp_path: Path) -> None:
    """8 bits with an override would not be the Q8_0 that it is called."""
    run_export(made / "phi2", tmp_path / "plain")
    run_export(made / "phi2", tmp_path / "out", overrides=(parse("ffn=F16"),))
    files = {folder: contents(tmp_path / folder) for folder in ("plain", "out")}
    names = [name for name in files["plain"] if files["plain"][name] != files["out"][name]]
    assert sorted(names) == ["Imp-Q4_0.gguf", "bundle.json"]


def test_the_manifest_says_which(made: Path, tmp_path: Path) -> None:
    """A figure measured with this file must be repeatable; the same command again costs nothing,
    and a command with other types must not be answered with this file."""
    out = tmp_path / "out"
    texts = ("ffn_down=Q8_0", "attn=Q5_0")
    overridden(made / "phi2", out, *texts)
    (llm,) = (file for file in bundles.load(out).files if file.role == "llm")
    assert llm.overrides == texts
    overrides = tuple(map(parse, texts))
    assert run_export(made / "phi2", out, bits=(4,), overrides=overrides).written == ()
    for other in (overrides[:1], overrides[::-1], ()):
        with pytest.raises(BadInput, match="has 4 bits as Q4_0 with ffn_down=Q8_0 and attn=Q5_0,"):
            run_export(made / "phi2", out, bits=(4,), overrides=other)


def test_one_recipe_per_bundle(made: Path, tmp_path: Path) -> None:
    """`--bits 4` must mean one file. Who wants the other one keeps the rest of the bundle."""
    out = tmp_path / "out"
    run_export(made / "phi2", out)
    before = contents(out)
    with pytest.raises(BadInput, match="has 4 bits as Q4_0, and Q4_K_M was asked for") as caught:
        run_export(made / "phi2", out, four_bit="Q4_K_M")
    assert one_sentence(str(caught.value))
    assert contents(out) == before
    (out / "Imp-Q4_0.gguf").unlink()
    assert run_export(made / "phi2", out, four_bit="Q4_K_M").written == ("Imp-Q4_K_M.gguf",)
    run_export(made / "phi2", tmp_path / "fresh", four_bit="Q4_K_M")
    assert contents(out) == contents(tmp_path / "fresh")
    run_export(made / "phi2", out, bits=(4,), force=True)
    run_export(made / "phi2", tmp_path / "four", bits=(4,))
    assert contents(out) == contents(tmp_path / "four")


@pytest.mark.parametrize(
    "option", [("--imatrix", "i.gguf"), ("--four-bit", "Q4_0"), ("--override", "ffn=Q8_0")]
)
def test_without_four_bits(option: tuple[str, str], made: Path, tmp_path: Path) -> None:
    """An option that does nothing is a mistake in the command."""
    code, output = cli("export", made / "phi2", tmp_path / "out", "--bits", "16,8", *option)
    assert code == 2
    assert option[0] in output
    assert not (tmp_path / "out").exists()


def test_an_unknown_recipe(made: Path, tmp_path: Path) -> None:
    code, output = cli("export", made / "phi2", tmp_path / "out", "--four-bit", "Q4_K_S")
    assert code == 2
    assert "Q4_0, Q4_K_M" in output


def test_as_a_user_sees_it(made: Path, tmp_path: Path) -> None:
    """All options in one command, and `inspect` tells what they did."""
    out = tmp_path / "out"
    run_export(made / "phi2", tmp_path / "f16", bits=(16,))
    sums = random_sums(tmp_path / "f16" / "Imp-F16.gguf")
    imatrix = write_imatrix(tmp_path / "i.gguf", sums)
    options = ("--four-bit", "q4_k_m", "--imatrix", imatrix, "--override", "ffn_up=q8_0")
    code, output = cli("export", made / "phi2", out, "--name", "Imp", *options, "--json")
    assert code == 0, output
    manifest = json.loads((out / "bundle.json").read_text("utf-8"))
    (llm,) = (file for file in manifest["files"] if file["bits"] == 4 and file["role"] == "llm")
    assert (llm["path"], llm["type"]) == ("Imp-Q4_K_M.gguf", "Q4_K_M")
    assert llm["overrides"] == ["ffn_up=Q8_0"]
    code, output = cli("inspect", out)
    assert llm["imatrix_sha256"] in output
    assert "ffn_up=Q8_0" in output


@pytest.mark.parametrize(
    "damage", [{"imatrix_sha256": "0"}, {"imatrix_sha256": 5}, {"overrides": "ffn=Q8_0"}]
)
def test_a_damaged_manifest(damage: dict[str, object], made: Path, tmp_path: Path) -> None:
    """Values that no export writes mean that nothing in the manifest can be trusted."""
    run_export(made / "phi2", tmp_path / "out", bits=(4,))
    manifest = json.loads((tmp_path / "out" / "bundle.json").read_text("utf-8"))
    manifest["files"][0].update(damage)
    with pytest.raises(BadInput):
        bundles.parse(manifest, "bundle.json")
