// The job file: what one run of the program shall do.
//
// Text as pairs.h describes it. The first line is `imp-job 1`. Then come the keys of the job, then
// the steps, each of which begins with the line `step`.
//
//     imp-job 1
//     model Imp-3B-Q4_0.gguf
//     mmproj mmproj-Imp-3B-196-F16.gguf      needed when a step has an image
//     cpu_mask fc                            hexadecimal, bit n is CPU n; left out: all that are allowed
//     threads 6                              0 or left out, or more than CPUs allowed: as many as these
//     warmup 1                               1: touches all weights before the first step, as part of loading
//     sample_ms 200                          0 or left out: nothing is sampled during a step
//     wait 60                                seconds; 0 or left out: an image that is not there is an error
//     reuse 1                                1: a step about the same image as the one before it starts behind it
//     context 0                              tokens; 0 or left out: enough for the largest step
//     batch 0                                tokens; 0 or left out: llama.cpp's default
//     ubatch 0                               tokens; likewise
//     threads_vision 0                       of one phase; 0 or left out: as `threads`, see struct Job
//     threads_prompt 0
//     threads_generate 0
//     flash_attention auto                   of the LLM: `auto`, which is left out too, `on` or `off`
//     flash_attention_vision auto            of the tower, likewise
//     cache_type f16                         of keys and values: `f16` or left out, `q8_0`, `f32`
//     keep_text 1                            1: a step starts behind the text before its image, see struct Job
//     kernels fast                           or stock: only those that the libraries would choose
//     imatrix sums                           optional file to write at the end; see importance.h
//     stop </s>                              any number of times
//     step
//     id 1                                   unique; names the step in the results
//     prompt USER: <image>%0AWhat is it? ASSISTANT:
//     text_tokens 41                         optional; makes the text exactly so long, see struct Step
//     max_tokens 64
//     ignore_eog 0                           1: neither EOG nor stop strings end the answer
//     force 5 17 2                           optional; these tokens are the answer, max_tokens of them
//     logits 1.logits                        optional files to write; see struct Step
//     image cat.jpg                          the keys from here on belong to a step with an image
//     side 196
//     mode squash                            or pad
//     embeddings 1.embeddings
//     pixels 1.rgb
#pragma once

#include "cpus.h"

#include <cstdint>
#include <optional>
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
    // 0: the text as it is. Otherwise exactly so many tokens, a BOS included, for measurements of
    // latency, where its meaning does not matter. Too long a text loses tokens from its start before
    // the image, then from its start behind the image; too short a one is preceded by repetitions of
    // itself. The BOS stays first, the image between its two parts.
    int         text_tokens = 0;
    int         side = 0; // pixels of the preprocessed image
    SquareMode  mode = SquareMode::squash;
    int         max_tokens = 0;
    bool        ignore_eog = false; // generate exactly max_tokens: neither EOG tokens nor stop strings end it
    // Not empty: each of these tokens is taken instead of the most likely one, nothing else ends the
    // answer, and `logits` are what the model gave before each of them.
    std::vector<int32_t> force;
    std::string embeddings;         // path; raw float32 [visual tokens, n_embd]
    std::string logits;             // path; raw float32 [chosen tokens, an EOG included, n_vocab]
    std::string pixels;             // path; raw uint8 [side, side, 3]
};

/// What one run of the program does. Zeros leave the choice to the program.
struct Job {
    std::string              model;
    std::string              mmproj; // may be empty when no step has an image
    int                      threads = 0;
    std::optional<cpu_set_t> cpu_mask; // the CPUs to run on
    bool                     warmup = false;
    int                      sample_ms = 0;
    // Whoever started this run still brings images, each under its name only when it is whole; after
    // so many seconds without the one that is needed the run ends.
    int                      wait = 0;
    // Then neither the image is encoded nor the text before it is decoded again. Answers stay the
    // same, bit by bit; the times of such a step lack what it did not do.
    bool                     reuse = false;
    bool                     fast_kernels = true; // see fast_graph.h
    int                      context = 0; // tokens
    int                      batch = 0;   // tokens
    int                      ubatch = 0;  // tokens
    // Of the tower, of the LLM where it takes more than one token at a time, and where it takes one.
    int                      threads_vision = 0;
    int                      threads_prompt = 0;
    int                      threads_generate = 0;
    std::string              flash_attention = "auto"; // of the LLM: auto, on or off
    std::string              flash_attention_vision = "auto";
    std::string              cache_type = "f16"; // of keys and values alike; q8_0 needs flash attention
    // Then the text before an image is not decoded again where the step before had the same, whatever
    // its image was; with `warmup`, that of the first step is there before it begins. Answers stay the
    // same, bit by bit; `kept_tokens` of a result says what its times lack.
    bool                     keep_text = false;
    // A path: then every step is done, whatever the results hold already, and the file is written when
    // none of them failed.
    std::string              imatrix;
    std::vector<std::string> stop;
    std::vector<Step>        steps;
};

/// Reads a job file.
/// Throws RunError, naming the file and the line, for anything unknown, missing, repeated or malformed.
Job read_job(const std::string & path);

} // namespace imp
