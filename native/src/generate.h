#pragma once

#include "model.h"

#include <string>
#include <vector>

namespace imp {

/// What ends an answer.
struct StopRules {
    int                              max_tokens;
    bool                             ignore_eog; // then neither EOG tokens nor `strings` end it
    const std::vector<std::string> & strings;
    const std::vector<int32_t> &     force; // not empty: max_tokens tokens to take instead of the most likely
};

/// An answer.
struct Generation {
    std::vector<llama_token> tokens; // without the EOG token; with those of a stop string
    std::string              text;   // bytes, cut before a stop string
    const char *             stop;   // "eog", "string" or "length"
    std::vector<float>       logits; // [chosen tokens, EOG included, n_vocab], when kept
};

/// The index of the first largest of `count` values; NaNs are passed over. -1 when all are NaN or -inf.
int argmax(const float * values, int count);

/// Where in `text` the first of the `stops` begins, npos when there is none. Only those that reach
/// beyond `known` bytes are looked for: the caller has looked at the others before.
size_t find_stop(const std::string & text, size_t known, const std::vector<std::string> & stops);

/// Continues what `context` holds, greedily. The logits behind the prompt's last token must be there,
/// unless max_tokens is 0. The last token is not decoded.
/// Throws StepError of kind "decode".
Generation generate(llama_context * context, const Model & model, const StopRules & rules, bool keep_logits);

} // namespace imp
