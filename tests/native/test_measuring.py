"""What the runner does for a measurement, and what it reports with each step."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from gguf import GGUFReader
from PIL import Image

from imp_deploy import runner as reader
from imp_deploy.errors import BadInput
from tests.native.jobs import Line, Runner, Value, render

WORDS = "USER: <image>\nWhat is in the picture? ASSISTANT:"


@pytest.fixture
def picture(runner: Runner) -> Path:
    """A small picture with something to see."""
    path = runner.folder / "picture.png"
    picture = Image.new("RGB", (60, 40), "white")
    picture.paste("red", (10, 10, 30, 30))
    picture.save(path)
    return path


def one(runner: Runner, step: dict[str, Value], **settings: Value) -> Line:
    [line] = runner.run([step], runner.job(None, **settings))
    assert line["status"] == "ok", line
    return line


def first_cpu() -> int:
    return min(os.sched_getaffinity(0))


def test_the_host_reads_every_line(runner: Runner, picture: Path) -> None:
    """Otherwise a measurement is lost because the runner and its reader do not agree."""
    line = one(runner, runner.step("1", picture), sample_ms=5)
    answer = reader.answer(line)
    assert answer.step == "1"
    assert answer.before.uptime_seconds <= answer.after.uptime_seconds
    assert answer.before.memory_available_bytes > 1 << 20
    assert len(answer.before.clocks_khz) == len(answer.before.limits_khz) >= (os.cpu_count() or 1)
    assert answer.swap_bytes >= 0
    with pytest.raises(BadInput, match="lacks"):
        reader.answer({k: v for k, v in line.items() if k != "trace"})


def test_the_job_that_the_host_writes(runner: Runner, picture: Path) -> None:
    """Otherwise a setting of a measurement does not reach the phone."""
    keys = dict(runner.job())
    job = reader.Job(
        model=Path(str(keys["model"])),
        mmproj=Path(str(keys["mmproj"])),
        stop=(),
        steps=(
            reader.Step(
                id="1",
                prompt=WORDS,
                max_tokens=3,
                text_tokens=41,
                image=picture,
                side=runner.side,
                ignore_eog=True,
            ),
        ),
        threads=1,
        cpu_mask=f"{1 << first_cpu():x}",
        warmup=True,
        sample_ms=5,
    )
    [answer] = reader.run_job(runner.binary, job, runner.folder)
    assert (answer.tokens.text, answer.tokens.generated) == (41, 3)
    assert answer.cpu_mask == job.cpu_mask
    assert len(answer.trace.seconds) >= 2


def test_the_mask_is_honoured(runner: Runner, picture: Path) -> None:
    """Otherwise a measurement of the big cores is one of whatever cores were free."""
    cpu = first_cpu()
    line = one(runner, runner.step("1", picture), cpu_mask=f"{1 << cpu:X}", threads=0)
    assert (line["threads"], line["cpu_mask"]) == (1, f"{1 << cpu:x}")
    job = runner.folder / "job.txt"
    job.write_text(job.read_text().replace("max_tokens 8", "max_tokens 500\nignore_eog 1"))
    process = subprocess.Popen([runner.binary, job, runner.folder / "other"])
    try:
        seen = set()
        while process.poll() is None:
            for thread in Path(f"/proc/{process.pid}/task").glob("*/status"):
                try:
                    status = dict(row.split(":\t", 1) for row in thread.read_text().splitlines())
                    seen.add(status.get("Cpus_allowed_list"))
                except (FileNotFoundError, ProcessLookupError, ValueError):
                    continue
    finally:
        process.wait()
    assert str(cpu) in seen


def test_a_mask_of_cores_that_are_not_there(runner: Runner, picture: Path) -> None:
    """Otherwise a mask for one phone ends the run on another instead of saying what it ran on."""
    every = sum(1 << cpu for cpu in os.sched_getaffinity(0))
    missing = f"{1 << 63:x}"
    assert one(runner, runner.step("1", picture), cpu_mask=missing)["cpu_mask"] == f"{every:x}"
    line = one(runner, runner.step("1", picture), cpu_mask=f"{(1 << 63) | 1 << first_cpu():x}")
    assert line["cpu_mask"] == f"{1 << first_cpu():x}"


def test_never_more_threads_than_cores(runner: Runner, picture: Path) -> None:
    """Otherwise the threads spin for each other, and the phone seems many times slower."""
    line = one(runner, runner.step("1", picture), threads=300)
    assert line["threads"] == len(os.sched_getaffinity(0))


def test_a_warm_up_leaves_no_trace(runner: Runner, picture: Path) -> None:
    """Otherwise answers depend on whether they were measured."""
    logits = [runner.folder / name for name in ("cold", "warm")]
    cold = one(runner, runner.step("1", picture, logits=logits[0]))
    warm = one(runner, runner.step("1", picture, logits=logits[1]), warmup=1)
    assert warm["token_ids"] == cold["token_ids"]
    assert logits[0].read_bytes() == logits[1].read_bytes()


def test_a_warm_up_touches_the_weights(runner: Runner) -> None:
    """Otherwise the first phases read the model from the disk, and count as slow."""
    step: dict[str, Value] = {"id": "1", "prompt": "a", "max_tokens": 0}
    rss = [one(runner, step, warmup=warm, sample_ms=50)["trace"]["rss_bytes"][0] for warm in (0, 1)]
    assert rss[1] - rss[0] > 1 << 20


@pytest.mark.parametrize("wanted", [1, 2, 5, 14, 15, 16, 41, 100])
def test_an_exact_length_of_the_text(runner: Runner, picture: Path, wanted: int) -> None:
    """Otherwise a prompt speed is compared with the paper's over another number of tokens."""
    line = one(runner, runner.step("1", picture, prompt=WORDS, text_tokens=wanted))
    assert line["tokens"]["text"] == wanted
    assert line["tokens"]["visual"] == runner.visual_tokens[runner.side]
    text: dict[str, Value] = {"id": "1", "prompt": "What is it?", "max_tokens": 1}
    assert one(runner, {**text, "text_tokens": wanted})["tokens"] == {
        "text": wanted,
        "visual": 0,
        "generated": len(one(runner, {**text, "text_tokens": wanted})["token_ids"]),
    }


