#pragma once

#include <stdexcept>
#include <string>

namespace imp {

/// The whole run is impossible: a job file that cannot be understood, an output
/// that cannot be written. Ends the program with exit status 3.
struct RunError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The model or the mmproj cannot be used, which shows before the first step. Ends the
/// program with exit status 3, after a line of kind "model" for every step that was to do.
struct ModelError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// One step cannot be done for its own reasons; the run goes on with the next.
/// `kind` is one of "image", "prompt", "context", "decode", "output".
struct StepError : std::runtime_error {
    StepError(const char * kind, const std::string & message) : std::runtime_error(message), kind(kind) {}
    const char * kind;
};

} // namespace imp
