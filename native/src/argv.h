#pragma once

#include <string>
#include <vector>

namespace imp {

/// `argv` in the form that the system takes. The pointers are good for as long as `argv` is, and
/// nothing writes through them.
inline std::vector<char *> system_argv(const std::vector<std::string> & argv) {
    std::vector<char *> pointers;
    for (const std::string & argument : argv) {
        pointers.push_back(const_cast<char *>(argument.c_str()));
    }
    pointers.push_back(nullptr);
    return pointers;
}

} // namespace imp
