#pragma once

#include <string>
#include <vector>

namespace imp {

/// How a picture becomes a square: by ignoring its aspect ratio, or by padding it.
enum class SquareMode { squash, pad };

/// One prompt to answer. An empty path means: not asked for.
struct Step {
    std::string id;
    std::string image;
    std::string prompt;
    int         side = 0; // pixels of the preprocessed image
    SquareMode  mode = SquareMode::squash;
    int         max_tokens = 0;
    bool        ignore_eog = false; // generate exactly max_tokens: neither EOG tokens nor stop strings end it
    std::string embeddings;         // float32 [visual tokens, n_embd]
    std::string logits;             // float32 [chosen tokens, n_vocab]
    std::string pixels;             // uint8 [side, side, 3]
};

/// What one run of the program does. Zeros leave the choice to the program.
struct Job {
    std::string              model;
    std::string              mmproj; // may be empty when no step has an image
    int                      threads = 0;
    int                      context = 0; // tokens
    int                      batch = 0;   // tokens
    int                      ubatch = 0;  // tokens
    std::vector<std::string> stop;
    std::vector<Step>        steps;
};

/// Reads a job file (README.md beside the sources has the format).
/// Throws RunError, naming the file and the line, for anything unknown, missing, repeated or malformed.
Job read_job(const std::string & path);

} // namespace imp
