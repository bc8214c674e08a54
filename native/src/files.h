#pragma once

#include <cstddef>
#include <string>

#include <unistd.h>

namespace imp {

/// Owns an open file descriptor; -1 is none.
struct Descriptor {
    explicit Descriptor(int number) : number(number) {}
    ~Descriptor() {
        if (number >= 0) {
            close(number);
        }
    }
    Descriptor(const Descriptor &) = delete;
    Descriptor & operator=(const Descriptor &) = delete;

    const int number;
};

/// What errno says, for the end of an error sentence.
std::string system_error();

/// All that is left to read of the open file, which `path` names in errors. Throws RunError.
std::string read_all(const Descriptor & file, const std::string & path);

/// Writes all of it, in one write() unless the system takes less. False, with errno, on failure.
bool write_all(const Descriptor & file, const void * data, size_t bytes);

/// Writes `bytes` bytes to `path`.tmp, brings them to the disk, and renames, so that `path` is
/// never seen half written. Throws StepError of kind "output".
void write_whole_file(const std::string & path, const void * data, size_t bytes);

} // namespace imp
