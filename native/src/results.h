#pragma once

#include "lines.h"

#include <string>
#include <unordered_set>

namespace imp {

/// The file of results: one line per step.
class Results {
public:
    /// Opens `path` as Lines does. Throws RunError.
    explicit Results(const std::string & path);

    /// Whether an earlier run left a line with status "ok" for the step `id`.
    bool has(const std::string & id) const;

    /// Adds `line`, which has no line end. Throws RunError.
    void add(const std::string & line) { lines_.add(line); }

    /// Brings what was added to the disk. Throws RunError.
    void sync() { lines_.sync(); }

private:
    std::unordered_set<std::string> done_; // ids as they stand in the file
    Lines                           lines_;
};

} // namespace imp
