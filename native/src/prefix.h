#pragma once

#include "image.h"
#include "job.h"
#include "vision.h"

#include <optional>
#include <string>
#include <vector>

namespace imp {

/// What is left of the step before, for one that asks something else about the same image.
struct Prefix {
    std::string                 path; // of the image
    SquareMode                  mode = SquareMode::squash;
    std::optional<Image>        square; // what the vision tower saw
    std::optional<VisualTokens> visual; // empty: nothing is left
    std::vector<llama_token>    before; // text that the context holds, in front of the visual tokens
    bool                        decoded = false; // whether the context begins with `before` and `visual`

    bool is_of(const Step & step) const { return visual && path == step.image && mode == step.mode; }
    int  positions() const { return int(before.size()) + visual->count; }
};

} // namespace imp
