#pragma once

#include "signals.h"

#include <optional>
#include <string>
#include <vector>

namespace imp {

/// How a child ended. Neither an exit status nor a signal: it could not be waited for.
struct Ending {
    std::optional<int> exit;
    std::optional<int> signal;
    bool               timed_out = false; // killed, because it took too long
    bool               stopped = false;   // killed, because this process was asked to end
    double             seconds = 0;
    std::string        output;            // the end of what it printed on stderr and stdout
};

/// Starts `argv` in a process group of its own and waits for its end, at most `timeout` seconds.
/// The child does not survive this process, however that ends. Throws RunError when no process can
/// be started; a program that is not there ends with status 127 and a sentence.
Ending run_child(const Signals & signals, const std::vector<std::string> & argv, double timeout);

} // namespace imp
