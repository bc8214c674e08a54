#pragma once

#include "files.h"

#include <string>
#include <unordered_set>

namespace imp {

/// The file of results: one JSON object per line, only ever appended to, so that a killed run loses
/// at most the step it was at.
class Results {
public:
    /// Opens `path`, creating it if need be, and cuts off a last line that a killed run left unfinished.
    /// Throws RunError when that fails or when another process is writing to it.
    explicit Results(const std::string & path);

    /// Whether an earlier run left a line with status "ok" for the step `id`.
    bool has(const std::string & id) const;

    /// Adds `line`, which has no line end, and brings it to the disk. Throws RunError.
    void append(const std::string & line);

private:
    const std::string               path_;
    const Descriptor                file_;
    std::unordered_set<std::string> done_; // ids as they stand in the file
};

} // namespace imp