def logits_of(runner: Runner, prompt: str, **keys: Value) -> bytes:
    path = runner.folder / "logits"
    one(runner, {"id": "1", "prompt": prompt, "max_tokens": 1, "logits": path, **keys})
    return path.read_bytes()


def test_what_a_fitted_text_holds(runner: Runner) -> None:
    """Otherwise the text that is measured is not made of the tokens of the prompt."""
    # Words that are one token each, so that the same text can be written out.
    assert one(runner, {"id": "1", "prompt": " the a", "max_tokens": 0})["tokens"]["text"] == 2
    plain = logits_of(runner, " the a the a the a")
    assert logits_of(runner, " the a", text_tokens=6) == plain
    assert logits_of(runner, " a a the a the a the a", text_tokens=6) == plain
    odd = logits_of(runner, " a the a")
    assert logits_of(runner, " the a", text_tokens=3) == odd
    assert odd != plain


def test_a_fitted_text_keeps_its_first_token(runner: Runner) -> None:
    """Otherwise a model that was trained with a BOS is measured on a text without one."""
    model = runner.folder / "bos.gguf"
    model.write_bytes(runner.llm.read_bytes())
    fields = GGUFReader(model, "r+")
    fields.fields["tokenizer.ggml.add_bos_token"].parts[-1][0] = True
    fields.data.flush()
    bos = fields.fields["tokenizer.ggml.tokens"].contents()[
        fields.fields["tokenizer.ggml.bos_token_id"].contents()
    ]
    wanted = logits_of(runner, f"{bos} a the a")
    for text in (" the a", " a the a the a"):
        path = runner.folder / "fitted"
        step: dict[str, Value] = {"id": "1", "prompt": text, "max_tokens": 1, "logits": path}
        line = one(runner, {**step, "text_tokens": 4}, model=model)
        assert line["tokens"]["text"] == 4
        assert path.read_bytes() == wanted


def test_a_text_that_cannot_be_repeated(runner: Runner, picture: Path) -> None:
    """Otherwise an empty prompt ends the whole run."""
    [line] = runner.run([runner.step("1", picture, prompt="<image>", text_tokens=5)])
    assert (line["status"], line["kind"]) == ("error", "prompt")


def test_what_is_sampled(runner: Runner, picture: Path) -> None:
    """Otherwise nobody sees that the phone throttled in the middle of a run."""
    step = runner.step("1", picture, max_tokens=100, ignore_eog=1)
    line = one(runner, step, sample_ms=10)
    trace, total = line["trace"], line["seconds"]["total"]
    moments = trace["seconds"]
    assert moments == sorted(moments)
    assert 0 <= moments[0] < 0.01
    assert total - 0.001 < moments[-1] < total + 0.1
    assert total / 0.01 * 0.3 < len(moments) <= total / 0.01 + 2
    assert len(trace["clocks_khz"]) == len(trace["rss_bytes"]) == len(moments)
    assert {len(row) for row in trace["clocks_khz"]} == {len(line["before"]["clocks_khz"])}
    assert all(len(column) == len(moments) for column in trace["celsius"].values())
    assert max(trace["rss_bytes"]) <= line["peak_rss_bytes"]
    assert min(trace["rss_bytes"]) > 1 << 20


