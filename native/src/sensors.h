// What the machine tells about itself while it is measured.
#pragma once

#include "thermal.h"

#include <cstdint>
#include <string>
#include <vector>

namespace imp {

/// Seconds since the machine started, those it slept included.
double uptime_seconds();

/// The machine at one moment. As JSON:
///     {"uptime_seconds": 0, "clocks_khz": [..], "limits_khz": [..], "celsius": {"cpu-0-0": 0, ..},
///      "memory_available_bytes": 0}
struct State {
    double               uptime_seconds;
    std::vector<int64_t> clocks_khz; // per core; 0 for one that is offline or does not tell
    std::vector<int64_t> limits_khz; // likewise, what the system allows each core for now
    std::vector<Reading> readings;   // empty where no sensor may be read
    int64_t              memory_available_bytes;

    std::string json() const;
};

/// The process's own memory.
struct Memory {
    int64_t rss_bytes;
    int64_t swap_bytes;
};

/// Everything that is opened once and read often. Reads nothing but files of /sys and /proc, except
/// where it says otherwise.
class Sensors {
public:
    Sensors();

    int                  cores() const { return int(clocks_.size()); }
    void                 read_clocks(int64_t * khz) const; // one per core
    const ThermalZones & zones() const { return zones_; }
    Memory               memory() const;

    /// The temperatures by zone or, where the zones may not be read and `ask_service` is set, from
    /// Android's thermal service, which starts a program and takes tens of milliseconds.
    std::vector<Reading> temperatures(bool ask_service) const;

    State state(bool ask_service) const;

private:
    std::vector<OpenValue> clocks_;
    std::vector<OpenValue> limits_;
    ThermalZones           zones_;
    Descriptor             status_;
};

} // namespace imp
