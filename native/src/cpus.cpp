#include "cpus.h"

#include <algorithm>
#include <cstdlib>
#include <dirent.h>

namespace imp {

std::optional<cpu_set_t> parse_cpus(std::string_view text) {
    if (text.empty() || text.size() > 16 || text.find_first_not_of("0123456789abcdefABCDEF") != text.npos) {
        return std::nullopt;
    }
    const unsigned long long bits = std::stoull(std::string(text), nullptr, 16);
    cpu_set_t                cpus;
    CPU_ZERO(&cpus);
    for (int cpu = 0; cpu < 64; ++cpu) {
        if ((bits >> cpu & 1) != 0) {
            CPU_SET(cpu, &cpus);
        }
    }
    return bits == 0 ? std::nullopt : std::optional(cpus);
}

std::string cpus_text(const cpu_set_t & cpus) {
    std::string text;
    for (int first = CPU_SETSIZE - 4; first >= 0; first -= 4) {
        int digit = 0;
        for (int bit = 0; bit < 4; ++bit) {
            digit |= CPU_ISSET(first + bit, &cpus) ? 1 << bit : 0;
        }
        if (digit != 0 || !text.empty() || first == 0) {
            text += "0123456789abcdef"[digit];
        }
    }
    return text;
}

cpu_set_t allowed_cpus() {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) {
        CPU_SET(0, &cpus);
    }
    return cpus;
}

bool run_on(const cpu_set_t & cpus) {
    return CPU_COUNT(&cpus) > 0 && sched_setaffinity(0, sizeof(cpus), &cpus) == 0;
}

cpu_set_t other_cpus(const cpu_set_t & cpus, int count) {
    cpu_set_t others;
    CPU_ZERO(&others);
    for (int cpu = 0; cpu < std::min(count, CPU_SETSIZE); ++cpu) {
        if (!CPU_ISSET(cpu, &cpus)) {
            CPU_SET(cpu, &others);
        }
    }
    return others;
}

int count_cpus() {
    // Not sysconf(): musl counts only the CPUs that this process may run on.
    int   count = 0;
    DIR * folder = opendir("/sys/devices/system/cpu");
    if (folder != nullptr) {
        while (const dirent * entry = readdir(folder)) {
            const std::string_view name = entry->d_name;
            if (name.substr(0, 3) == "cpu" && name.size() > 3 &&
                name.find_first_not_of("0123456789", 3) == name.npos) {
                count = std::max(count, std::atoi(entry->d_name + 3) + 1);
            }
        }
        closedir(folder);
    }
    const cpu_set_t allowed = allowed_cpus();
    return count > 0 ? count : std::max(CPU_COUNT(&allowed), 1);
}

} // namespace imp
