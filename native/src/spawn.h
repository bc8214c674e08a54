#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace imp {

/// What a program printed. `whole`: it ended by itself, and nothing was left out.
struct Output {
    std::string text;
    bool        whole = false;
};

/// What the program `argv` (looked for on the PATH) prints on stdout, whatever its exit status;
/// nothing when it cannot be started. It ends, with all that it started, when it has done its work,
/// after `seconds`, or when this process was asked to end and has blocked that signal; what it
/// printed by then is returned, up to `most` bytes.
Output output_of(const std::vector<std::string> & argv, double seconds, size_t most);

} // namespace imp
