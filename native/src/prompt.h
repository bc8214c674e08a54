#pragma once

#include "model.h"

#include <string>
#include <vector>

namespace imp {

/// The text of a prompt in tokens, and where its image stands.
struct Prompt {
    std::vector<llama_token> before; // all of the text when there is no image
    std::vector<llama_token> after;
    bool                     has_image;

    int text_tokens() const { return int(before.size() + after.size()); }
};

/// Splits the step's prompt at `<image>` and turns both sides into tokens, each on its own, special
/// tokens recognised. BOS comes first where the vocabulary asks for it. Where the step asks for a
/// number of tokens, the text is cut or repeated to have it, as struct Step says.
/// Throws StepError of kind "prompt" when `<image>` and the step's image do not go together, or
/// when nothing is left to decode.
Prompt tokenize_prompt(const Model & model, const Step & step);

/// The bytes that `token` stands for; none for a special token. They need not be whole characters.
std::string token_text(const llama_vocab * vocab, llama_token token);

} // namespace imp
