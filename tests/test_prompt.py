"""The prompt of our runner, and the chat template in the file, are one and the same text."""

from __future__ import annotations

import dataclasses

import jinja2
import pytest

from imp_deploy import prompt
from imp_deploy.errors import BadInput

CHATS = {"phi2": prompt.VICUNA_PHI2, "qwen2": prompt.CHATML, "phi3": prompt.PHI3}
MARKER = "<__media__>"


def render(chat: prompt.ChatFormat, *messages: tuple[str, str]) -> str:
    template = jinja2.Environment().from_string(prompt.chat_template(chat))
    turns = [{"role": role, "content": content} for role, content in messages]
    return template.render(messages=turns, add_generation_prompt=True)


@pytest.mark.parametrize("kind", CHATS)
@pytest.mark.parametrize("between", ["", "\n"])
def test_template_gives_imps_prompt(kind: str, between: str) -> None:
    """llama.cpp puts its marker before the question, with or without a newline; Imp was trained
    with exactly one."""
    chat = CHATS[kind]
    ours = prompt.fill(prompt.spec(chat), "Is it {'red'}?")
    theirs = render(chat, ("user", f"{MARKER}{between}Is it {{'red'}}?"))
    assert theirs == ours.replace(prompt.IMAGE, MARKER)


def test_the_prompts_are_those_of_the_training_code() -> None:
    """One wrong blank costs accuracy, and nothing reports it."""
    system = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions."
    )
    assert prompt.fill(prompt.spec(prompt.VICUNA_PHI2), "Q") == (
        f"{system} USER: <image>\nQ ASSISTANT:"
    )
    assert prompt.fill(prompt.spec(prompt.CHATML), "Q") == (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n<image>\nQ<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt.fill(prompt.spec(prompt.PHI3), "Q") == (
        f"<|system|>\n{system}<|end|>\n<|user|>\n<image>\nQ<|end|>\n<|assistant|>\n"
    )


@pytest.mark.parametrize("kind", CHATS)
def test_a_history_and_another_system_text(kind: str) -> None:
    """A chat in llama-server sends the whole history through the template."""
    chat = CHATS[kind]
    turns = (("system", "#1"), ("user", "#2"), ("assistant", "#3"), ("user", "#4"))
    text = render(chat, *turns)
    places = [text.index(content) for _, content in turns]
    assert places == sorted(places)
    assert prompt.SYSTEM not in text
    assert f"#3{chat.assistant_end}{chat.user_start}#4" in text
    assert text.endswith(chat.user_end + chat.assistant_start)


def test_questions_that_cannot_be_asked() -> None:
    """An empty question, or a second image marker, gives an answer to something else."""
    spec = prompt.spec(prompt.CHATML)
    for question in ("", " \n", "What is <image>?"):
        with pytest.raises(BadInput):
            prompt.fill(spec, question)
    assert prompt.fill(spec, "e\u0301").count("\u00e9") == 1
    plain = dataclasses.replace(spec, normalize=None)
    assert prompt.fill(plain, "e\u0301").count("\u00e9") == 0
