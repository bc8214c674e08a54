#pragma once

#include <string>
#include <vector>

namespace imp {

/// What the program `argv` (looked for on the PATH) prints on stdout; empty when it cannot be
/// started. After `seconds` it is killed, and what it printed by then is returned.
std::string output_of(const std::vector<std::string> & argv, double seconds);

} // namespace imp
