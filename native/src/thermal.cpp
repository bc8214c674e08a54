#include "thermal.h"

#include "spawn.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <string_view>

namespace imp {

namespace {

constexpr size_t most_zones = 8;
constexpr double coldest = 0;
constexpr double warmest = 150; // °C; zones that are switched off report values such as -274 or 2000

bool starts_with(std::string_view text, std::string_view start) {
    return text.substr(0, start.size()) == start;
}

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != text.npos;
}

/// The kernel gives thousandths of a degree; some old vendors' zones give whole degrees.
double celsius_of(long long value) {
    return value > 1000 || value < -1000 ? double(value) / 1000 : double(value);
}

/// The order in which kinds of zones are preferred; kinds.size() for one that is of no use.
/// Qualcomm's names are cpu-1-0-0 (a core), cpuss-0 (a cluster), skin-therm, battery, xo-therm (the
/// crystal, beside the processor); a PC's x86_pkg_temp or k10temp.
enum Kind { core, cluster, skin, battery, crystal, kinds };

Kind kind_of(std::string_view type) {
    if (starts_with(type, "cpuss")) return cluster;
    if (starts_with(type, "cpu") || contains(type, "x86_pkg") || contains(type, "k10temp")) return core;
    if (contains(type, "skin")) return skin;
    if (starts_with(type, "battery")) return battery;
    if (starts_with(type, "xo")) return crystal;
    return kinds;
}

struct Candidate {
    int         number;
    std::string type;
    OpenValue   value;
};

std::map<Kind, std::vector<Candidate>> find_candidates() {
    std::map<Kind, std::vector<Candidate>> found;
    // Zones are numbered without gaps.
    for (int number = 0;; ++number) {
        const std::string folder = "/sys/class/thermal/thermal_zone" + std::to_string(number);
        std::ifstream     file(folder + "/type");
        std::string       type;
        if (!(file >> type)) {
            if (access(folder.c_str(), F_OK) != 0) {
                return found;
            }
            continue;
        }
        std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return char(std::tolower(c)); });
        const Kind kind = kind_of(type);
        if (kind == kinds) {
            continue;
        }
        OpenValue       value(folder + "/temp");
        const auto      thousandths = value.read();
        const double    celsius = thousandths ? celsius_of(*thousandths) : coldest;
        if (celsius > coldest && celsius < warmest) {
            found[kind].push_back({number, type, std::move(value)});
        }
    }
}

/// How many of each kind to take: one of each that is not of the processor, so that a phone with a
/// zone for every core still tells about its skin; the rest for the cores, then the clusters.
std::map<Kind, size_t> share(const std::map<Kind, std::vector<Candidate>> & found) {
    std::map<Kind, size_t> taken;
    size_t                 left = most_zones;
    for (const Kind kind : {skin, battery, crystal, core, cluster}) {
        const auto   candidates = found.find(kind);
        const size_t count = candidates == found.end() ? 0 : candidates->second.size();
        taken[kind] = std::min(count, kind == core || kind == cluster ? left : size_t(1));
        left -= taken[kind];
    }
    return taken;
}

} // namespace

OpenValue::OpenValue(const std::string & path)
    : file_(std::make_unique<Descriptor>(open(path.c_str(), O_RDONLY | O_CLOEXEC))) {}

std::optional<long long> OpenValue::read() const {
    char          text[32];
    const ssize_t size = file_->number < 0 ? -1 : pread(file_->number, text, sizeof(text) - 1, 0);
    if (size <= 0) {
        return std::nullopt;
    }
    text[size] = '\0';
    char *          end = nullptr;
    const long long value = std::strtoll(text, &end, 10);
    return end == text ? std::nullopt : std::optional(value);
}

ThermalZones::ThermalZones() {
    std::map<Kind, std::vector<Candidate>> found = find_candidates();
    const std::map<Kind, size_t>           taken = share(found);
    for (int kind = core; kind < kinds; ++kind) {
        std::vector<Candidate> & candidates = found[Kind(kind)];
        const size_t             count = taken.at(Kind(kind));
        for (size_t i = 0; i < count; ++i) {
            // Spread over all of them, because neighbours belong to the same cores.
            Candidate & candidate = candidates[i * candidates.size() / count];
            std::string name = candidate.type;
            for (const Zone & zone : zones_) {
                if (zone.name == name) { // types need not be unique
                    name = candidate.type + "#" + std::to_string(candidate.number);
                    break;
                }
            }
            zones_.push_back({name, kind == core || kind == cluster ? Place::cpu : Place::other,
                              std::move(candidate.value)});
        }
    }
}

double ThermalZones::celsius(size_t zone) const {
    return celsius_of(zones_[zone].value.read().value_or(0));
}

std::vector<Reading> ThermalZones::read() const {
    std::vector<Reading> readings;
    for (size_t i = 0; i < zones_.size(); ++i) {
        readings.push_back({zones_[i].name, zones_[i].place, celsius(i)});
    }
    return readings;
}

std::vector<Reading> parse_thermal_service(const std::string & text) {
    // The lines that matter, of which the first group is what the service remembered and the second
    // what it has just read:
    //     Cached temperatures:
    //         Temperature{mValue=38.9, mType=0, mName=CPU0, mStatus=0}
    //     Current temperatures from HAL:
    //         Temperature{mValue=41.2, mType=0, mName=CPU0, mStatus=0}
    std::vector<Reading>   cached;
    std::vector<Reading>   current;
    std::vector<Reading> * section = nullptr;
    std::string_view       rest = text;
    const auto             field = [](std::string_view line, std::string_view name) {
        const size_t start = line.find(name);
        if (start == line.npos) {
            return std::string();
        }
        line.remove_prefix(start + name.size());
        return std::string(line.substr(0, line.find_first_of(",}")));
    };
    while (!rest.empty()) {
        const size_t           end = rest.find('\n');
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
        if (contains(line, "Temperature{")) {
            const std::string value = field(line, "mValue=");
            const double      celsius = std::strtod(value.c_str(), nullptr);
            const std::string name = field(line, "mName=");
            if (section != nullptr && !name.empty() && celsius > coldest && celsius < warmest) {
                section->push_back({name, field(line, "mType=") == "0" ? Place::cpu : Place::other, celsius});
            }
        } else if (contains(line, "Cached temperatures")) {
            section = &cached;
        } else if (contains(line, "Current temperatures from HAL")) {
            section = &current;
        } else if (contains(line, ":")) { // thresholds and cooling devices come in sections of their own
            section = nullptr;
        }
    }
    return current.empty() ? cached : current;
}

std::vector<Reading> ask_thermal_service() {
    return parse_thermal_service(output_of({"dumpsys", "thermalservice"}, /*seconds*/ 5, /*most*/ 1 << 20).text);
}

std::optional<double> hottest(const std::vector<Reading> & readings) {
    std::optional<double> cpu;
    std::optional<double> any;
    for (const Reading & reading : readings) {
        if (reading.place == Place::cpu) {
            cpu = std::max(cpu.value_or(coldest), reading.celsius);
        }
        any = std::max(any.value_or(coldest), reading.celsius);
    }
    return cpu ? cpu : any;
}

} // namespace imp
