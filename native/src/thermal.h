#pragma once

#include "files.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace imp {

/// What a sensor says of: the processor, or something else on the board.
enum class Place { cpu, other };

struct Reading {
    std::string name;
    Place       place;
    double      celsius;
};

/// One file of the system that is opened once and read often.
class OpenValue {
public:
    explicit OpenValue(const std::string & path);

    /// The whole number in it; nothing where it cannot be read.
    std::optional<long long> read() const;

private:
    std::unique_ptr<Descriptor> file_; // not a Descriptor, so that values can be moved
};

/// The thermal zones of /sys/class/thermal that are worth following: at most 8 readable ones. On an
/// Android phone SELinux may deny all of them.
class ThermalZones {
public:
    ThermalZones();

    bool   empty() const { return zones_.empty(); }
    size_t size() const { return zones_.size(); }

    /// One zone, by its place in the list of all; 0 when it cannot be read any more.
    double celsius(size_t zone) const;

    /// Every zone, always in the same order.
    std::vector<Reading> read() const;

private:
    struct Zone {
        std::string name;
        Place       place;
        OpenValue   value;
    };
    std::vector<Zone> zones_;
};

/// The temperatures that Android's thermal service knows, by running `dumpsys thermalservice`, which
/// takes tens of milliseconds. Empty where there is no such service.
std::vector<Reading> ask_thermal_service();

/// The temperatures in what `dumpsys thermalservice` printed: those that it has just asked of the
/// hardware, or, without any, the cached ones.
std::vector<Reading> parse_thermal_service(const std::string & text);

/// The hottest reading of the processor, or, where none is of the processor, of all.
std::optional<double> hottest(const std::vector<Reading> & readings);

} // namespace imp
