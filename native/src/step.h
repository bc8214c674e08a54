#pragma once

#include "job.h"
#include "model.h"
#include "prefix.h"
#include "sensors.h"

#include <string>

namespace imp {

/// The positions that `step` takes in a context: text, visual tokens and all it may generate.
/// Throws StepError of kind "prompt" or "image".
int count_positions(const Model & model, const Step & step);

// A line of results (here broken) is
//     {"step": id, "status": "ok", "text": "...", "token_ids": [..], "stop": "eog"|"string"|"length",
//      "tokens": {"text": 0, "visual": 0, "generated": 0}, "kept_tokens": 0,
//      "seconds": {"load": 0, "vision": 0, "prompt": 0, "generate": 0, "total": 0},
//      "peak_rss_bytes": 0, "threads": 0, "cpu_mask": "ff",
//      "settings": {"threads_vision": 0, "threads_prompt": 0, "threads_generate": 0, "ubatch": 0,
//                   "flash_attention": "on", "flash_attention_vision": "on", "cache_type": "f16",
//                   "kernels": "fast"},
//      "before": state, "after": state,
//      "trace": trace, "swap_bytes": 0, "repacked_bytes": 0,
//      "vision_repacked_bytes": 0, "decode_bytes": 0}
// or
//     {"step": id, "status": "error", "kind": kind, "message": "..."}
// of the kinds of StepError, or "model" for every step when the model could not be loaded. The next
// run does a step with an error once more.
// `kept_tokens`, text and visual, are those of the prompt that the context held already, so that
// `prompt` lacks them; `settings` are those in fact, like `threads` and `cpu_mask`.
// `generated` is the length of token_ids: no EOG token, but those of a stop string that `text` lacks.
// `load` is the process's loading of model, mmproj and context, warm-up included, the same in all its
// lines. `threads` and `cpu_mask` (hexadecimal) are those in fact. sensors.h describes a state, of
// which `before` and `after` are taken outside the phases, sampler.h a trace, whose columns are empty
// when nothing was sampled. `swap_bytes` is the most of the process that was seen in swap,
// `repacked_bytes` are weights of the LLM in the layouts of the fast kernels, `vision_repacked_bytes`
// those of the tower, `decode_bytes` those that are read for each generated token.

/// Decodes one token and encodes one grey image, where there is a vision tower, so that all weights
/// have been touched when the first step begins. Leaves the context empty. Throws StepError.
void warm_up(const Model & model, llama_context * context);

/// Decodes the text before the image of `step`, if it has one and fits within `limit` positions, into the empty
/// context, and says so in `prefix`. Throws StepError.
void decode_first_text(const Model & model, llama_context * context, const Step & step, int limit, Prefix & prefix);

/// Answers one step, writes the files that it asks for, and returns its line of results. `limit` is
/// the number of positions that a step may take, `load_seconds` what loading took this process.
/// `prefix` says what `context` holds, before and after. Throws StepError.
std::string run_step(const Model & model, llama_context * context, const Sensors & sensors, const Job & job,
                     const Step & step, int limit, double load_seconds, Prefix & prefix);

/// The line of results for a step that failed with `error`.
std::string error_line(const Step & step, const char * kind, const std::string & message);

} // namespace imp
