"""The prompts of the families, as text for our runner and as a chat template for the GGUF."""

from __future__ import annotations

import dataclasses
import unicodedata
from dataclasses import dataclass
from typing import Literal

from imp_deploy.bundle import PromptSpec
from imp_deploy.errors import BadInput

IMAGE = "<image>"
QUESTION = "{question}"
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@dataclass(frozen=True, kw_only=True)
class ChatFormat:
    """One turn is `system_start + SYSTEM + system_end + user_start + <image>\\n + question +
    user_end + assistant_start`. Answers in a history begin with `answer_start`, which the model
    generates itself, and end with `assistant_end`; an answer also ends at any of `stop`."""

    system_start: str
    system_end: str
    user_start: str
    user_end: str
    assistant_start: str
    answer_start: str
    assistant_end: str
    stop: tuple[str, ...]
    normalize: Literal["NFC"] | None = None


# `</s>` is three ordinary tokens in Phi-2's vocabulary: a runtime must stop on the string.
VICUNA_PHI2 = ChatFormat(
    system_start="",
    system_end=" ",
    user_start="USER: ",
    user_end=" ",
    assistant_start="ASSISTANT:",
    answer_start=" ",
    assistant_end="</s>",
    stop=("</s>", "<|endoftext|>"),
)
# LLaVA-1.5 and MobileVLM: Vicuna's own, where `</s>` is one token.
VICUNA = dataclasses.replace(VICUNA_PHI2, stop=("</s>",))
CHATML = ChatFormat(
    system_start="<|im_start|>system\n",
    system_end="<|im_end|>\n",
    user_start="<|im_start|>user\n",
    user_end="<|im_end|>\n",
    assistant_start="<|im_start|>assistant\n",
    answer_start="",
    assistant_end="<|im_end|>\n",
    stop=("<|im_end|>",),
    # Qwen's tokenizer composes characters first; llama.cpp's leaves them as they come.
    normalize="NFC",
)
PHI3 = ChatFormat(
    system_start="<|system|>\n",
    system_end="<|end|>\n",
    user_start="<|user|>\n",
    user_end="<|end|>\n",
    assistant_start="<|assistant|>\n",
    answer_start="",
    assistant_end="<|end|>\n",
    stop=("<|end|>",),
)


def spec(chat: ChatFormat) -> PromptSpec:
    """What goes into `bundle.json`."""
    template = (
        f"{chat.system_start}{SYSTEM}{chat.system_end}"
        f"{chat.user_start}{IMAGE}\n{QUESTION}{chat.user_end}{chat.assistant_start}"
    )
    return PromptSpec(template=template, stop=chat.stop, normalize=chat.normalize)


def ask(prompt: PromptSpec, name: str, question: str) -> str:
    """`fill`, for a question of a benchmark; `name` is its id in errors."""
    try:
        return fill(prompt, question)
    except BadInput as error:
        raise BadInput(f"The question {name} cannot be asked: {error}") from None


def fill(prompt: PromptSpec, question: str) -> str:
    """The whole prompt for one question; `<image>` stays where the visual tokens go."""
    if not question.strip():
        raise BadInput("The prompt is empty; give a question with --prompt.")
    if IMAGE in question:
        raise BadInput(
            f"The prompt holds {IMAGE}, which the template already places once; leave it out."
        )
    if prompt.normalize is not None:
        question = unicodedata.normalize(prompt.normalize, question)
    return prompt.template.replace(QUESTION, question)


def chat_template(chat: ChatFormat) -> str:
    """The same prompt as a Jinja template for `tokenizer.chat_template`.

    llama.cpp puts its media marker right before the question; Imp has a newline between the
    image and the question, so the template adds one behind the marker. The literals "USER: " and
    "ASSISTANT: " must stay readable in the template: by them llama.cpp's built-in formatter (used
    without `--jinja`) picks the nearest format that it knows.
    """

    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return f"'{escaped}'"

    system = f"{quoted(chat.system_start)} + %s + {quoted(chat.system_end)}"
    marked = "message['content'] | replace('<__media__>\\n', '<__media__>')"
    marked += " | replace('<__media__>', '<__media__>\\n')"
    return "".join(
        [
            "{%- if messages[0]['role'] == 'system' -%}",
            "{{- " + system % "messages[0]['content']" + " -}}",
            "{%- else -%}",
            "{{- " + system % quoted(SYSTEM) + " -}}",
            "{%- endif -%}",
            "{%- for message in messages -%}",
            "{%- if message['role'] == 'user' -%}",
            "{{- " + f"{quoted(chat.user_start)} + ({marked}) + {quoted(chat.user_end)}" + " -}}",
            "{%- elif message['role'] == 'assistant' -%}",
            "{{- "
            + quoted(chat.assistant_start + chat.answer_start)
            + f" + message['content'] + {quoted(chat.assistant_end)}"
            + " -}}",
            "{%- endif -%}",
            "{%- endfor -%}",
            "{%- if add_generation_prompt -%}",
            "{{- " + quoted(chat.assistant_start) + " -}}",
            "{%- endif -%}",
        ]
    )
