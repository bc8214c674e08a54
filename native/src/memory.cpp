#include "memory.h"

#include <fstream>
#include <string>

namespace imp {

int64_t peak_rss_bytes() {
    std::ifstream status("/proc/self/status");
    std::string   word;
    while (status >> word) {
        int64_t kibibytes = 0;
        if (word == "VmHWM:" && status >> kibibytes) {
            return kibibytes * 1024;
        }
    }
    return 0;
}

} // namespace imp
