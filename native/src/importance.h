#pragma once

#include "llama.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace imp {

/// What goes into the matrices of the LLM's blocks, as sums of squares: an importance matrix tells a quantizer by them
/// which columns of a matrix the model multiplies by large numbers.
///
/// Every row that a matrix is multiplied by counts: of text before and behind an image, of the image itself, and of
/// the answer. (llama.cpp's own tool reads text only.) The part of the last block that llama.cpp computes only where
/// logits are asked for has rows of the answer alone, as in use. The output matrix is left out, as llama.cpp's tool
/// leaves it out.
class Importance {
public:
    /// Lets the context that is opened with `params` report to this, which must outlive it.
    void watch(llama_context_params & params);

    /// Forgets what was seen so far.
    void forget();

    /// Writes a file, whole or not at all: the line `imp-sums 1`, then for each matrix, in the order of their names,
    /// the line `NAME COLUMNS ROWS` and COLUMNS float64, the sum of squares over ROWS rows.
    /// Throws RunError, also where a sum is no number.
    void write(const std::string & path) const;

private:
    struct Sums {
        int64_t             rows = 0;
        std::vector<double> squares; // [columns]
    };

    static bool look(ggml_tensor * node, bool ask, void * self);
    void        add(const std::string & name, const ggml_tensor * input);

    std::map<std::string, Sums> sums_;
    std::vector<char>           input_; // a copy, kept for its memory
};

} // namespace imp
