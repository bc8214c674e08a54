#pragma once

#include "job.h"
#include "model.h"

#include <string>

namespace imp {

/// The positions that `step` takes in a context: text, visual tokens and all it may generate.
/// Throws StepError of kind "prompt" or "image".
int count_positions(const Model & model, const Step & step);

/// Answers one step in an emptied `context`, writes the files that it asks for, and returns its
/// line of results. `limit` is the number of positions that a step may take, `load_seconds` what
/// loading took this process. Throws StepError.
std::string run_step(const Model & model, llama_context * context, const Job & job, const Step & step, int limit,
                     double load_seconds);

/// The line of results for a step that failed with `error`.
std::string error_line(const Step & step, const char * kind, const std::string & message);

} // namespace imp
