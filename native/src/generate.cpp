#include "generate.h"

#include "decode.h"
#include "errors.h"
#include "prompt.h"

#include <algorithm>
#include <limits>

namespace imp {

int argmax(const float * values, int count) {
    int   best = -1;
    float largest = -std::numeric_limits<float>::infinity();
    for (int i = 0; i < count; ++i) {
        if (values[i] > largest) {
            largest = values[i];
            best = i;
        }
    }
    return best;
}

size_t find_stop(const std::string & text, size_t known, const std::vector<std::string> & stops) {
    size_t first = text.npos;
    for (const std::string & stop : stops) {
        const size_t from = known < stop.size() ? 0 : known - stop.size() + 1;
        first = std::min(first, text.find(stop, from)); // npos is the largest of all
    }
    return first;
}

Generation generate(llama_context * context, const Model & model, const StopRules & rules, bool keep_logits) {
    const int  n_vocab = llama_vocab_n_tokens(model.vocab);
    Generation answer = {{}, "", "length", {}};
    while (int(answer.tokens.size()) < rules.max_tokens) {
        if (!answer.tokens.empty()) {
            decode_tokens(context, {answer.tokens.back()}, /*want_logits*/ true);
        }
        const float * logits = last_logits(context);
        const int     likeliest = argmax(logits, n_vocab);
        if (likeliest < 0) {
            throw StepError("decode", "the model gave logits of which none is a number; its weights may have overflowed");
        }
        if (keep_logits) {
            answer.logits.insert(answer.logits.end(), logits, logits + n_vocab);
        }
        const int token = rules.force.empty() ? likeliest : rules.force[answer.tokens.size()];
        if (token >= n_vocab) {
            throw StepError("prompt", "the token " + std::to_string(token) + " of `force` is not among the model's " +
                                          std::to_string(n_vocab));
        }
        const bool goes_on = rules.ignore_eog || !rules.force.empty();
        if (!goes_on && llama_vocab_is_eog(model.vocab, token)) {
            answer.stop = "eog";
            break;
        }
        answer.tokens.push_back(token);
        const size_t known = answer.text.size();
        answer.text += token_text(model.vocab, token);
        const size_t cut = goes_on ? answer.text.npos : find_stop(answer.text, known, rules.strings);
        if (cut != answer.text.npos) {
            answer.text.resize(cut);
            answer.stop = "string";
            break;
        }
    }
    return answer;
}

} // namespace imp
