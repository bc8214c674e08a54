#include "supervise.h"

#include "child.h"
#include "clock.h"
#include "plan.h"
#include "plan_log.h"
#include "sensors.h"
#include "signals.h"
#include "spawn.h"

#include <algorithm>

namespace imp {

namespace {

constexpr double look_seconds = 1;         // between two looks at the sensors' files
constexpr double service_look_seconds = 5; // between two starts of `dumpsys`, which warm the phone
constexpr double silent_seconds = 2;       // a rest up to here needs no line
constexpr double report_seconds = 5;
constexpr double note_seconds = 10;        // `dumpsys` gives a service of Android that hangs as long
constexpr size_t note_bytes = 8192;        // the log stays small over hundreds of runs

class Supervisor {
public:
    Supervisor(const Plan & plan, PlanLog & log) : plan_(plan), log_(log) {}

    void carry_out(const std::string & program) {
        for (const Run & run : plan_.runs) {
            if (log_.done(run)) {
                continue;
            }
            if (log_.given_up(run)) {
                log_.skipped(run);
                continue;
            }
            const Rest        pause = rest(run);
            const std::string note = take_note();
            if (signals_.stopped()) {
                break;
            }
            log_.started(run, pause, note);
            const Ending ending = run_child(signals_, {program, run.job, run.out}, plan_.timeout);
            if (ending.stopped) {
                break;
            }
            log_.ended(run, ending);
        }
        if (signals_.stopped()) {
            log_.stopped();
        } else {
            log_.finished();
        }
    }

private:
    /// What the plan's command prints. Half a line is dropped: half a number is another number.
    std::string take_note() const {
        if (plan_.note.empty() || signals_.stopped()) {
            return "";
        }
        Output output = output_of({"sh", "-c", plan_.note}, note_seconds, note_bytes);
        if (!output.whole) {
            output.text.resize(output.text.rfind('\n') + 1); // 0 when there is no line end: npos + 1
        }
        signals_.wait(0, -1); // lets one through that arrived meanwhile
        return output.text;
    }

    /// Waits until the phone is cool or has had its time.
    Rest rest(const Run & run) {
        const Stopwatch clock;
        const double    look = sensors_.zones().empty() ? service_look_seconds : look_seconds;
        double          report = silent_seconds;
        while (true) {
            Rest rest;
            rest.celsius = hottest(sensors_.temperatures(/*ask_service*/ true));
            rest.reached = plan_.rest_celsius == 0 || (rest.celsius && *rest.celsius < plan_.rest_celsius);
            rest.seconds = clock.seconds();
            const double until = rest.reached ? 0 : plan_.rest_seconds;
            if (rest.seconds >= until || signals_.stopped()) {
                return rest;
            }
            if (rest.seconds >= report) {
                log_.resting(run, rest);
                report = rest.seconds + report_seconds;
            }
            const double next = std::min({until, report, rest.seconds + look});
            while (clock.seconds() < next && !signals_.stopped()) {
                signals_.wait(next - clock.seconds(), -1);
            }
        }
    }

    const Plan &  plan_;
    PlanLog &     log_;
    const Signals signals_;
    const Sensors sensors_;
};

} // namespace

void supervise(const std::string & program, const std::string & plan_path, const std::string & log_path) {
    const Plan plan = read_plan(plan_path);
    PlanLog    log(log_path, plan);
    Supervisor(plan, log).carry_out(program);
}

} // namespace imp
