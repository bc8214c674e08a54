#include "prompt.h"

#include "errors.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace imp {

namespace {

constexpr std::string_view marker = "<image>";

std::vector<llama_token> tokenize(const llama_vocab * vocab, std::string_view text) {
    std::vector<llama_token> tokens(text.size() + 1);
    const auto               fill = [&] {
        return llama_tokenize(vocab, text.data(), int32_t(text.size()), tokens.data(), int32_t(tokens.size()),
                              /*add_special*/ false, /*parse_special*/ true);
    };
    int32_t count = fill();
    if (count < 0 && count != INT32_MIN) { // -count tokens are needed
        tokens.resize(size_t(-count));
        count = fill();
    }
    if (count < 0) {
        throw StepError("prompt", "the prompt cannot be turned into tokens");
    }
    tokens.resize(size_t(count));
    return tokens;
}

/// Brings the text of `prompt`, of which the first `fixed` tokens (a BOS or none) stay where they
/// are, to `wanted` tokens.
void fit(Prompt & prompt, int fixed, int wanted) {
    std::vector<llama_token> & before = prompt.before;
    std::vector<llama_token> & after = prompt.after;
    const int                  excess = prompt.text_tokens() - wanted;
    if (excess > 0) {
        const int dropped = std::min(excess, int(before.size()) - fixed);
        before.erase(before.begin() + fixed, before.begin() + fixed + dropped);
        after.erase(after.begin(), after.begin() + std::min(excess - dropped, int(after.size())));
        return;
    }
    std::vector<llama_token> text(before.begin() + fixed, before.end());
    text.insert(text.end(), after.begin(), after.end());
    if (excess < 0 && text.empty()) {
        throw StepError("prompt", "the prompt has no text that could be repeated to make text_tokens");
    }
    // The repetitions end where the text begins, so it is the first of them that may be cut.
    std::vector<llama_token> repeated(size_t(-excess));
    for (size_t i = 0; i < repeated.size(); ++i) {
        repeated[repeated.size() - 1 - i] = text[text.size() - 1 - i % text.size()];
    }
    before.insert(before.begin() + fixed, repeated.begin(), repeated.end());
}

} // namespace

Prompt tokenize_prompt(const Model & model, const Step & step) {
    Prompt                 prompt;
    const std::string_view text = step.prompt;
    const size_t           place = text.find(marker);
    prompt.has_image = !step.image.empty();
    if (prompt.has_image && place == text.npos) {
        throw StepError("prompt", "there is an image, and the prompt has no <image> to say where it goes");
    }
    if (!prompt.has_image && place != text.npos) {
        throw StepError("prompt", "the prompt has <image>, and there is no image");
    }
    if (prompt.has_image && text.find(marker, place + 1) != text.npos) {
        throw StepError("prompt", "the prompt has <image> more than once, and there is one image");
    }
    if (llama_vocab_get_add_bos(model.vocab)) {
        prompt.before.push_back(llama_vocab_bos(model.vocab));
    }
    const std::vector<llama_token> before = tokenize(model.vocab, text.substr(0, place));
    prompt.before.insert(prompt.before.end(), before.begin(), before.end());
    if (prompt.has_image) {
        prompt.after = tokenize(model.vocab, text.substr(place + marker.size()));
    } else if (prompt.before.empty()) {
        throw StepError("prompt", "the prompt is empty");
    }
    if (step.text_tokens > 0) {
        fit(prompt, llama_vocab_get_add_bos(model.vocab) ? 1 : 0, step.text_tokens);
    }
    return prompt;
}

std::string token_text(const llama_vocab * vocab, llama_token token) {
    std::string text(64, '\0');
    int32_t     size = 0;
    while ((size = llama_token_to_piece(vocab, token, text.data(), int32_t(text.size()), /*lstrip*/ 0,
                                        /*special*/ false)) < 0) {
        text.resize(size_t(-size));
    }
    text.resize(size_t(size));
    return text;
}

} // namespace imp
