#pragma once

#include "child.h"
#include "lines.h"
#include "plan.h"

#include <functional>
#include <map>
#include <optional>
#include <string>

namespace imp {

/// How the rest before a run went. `celsius` is the hottest processor sensor at its end.
struct Rest {
    double                seconds = 0;
    bool                  reached = true; // cool enough, or nothing was asked for
    std::optional<double> celsius;
};

/// The LOG of a plan, one line per event, in the order in which they happened:
///     {"run": id, "status": "resting", "celsius": 0|null, "uptime": 0}             every 5 s of a long rest
///     {"run": id, "status": "started", "uptime": 0, "rested_seconds": 0, "rest_reached": true, "celsius": 0|null,
///      "note": "what the plan's command printed, or nothing"}
///     {"run": id, "status": "ended", "exit": 0|null, "signal": 9|null, "timed_out": false, "uptime": 0,
///      "seconds": 0, "stderr": "its last 2000 bytes"}
///     {"run": id, "status": "skipped"}                                             its group was given up
///     {"status": "finished"}                                                       every run has its end
///     {"status": "stopped"}                                                        by SIGTERM or SIGINT
/// A run that started and has no end was cut off together with its supervisor.
class PlanLog {
public:
    /// Opens the log as Lines does, and reads how far the plan has come. Throws RunError.
    PlanLog(const std::string & path, const Plan & plan);
    ~PlanLog();
    PlanLog(const PlanLog &) = delete;
    PlanLog & operator=(const PlanLog &) = delete;

    /// Whether the last word on the run is that it ended with exit status 0.
    bool done(const Run & run) const;

    /// Whether two runs of the run's group ended by a signal, a timeout or exit status 3.
    bool given_up(const Run & run) const;

    // All of these throw RunError.
    void resting(const Run & run, const Rest & rest);
    void started(const Run & run, const Rest & rest, const std::string & note);
    void ended(const Run & run, const Ending & ending);
    void skipped(const Run & run); // nothing where the last word on the run is its end or this
    void finished();
    void stopped();

private:
    enum class Last { other, done, failed, skipped };

    void read(std::string_view line);
    void append(const std::string & line);
    void with_reserve(const std::function<void()> & write);

    const std::string                  reserve_;
    std::map<std::string, std::string> groups_;   // by id as JSON
    std::map<std::string, Last>        last_;     // likewise
    std::map<std::string, int>         failures_; // by group
    Lines                              lines_;
};

} // namespace imp
