#include "decode.h"

#include "errors.h"
#include "log.h"

#include <algorithm>

namespace imp {

namespace {

/// Decodes `count` entries, which are rows of `tokens` or of `embeddings`, in pieces of at most a batch.
void decode(llama_context * context, llama_token * tokens, float * embeddings, int count, bool want_logits) {
    const int width = llama_model_n_embd_inp(llama_get_model(context));
    const int most = int(llama_n_batch(context));
    for (int first = 0; first < count; first += most) {
        const int           size = std::min(most, count - first);
        std::vector<int8_t> outputs(size_t(size), 0);
        outputs.back() = want_logits && first + size == count;
        // Without positions and sequences, llama.cpp continues sequence 0.
        llama_batch batch = {};
        batch.n_tokens = size;
        batch.token = tokens == nullptr ? nullptr : tokens + first;
        batch.embd = embeddings == nullptr ? nullptr : embeddings + size_t(first) * width;
        batch.logits = outputs.data();
        const int32_t status = llama_decode(context, batch);
        if (status != 0) {
            throw StepError("decode", with_reason("llama_decode failed with status " + std::to_string(status)));
        }
    }
}

/// Lets the tokens that are decoded during its life see each other in both directions.
class NonCausal {
public:
    NonCausal(llama_context * context, bool wanted) : context_(wanted ? context : nullptr) {
        if (context_ != nullptr) {
            llama_set_causal_attn(context_, false);
        }
    }
    ~NonCausal() {
        if (context_ != nullptr) {
            llama_set_causal_attn(context_, true);
        }
    }
    NonCausal(const NonCausal &) = delete;
    NonCausal & operator=(const NonCausal &) = delete;

private:
    llama_context * const context_;
};

} // namespace

void decode_tokens(llama_context * context, std::vector<llama_token> tokens, bool want_logits) {
    decode(context, tokens.data(), nullptr, int(tokens.size()), want_logits);
}

void decode_image(llama_context * context, const Model & model, const VisualTokens & visual, bool want_logits) {
    const mtmd_input_chunk * chunk = mtmd_input_chunks_get(visual.chunks.get(), 0);
    const NonCausal          mask(context, mtmd_decode_use_non_causal(model.vision.get(), chunk));
    decode(context, nullptr, visual.embeddings, visual.count, want_logits);
}

bool keep_first(llama_context * context, int positions) {
    return llama_memory_seq_rm(llama_get_memory(context), /*sequence*/ 0, positions, /*to the end*/ -1);
}

const float * last_logits(llama_context * context) {
    const float * logits = llama_get_logits_ith(context, -1);
    if (logits == nullptr) {
        throw StepError("decode", with_reason("llama.cpp gave no logits"));
    }
    return logits;
}

} // namespace imp
