#include "memory.h"

#include <fstream>
#include <string>

namespace imp {

namespace {

/// The value in bytes of the line `name`, which gives it in KiB; 0 without one.
int64_t read_bytes(const char * path, const char * name) {
    std::ifstream file(path);
    std::string   word;
    while (file >> word) {
        int64_t kibibytes = 0;
        if (word == name && file >> kibibytes) {
            return kibibytes * 1024;
        }
    }
    return 0;
}

} // namespace

int64_t peak_rss_bytes() {
    return read_bytes("/proc/self/status", "VmHWM:");
}

int64_t available_memory_bytes() {
    return read_bytes("/proc/meminfo", "MemAvailable:");
}

} // namespace imp
