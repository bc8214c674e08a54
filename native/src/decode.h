#pragma once

#include "vision.h"

#include <vector>

namespace imp {

// The context keeps count of the positions: everything here is put behind what it holds already.
// All functions throw StepError of kind "decode" with the reason that llama.cpp logged.

/// Puts `tokens` into the context. `want_logits` asks for the logits behind the last of them.
void decode_tokens(llama_context * context, std::vector<llama_token> tokens, bool want_logits);

/// Puts the embeddings of `visual` into the context. `want_logits` asks for the logits behind the last one.
void decode_image(llama_context * context, const Model & model, const VisualTokens & visual, bool want_logits);

/// Takes all but its first `positions` entries out of the context. False when it cannot do that.
bool keep_first(llama_context * context, int positions);

/// The logits [n_vocab] behind the last token that was decoded with `want_logits`; waits for them.
const float * last_logits(llama_context * context);

} // namespace imp