def test_nothing_is_sampled_unasked(runner: Runner, picture: Path) -> None:
    """Otherwise an evaluation's results are mostly traces."""
    for line in (
        one(runner, runner.step("1", picture)),
        one(runner, runner.step("1", picture), sample_ms=0),
    ):
        empty: Line = {"seconds": [], "clocks_khz": [], "celsius": {}, "rss_bytes": []}
        assert line["trace"] == empty


def test_the_bytes_of_a_decoding_step(runner: Runner, picture: Path) -> None:
    """Otherwise the share of the memory bandwidth that was reached is a wrong figure."""
    for path in sorted(runner.bundle.glob("*.gguf")):
        if path.name.startswith("mmproj"):
            continue
        sizes = {str(t.name): int(t.n_bytes) for t in GGUFReader(path).tensors}
        assert "output.weight" in sizes
        line = one(runner, runner.step("1", picture), model=path)
        assert line["decode_bytes"] == sum(sizes.values()) - sizes["token_embd.weight"]


def test_the_weights_that_were_repacked(
    runner: Runner, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a build without the fast kernels is measured, and nobody notices."""
    [small] = runner.bundle.glob("*-Q4_0.gguf")
    quantized = sum(
        int(t.n_bytes) for t in GGUFReader(small).tensors if t.tensor_type.name == "Q4_0"
    )
    repacked = one(runner, runner.step("1", picture), model=small)["repacked_bytes"]
    assert one(runner, runner.step("1", picture))["repacked_bytes"] == 0
    monkeypatch.setenv("IMP_RUNNER_LOG", "1")
    process = runner.start(
        render(runner.job(model=small), [runner.step("1", picture)]), runner.folder / "other"
    )
    if "REPACK model buffer size" not in process.communicate()[1]:
        assert repacked == 0
        pytest.skip("llama.cpp has no repacked kernels for this processor")
    assert 0.5 * quantized < repacked < 1.1 * quantized


def test_the_bandwidth_of_the_memory(runner: Runner) -> None:
    """Otherwise the report shows a share of a bandwidth that no program reaches."""
    mask = f"{1 << first_cpu():x}"
    done = subprocess.run([runner.binary, "--bandwidth", "4", mask], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    line = json.loads(done.stdout)
    assert list(line) == ["threads", "cpu_mask", "bytes_per_second"]
    assert (line["threads"], line["cpu_mask"]) == (1, mask)
    assert 1e8 < line["bytes_per_second"] < 2e12
    for arguments in (["x"], ["-1"], ["1", "xyz"], ["1", "0"], [""]):
        bad = subprocess.run(
            [runner.binary, "--bandwidth", *arguments], capture_output=True, text=True
        )
        assert (bad.returncode, bad.stdout) == (3, "")
        assert "which is not" in bad.stderr


BAD_KEYS = {
    "cpu_mask 0": 3,
    "cpu_mask ": 3,
    "cpu_mask 0xff": 3,
    "cpu_mask -1": 3,
    "cpu_mask 12345678901234567": 3,
    "warmup 2": 3,
    "sample_ms -5": 3,
    "sample_ms 1.5": 3,
    "sample_ms 60001": 3,
    "text_tokens 5": 3,
}


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_setting_that_means_nothing(runner: Runner, key: str) -> None:
    """Otherwise a wrong setting is ignored, and something else is measured than was asked for."""
    sentence = runner.fail(f"imp-job 1\nmodel m\n{key}\nstep\nid a\nprompt p\nmax_tokens 1\n")
    assert f"job.txt, line {BAD_KEYS[key]}: " in sentence


@pytest.mark.parametrize("key", ["text_tokens 0", "text_tokens x", "sample_ms 5", "warmup 1"])
def test_a_setting_of_a_step_that_means_nothing(runner: Runner, key: str) -> None:
    """As above."""
    sentence = runner.fail(f"imp-job 1\nmodel m\nstep\n{key}\nid a\nprompt p\nmax_tokens 1\n")
    assert "job.txt, line 4: " in sentence
