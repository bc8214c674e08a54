#pragma once

#include "files.h"

#include <functional>
#include <string>
#include <string_view>

namespace imp {

/// A file of lines, each of which is a JSON object, that is only ever appended to, so that a process
/// that is killed loses at most the line it was writing. One process at a time writes to it.
class Lines {
public:
    /// Opens `path`, creating it if need be, cuts off a last line that a killed process left
    /// unfinished, and calls `each` with every line that is there. `what` names the file in errors.
    /// Throws RunError when that fails or when another process is writing to it.
    Lines(const std::string & path, const std::string & what, const std::function<void(std::string_view)> & each);

    /// Adds `line`, which has no line end, for every reader to see. Throws RunError, and leaves no part
    /// of the line then.
    void add(const std::string & line);

    /// Brings what was added to the disk. Throws RunError; the lines stay then, because a reader may
    /// have fetched them already.
    void sync();

private:
    [[noreturn]] void fail(const std::string & reason) const;

    const std::string path_;
    const std::string what_;
    const Descriptor  file_;
};

/// Where a line begins with `start` and the JSON string behind it ends with its quote: that string,
/// quotes included. `line` then holds what comes behind it. Empty, with `line` as it was, otherwise.
std::string_view take_string(std::string_view & line, std::string_view start);

} // namespace imp
