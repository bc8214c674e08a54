#include "sensors.h"

#include "cpus.h"
#include "json.h"
#include "memory.h"

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <set>

namespace imp {

namespace {

/// The value of the line `name` of /proc/self/status, in bytes; 0 without one.
int64_t status_bytes(const char * status, const char * name) {
    const char * line = std::strstr(status, name);
    return line == nullptr ? 0 : std::atoll(line + std::strlen(name)) * 1024;
}

} // namespace

double uptime_seconds() {
    timespec now = {};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
}

std::string State::json() const {
    JsonObject            celsius;
    std::set<std::string> names;
    for (const Reading & reading : readings) {
        if (names.insert(reading.name).second) { // Android's service may repeat a name
            celsius.number(reading.name, reading.celsius);
        }
    }
    JsonObject state;
    state.number("uptime_seconds", uptime_seconds);
    state.raw("clocks_khz", json_array(clocks_khz)).raw("limits_khz", json_array(limits_khz));
    state.raw("celsius", celsius.str()).integer("memory_available_bytes", memory_available_bytes);
    return state.str();
}

Sensors::Sensors() : status_(open("/proc/self/status", O_RDONLY | O_CLOEXEC)) {
    const int count = count_cpus();
    for (int cpu = 0; cpu < count; ++cpu) {
        const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cpufreq";
        clocks_.emplace_back(folder + "/scaling_cur_freq");
        limits_.emplace_back(folder + "/scaling_max_freq");
    }
}

void Sensors::read_clocks(int64_t * khz) const {
    for (const OpenValue & clock : clocks_) {
        *khz++ = clock.read().value_or(0);
    }
}

Memory Sensors::memory() const {
    char          text[4096];
    const ssize_t size = pread(status_.number, text, sizeof(text) - 1, 0);
    text[size > 0 ? size : 0] = '\0';
    return {status_bytes(text, "\nVmRSS:"), status_bytes(text, "\nVmSwap:")};
}

std::vector<Reading> Sensors::temperatures(bool ask_service) const {
    return zones_.empty() && ask_service ? ask_thermal_service() : zones_.read();
}

State Sensors::state(bool ask_service) const {
    State state;
    state.readings = temperatures(ask_service); // first: it takes long, and the clocks shall be those of now
    state.uptime_seconds = uptime_seconds();
    state.clocks_khz.resize(clocks_.size());
    read_clocks(state.clocks_khz.data());
    for (const OpenValue & limit : limits_) {
        state.limits_khz.push_back(limit.read().value_or(0));
    }
    state.memory_available_bytes = available_memory_bytes();
    return state;
}

} // namespace imp
