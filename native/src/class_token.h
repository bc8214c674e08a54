#pragma once

#include "ggml.h"
#include "gguf.h"

namespace imp {

/// Whether libmtmd misplaces the class token of this mmproj: a CLIP tower before one of LLaVA's or MobileVLM's
/// projectors. SigLIP has no class token, and the graphs of other projectors deal with theirs in another way.
bool misplaces_class_token(const gguf_context * mmproj);

/// As libmtmd's `cb_eval`, makes it run the tower on the class token followed by the patches, the order of its
/// position embeddings.
///
/// The pinned llama.cpp appends the class token to the patches, but numbers the positions from 0 on and drops the
/// first row of the result. So every patch has its neighbour's position, the first patch is lost, and the language
/// model sees the class token (github.com/ggml-org/llama.cpp/issues/25814, and pull request 25844, still open). No
/// mmproj can make up for a row that is dropped. This puts the rows in order as soon as the graph has joined them, and
/// leaves alone a graph that joins them in the right order. It can go when the pinned version does that, which
/// test_the_pinned_libmtmd_misplaces_the_class_token tells.
bool put_class_token_first(ggml_tensor * node, bool ask);

} // namespace imp
