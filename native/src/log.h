#pragma once

#include <cstdint>
#include <string>

namespace imp {

/// Takes over the messages of llama.cpp, libmtmd and ggml. They go to stderr only when the
/// environment has IMP_RUNNER_LOG=1; the last errors and warnings are kept either way.
void capture_logs();

/// The bytes of weights that llama.cpp has put into the layouts of its fast kernels, as far as it
/// logged them since capture_logs(); a hundredth of a MiB exact, which is how it logs them.
int64_t repacked_bytes();

/// Whether llama.cpp chose flash attention for the LLM, where that was left to it: "on" or "off", as it logged it
/// last; "auto" when it said nothing.
std::string chosen_flash_attention();

/// The same for the vision tower, whoever chose.
std::string vision_flash_attention();

/// Forgets what was kept, so that a later reason is about what comes now.
void forget_logs();

/// `message`, followed by ": " and the last errors (or, without any, warnings) that the libraries
/// logged since forget_logs(), if there are any.
std::string with_reason(const std::string & message);

} // namespace imp
