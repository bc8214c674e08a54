#include "plan_log.h"

#include "errors.h"
#include "json.h"
#include "sensors.h"

#include <fcntl.h>

namespace imp {

namespace {

constexpr int    failures_allowed = 2;
constexpr size_t reserve_bytes = 1 << 16; // many lines

std::map<std::string, std::string> groups_of(const Plan & plan) {
    std::map<std::string, std::string> groups;
    for (const Run & run : plan.runs) {
        groups[json_string(run.id)] = run.group;
    }
    return groups;
}

bool take(std::string_view & text, std::string_view start) {
    if (text.substr(0, start.size()) != start) {
        return false;
    }
    text.remove_prefix(start.size());
    return true;
}

std::string integer_or_null(const std::optional<int> & value) {
    return value ? std::to_string(*value) : "null";
}

void add_celsius(JsonObject & line, const Rest & rest) {
    if (rest.celsius) {
        line.number("celsius", *rest.celsius);
    } else {
        line.raw("celsius", "null");
    }
}

JsonObject about(const Run & run, const char * status) {
    JsonObject line;
    line.text("run", run.id).text("status", status);
    return line;
}

} // namespace

PlanLog::PlanLog(const std::string & path, const Plan & plan)
    : reserve_(path + ".reserve"), groups_(groups_of(plan)),
      lines_(path, "log", [this](std::string_view line) { read(line); }) {
    // The full disk that a run ends with shall not keep the log from saying so.
    const Descriptor file(open(reserve_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    const std::string zeros(reserve_bytes, '\0');
    if (file.number >= 0 && write_all(file, zeros.data(), zeros.size())) {
        fsync(file.number);
    }
}

PlanLog::~PlanLog() {
    unlink(reserve_.c_str());
}

/// Notes what `line` says of a run of this plan; it has the very form that this class writes.
void PlanLog::read(std::string_view line) {
    const std::string id(take_string(line, "{\"run\": "));
    const auto        group = groups_.find(id);
    if (group == groups_.end()) {
        return;
    }
    Last & last = last_[id];
    last = Last::other;
    if (take(line, ", \"status\": \"ended\", \"exit\": ")) {
        last = Last::failed;
        if (take(line, "0,")) {
            last = Last::done;
        } else if (take(line, "3,") || take(line, "null,")) { // null: ended by a signal, ours for a timeout too
            ++failures_[group->second];
        }
    } else if (take(line, ", \"status\": \"skipped\"")) {
        last = Last::skipped;
    }
}

void PlanLog::append(const std::string & line) {
    with_reserve([&] { lines_.add(line); });
    read(line);
    with_reserve([&] { lines_.sync(); }); // the line itself stays, and is not added again
}

/// Does it once more, with the reserve given up, when it throws.
void PlanLog::with_reserve(const std::function<void()> & write) {
    try {
        write();
    } catch (const RunError &) {
        if (unlink(reserve_.c_str()) != 0) {
            throw;
        }
        write();
    }
}

bool PlanLog::done(const Run & run) const {
    const auto last = last_.find(json_string(run.id));
    return last != last_.end() && last->second == Last::done;
}

bool PlanLog::given_up(const Run & run) const {
    const auto failures = failures_.find(run.group);
    return failures != failures_.end() && failures->second >= failures_allowed;
}

void PlanLog::resting(const Run & run, const Rest & rest) {
    JsonObject line = about(run, "resting");
    add_celsius(line, rest);
    append(line.number("uptime", uptime_seconds()).str());
}

void PlanLog::started(const Run & run, const Rest & rest, const std::string & note) {
    JsonObject line = about(run, "started");
    line.number("uptime", uptime_seconds()).number("rested_seconds", rest.seconds);
    line.boolean("rest_reached", rest.reached);
    add_celsius(line, rest);
    append(line.text("note", note).str());
}

void PlanLog::ended(const Run & run, const Ending & ending) {
    JsonObject line = about(run, "ended");
    line.raw("exit", integer_or_null(ending.exit)).raw("signal", integer_or_null(ending.signal));
    line.boolean("timed_out", ending.timed_out).number("uptime", uptime_seconds());
    line.number("seconds", ending.seconds).text("stderr", ending.output);
    append(line.str());
}

void PlanLog::skipped(const Run & run) {
    const Last last = last_[json_string(run.id)];
    if (last != Last::skipped && last != Last::failed) {
        append(about(run, "skipped").str());
    }
}

void PlanLog::finished() {
    append(JsonObject().text("status", "finished").str());
}

void PlanLog::stopped() {
    append(JsonObject().text("status", "stopped").str());
}

} // namespace imp
