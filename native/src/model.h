#pragma once

#include "image.h"
#include "job.h"

#include "llama-cpp.h"
#include "mtmd.h"

namespace imp {

/// The LLM and, where the job has one, the vision tower with its projector. Both on the CPU, unless built with
/// IMP_OFFLOAD.
struct Model {
    llama_model_ptr     llm;
    const llama_vocab * vocab;         // belongs to `llm`
    mtmd::context_ptr   vision;        // null without an mmproj
    int                 image_side = 0; // pixels of the square image that `vision` takes; 0 without one
    Colour              mean_colour = {}; // of the images that `vision` was trained on
    mutable int         visual_tokens = 0; // of one image; 0 until count_visual_tokens was asked once
    int                 threads;        // in fact; never more than `cpus` has, because ggml's spin at barriers
    cpu_set_t           cpus;           // that the process runs on
    int64_t             decode_bytes;   // of weights that are read for each generated token
};

/// Moves the process to the CPUs of the job's mask, as far as the system allows it, and loads the
/// files that `job` names. Throws ModelError with the reason that llama.cpp logged.
Model load_model(const Job & job);

/// The positions that a context for this model may have: the model's own limit or the job's, whichever is lower.
int position_limit(const Model & model, const Job & job);

/// A context for at least `positions` tokens. `visual_tokens` is the number of them that an image
/// takes (0 for no image): models that look at an image in both directions need them in one batch.
/// Throws ModelError.
llama_context_ptr open_context(const Model & model, const Job & job, int positions, int visual_tokens);

} // namespace imp
