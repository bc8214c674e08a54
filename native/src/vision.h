#pragma once

#include "image.h"
#include "model.h"

namespace imp {

/// The visual tokens of one image.
struct VisualTokens {
    mtmd::input_chunks_ptr chunks;     // what libmtmd knows about the image
    int                    count;      // tokens
    float *                embeddings; // [count, n_embd] of the LLM's input, valid until the next image
};

/// How many visual tokens an image takes.
/// Throws StepError of kind "image" when the mmproj would cut it into slices.
int count_visual_tokens(const Model & model);

/// Runs the vision tower and the projector over `square`, whose sides are model.image_side.
/// Throws StepError of kind "image".
VisualTokens encode_image(const Model & model, const Image & square);

} // namespace imp
