#pragma once

#include "fast_graph.h"
#include "image.h"
#include "importance.h"
#include "job.h"

#include "llama-cpp.h"
#include "mtmd.h"

#include <memory>

namespace imp {

/// What sees the nodes of the tower's graph.
struct TowerGraph {
    bool                       misplaced_class_token = false;
    std::unique_ptr<FastGraph> fast; // null: the library's own kernels
};

/// The LLM and, where the job has one, the vision tower with its projector. Both on the CPU, unless built with
/// IMP_OFFLOAD.
struct Model {
    // The graphs are known to what comes behind them, and outlive it.
    std::unique_ptr<TowerGraph> tower_graph = std::make_unique<TowerGraph>();
    std::unique_ptr<FastGraph>  llm_graph; // null: the library's own kernels
    llama_model_ptr     llm;
    const llama_vocab * vocab;         // belongs to `llm`
    mtmd::context_ptr   vision;        // null without an mmproj
    int                 image_side = 0; // pixels of the square image that `vision` takes; 0 without one
    Colour              mean_colour = {}; // of the images that `vision` was trained on
    mutable int         visual_tokens = 0; // of one image; 0 until count_visual_tokens was asked once
    int                 threads;        // in fact; never more than `cpus` has, because ggml's spin at barriers
    int                 threads_vision; // of the phases, likewise
    int                 threads_prompt;
    int                 threads_generate;
    cpu_set_t           cpus;           // that the process runs on
    int64_t             decode_bytes;   // of weights that are read for each generated token
};

/// Moves the process to the CPUs of the job's mask, as far as the system allows it, and loads the
/// files that `job` names. Throws ModelError with the reason that llama.cpp logged.
Model load_model(const Job & job);

/// What of a job's settings was used in fact, as a JSON object: step.h names its keys.
std::string used_settings(const Model & model, const llama_context * context, const Job & job);

/// The positions that a context for this model may have: the model's own limit or the job's, whichever is lower.
int position_limit(const Model & model, const Job & job);

/// A context for at least `positions` tokens. `visual_tokens` is the number of them that an image
/// takes (0 for no image): models that look at an image in both directions need them in one batch.
/// `importance`, if not null, sees what is decoded, and outlives the context. Throws ModelError.
llama_context_ptr open_context(const Model & model, const Job & job, int positions, int visual_tokens,
                               Importance * importance);

} // namespace imp
