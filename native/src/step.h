#pragma once

#include "job.h"
#include "model.h"

#include <string>

namespace imp {

/// The positions that `step` takes in a context: text, visual tokens and all it may generate.
/// Throws StepError of kind "prompt" or "image".
int count_positions(const Model & model, const Step & step);

// A line of results (here broken) is
//     {"step": id, "status": "ok", "text": "...", "token_ids": [..], "stop": "eog"|"string"|"length",
//      "tokens": {"text": 0, "visual": 0, "generated": 0},
//      "seconds": {"load": 0, "vision": 0, "prompt": 0, "generate": 0, "total": 0},
//      "peak_rss_bytes": 0}
// or
//     {"step": id, "status": "error", "kind": kind, "message": "..."}
// `generated` is the length of token_ids: no EOG token, but those of a stop string that `text` lacks.
// `load` is the process's loading of model, mmproj and context, the same in all its lines.

/// Answers one step in an emptied `context`, writes the files that it asks for, and returns its
/// line of results. `limit` is the number of positions that a step may take, `load_seconds` what
/// loading took this process. Throws StepError.
std::string run_step(const Model & model, llama_context * context, const Job & job, const Step & step, int limit,
                     double load_seconds);

/// The line of results for a step that failed with `error`.
std::string error_line(const Step & step, const char * kind, const std::string & message);

} // namespace imp
