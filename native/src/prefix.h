#pragma once

#include "image.h"
#include "job.h"
#include "vision.h"

#include <optional>
#include <string>
#include <vector>

namespace imp {

/// What is left of the step before, for one that asks something else about the same image, or about another one
/// behind the same text.
struct Prefix {
    std::string                 path; // of the image
    SquareMode                  mode = SquareMode::squash;
    std::optional<Image>        square; // what the vision tower saw
    std::optional<VisualTokens> visual; // empty: nothing is left
    std::vector<llama_token>    before; // text in front of the visual tokens
    bool                        holds_text = false;  // whether the context begins with `before`
    bool                        holds_image = false; // whether it goes on with `visual`

    bool is_of(const Step & step) const { return visual && path == step.image && mode == step.mode; }

    /// The positions at the beginning of the context, which has the image, that belong to text and image.
    int positions() const { return int(before.size()) + visual->count; }

    /// Leaves only the text.
    void forget_image() {
        path.clear();
        square.reset();
        visual.reset();
        holds_image = false;
    }
};

} // namespace imp
