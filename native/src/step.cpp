#include "step.h"

#include "clock.h"
#include "decode.h"
#include "errors.h"
#include "files.h"
#include "generate.h"
#include "json.h"
#include "log.h"
#include "memory.h"
#include "picture.h"
#include "preprocess.h"
#include "prompt.h"
#include "sampler.h"
#include "vision.h"

#include <algorithm>
#include <optional>

namespace imp {

namespace {

/// Seconds; the phases do not overlap, and `total` holds them and what lies between them.
struct Times {
    double vision = 0; // from the decoded picture to its embeddings
    double prompt = 0; // text and visual tokens through the LLM
    double generate = 0;
    double total = 0;
};

struct Result {
    Prompt     prompt;
    int        kept_tokens = 0; // of the prompt, which the context held before the step
    Generation answer;
    Times      times;
    State      before;
    State      after;
    Trace      trace;
};

void check(const Model & model, const Step & step, int limit) {
    const int positions = count_positions(model, step);
    if (positions > limit) {
        throw StepError("context", "the prompt and max_tokens need " + std::to_string(positions) +
                                       " positions, and the context holds " + std::to_string(limit));
    }
    if (!step.image.empty() && step.side != model.image_side) {
        throw StepError("image", "the side is " + std::to_string(step.side) + " pixels, and the mmproj takes images of " +
                                     std::to_string(model.image_side));
    }
}

/// Leaves in the context what `prefix` says it holds of the beginning of `prompt`, and says so in `prefix`.
void keep_beginning(llama_context * context, const Prompt & prompt, Prefix & prefix) {
    const bool same_text = prefix.holds_text && prompt.has_image && prefix.before == prompt.before;
    // The logits behind an image at the end of the prompt are not kept.
    if (same_text && prefix.holds_image && !prompt.after.empty() && keep_first(context, prefix.positions())) {
        return;
    }
    prefix.holds_image = false;
    if (same_text && !prompt.before.empty() && keep_first(context, int(prompt.before.size()))) {
        return;
    }
    prefix.holds_text = false;
    llama_memory_clear(llama_get_memory(context), /*data*/ false);
}

/// Puts the text before an image behind nothing. In a call of its own, whether it is kept or not: then the numbers
/// in the cache do not depend on what follows.
void decode_before(llama_context * context, const Prompt & prompt, Prefix & prefix) {
    decode_tokens(context, prompt.before, /*want_logits*/ false);
    prefix.before = prompt.before;
    prefix.holds_text = true;
}

/// Returns how many tokens of the prompt the context held already.
int decode_prompt(llama_context * context, const Model & model, const Prompt & prompt, Prefix & prefix) {
    keep_beginning(context, prompt, prefix);
    int kept = 0;
    if (!prompt.has_image) {
        decode_tokens(context, prompt.before, /*want_logits*/ true);
    } else {
        kept = prefix.holds_image ? prefix.positions() : prefix.holds_text ? int(prefix.before.size()) : 0;
        if (!prefix.holds_text) {
            decode_before(context, prompt, prefix);
        }
        if (!prefix.holds_image) {
            decode_image(context, model, *prefix.visual, /*want_logits*/ prompt.after.empty());
            prefix.holds_image = true;
        }
        decode_tokens(context, prompt.after, /*want_logits*/ true);
    }
    llama_synchronize(context);
    return kept;
}

Result answer(const Model & model, llama_context * context, const Sensors & sensors, const Job & job,
              const Step & step, Prefix & prefix) {
    std::optional<Image> picture;
    if (!job.reuse || !prefix.is_of(step)) {
        if (job.keep_text) {
            prefix.forget_image();
        } else {
            prefix = {};
        }
        if (!step.image.empty()) {
            picture = read_picture(model.vision.get(), step.image);
        }
    }

    // Temperatures that take a program to get are only worth it where samples are: thousands of
    // questions of an evaluation do without.
    const bool ask_service = job.sample_ms > 0;
    Result     result;
    result.before = sensors.state(ask_service);
    Sampler sampler(sensors, job.sample_ms, model.cpus);

    const Stopwatch total;
    sampler.start();
    if (picture) {
        const Stopwatch vision;
        prefix.square = make_square(*picture, step.side, step.mode, model.mean_colour);
        prefix.visual = encode_image(model, *prefix.square);
        prefix.path = step.image;
        prefix.mode = step.mode;
        result.times.vision = vision.seconds();
    }
    result.prompt = tokenize_prompt(model, step);

    const Stopwatch prompt;
    result.kept_tokens = decode_prompt(context, model, result.prompt, prefix);
    result.times.prompt = prompt.seconds();

    const Stopwatch generation;
    result.answer =
        generate(context, model, {step.max_tokens, step.ignore_eog, job.stop, step.force}, /*keep_logits*/ !step.logits.empty());
    result.times.generate = generation.seconds();
    result.times.total = total.seconds();

    result.trace = sampler.finish();
    result.trace.swap_bytes = std::max(result.trace.swap_bytes, sensors.memory().swap_bytes);
    result.after = sensors.state(ask_service);
    return result;
}

void write_outputs(const Model & model, const Step & step, const Result & result, const Prefix & prefix) {
    if (!step.embeddings.empty()) {
        const size_t width = size_t(llama_model_n_embd_inp(model.llm.get()));
        const size_t values = width * size_t(prefix.visual->count);
        write_whole_file(step.embeddings, prefix.visual->embeddings, values * sizeof(float));
    }
    if (!step.logits.empty()) {
        write_whole_file(step.logits, result.answer.logits.data(), result.answer.logits.size() * sizeof(float));
    }
    if (!step.pixels.empty()) {
        write_whole_file(step.pixels, prefix.square->pixels.data(), prefix.square->pixels.size());
    }
}

} // namespace

int count_positions(const Model & model, const Step & step) {
    const Prompt prompt = tokenize_prompt(model, step);
    return prompt.text_tokens() + (prompt.has_image ? count_visual_tokens(model) : 0) + step.max_tokens;
}

void warm_up(const Model & model, llama_context * context) {
    if (model.vision != nullptr) {
        Image grey(model.image_side, model.image_side);
        std::fill(grey.pixels.begin(), grey.pixels.end(), uint8_t(127));
        encode_image(model, grey);
    }
    decode_tokens(context, {0}, /*want_logits*/ true); // any token: the weights are the same for all
    llama_synchronize(context);
    llama_memory_clear(llama_get_memory(context), /*data*/ true);
}

void decode_first_text(const Model & model, llama_context * context, const Step & step, int limit, Prefix & prefix) {
    const Prompt prompt = tokenize_prompt(model, step);
    if (prompt.has_image && count_positions(model, step) <= limit) {
        decode_before(context, prompt, prefix);
        llama_synchronize(context);
    }
}

std::string run_step(const Model & model, llama_context * context, const Sensors & sensors, const Job & job,
                     const Step & step, int limit, double load_seconds, Prefix & prefix) {
    check(model, step, limit);
    const Result result = answer(model, context, sensors, job, step, prefix);
    write_outputs(model, step, result, prefix);

    JsonObject tokens;
    tokens.integer("text", result.prompt.text_tokens());
    tokens.integer("visual", prefix.visual ? prefix.visual->count : 0);
    tokens.integer("generated", int64_t(result.answer.tokens.size()));
    JsonObject seconds;
    seconds.number("load", load_seconds);
    seconds.number("vision", result.times.vision);
    seconds.number("prompt", result.times.prompt);
    seconds.number("generate", result.times.generate);
    seconds.number("total", result.times.total);
    JsonObject line;
    line.text("step", step.id).text("status", "ok").text("text", result.answer.text);
    line.raw("token_ids", json_array(result.answer.tokens)).text("stop", result.answer.stop);
    line.raw("tokens", tokens.str()).integer("kept_tokens", result.kept_tokens).raw("seconds", seconds.str());
    line.integer("peak_rss_bytes", peak_rss_bytes());
    line.integer("threads", model.threads).text("cpu_mask", cpus_text(model.cpus));
    line.raw("settings", used_settings(model, context, job));
    line.raw("before", result.before.json()).raw("after", result.after.json());
    line.raw("trace", result.trace.json()).integer("swap_bytes", result.trace.swap_bytes);
    line.integer("repacked_bytes", repacked_bytes());
    line.integer("vision_repacked_bytes", model.tower_graph->fast == nullptr ? 0 : model.tower_graph->fast->repacked_bytes());
    line.integer("decode_bytes", model.decode_bytes);
    return line.str();
}

std::string error_line(const Step & step, const char * kind, const std::string & message) {
    JsonObject line;
    line.text("step", step.id).text("status", "error").text("kind", kind).text("message", message);
    return line.str();
}

} // namespace imp
