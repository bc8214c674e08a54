// The plan: runs of this program, one after the other, that `imp-runner --plan PLAN LOG` carries out
// with no host attached.
//
// Text as pairs.h describes it. The first line is `imp-plan 1`. Then come the keys of the plan, then
// the runs, each of which begins with the line `run`.
//
//     imp-plan 1
//     timeout 900                 seconds that one run may take; then it is killed and counts as hung
//     rest_celsius 40             before a run, wait until the processor is below; 0 or left out: do not
//     rest_seconds 120            but no longer than this
//     note dumpsys battery        optional: a command whose output goes into the log before every run
//     run
//     id 0-4-196                  unique; names the run in the log
//     group 4-196                 runs that fail together: the files and settings that they have in common
//     job job-4-196-0.txt         the JOB of the run
//     out results.jsonl           its OUT; several runs may share one
//
// `timeout`, `rest_celsius` and `rest_seconds` may have decimal fractions. `note` is for what the
// host wants to know about the state of the phone: `sh -c` runs it between the rest and the start of
// a run, for at most 10 s, and what it leaves behind is killed. What it prints on stdout counts,
// whatever its exit status, so that one service that fails does not hide the others; when it takes
// too long or prints more than 8 KiB, the whole lines up to there.
#pragma once

#include <string>
#include <vector>

namespace imp {

struct Run {
    std::string id;
    std::string group;
    std::string job;
    std::string out;
};

struct Plan {
    double           timeout = 0; // seconds
    double           rest_celsius = 0;
    double           rest_seconds = 0;
    std::string      note; // empty: none
    std::vector<Run> runs;
};

/// Reads a plan file.
/// Throws RunError, naming the file and the line, for anything unknown, missing, repeated or malformed.
Plan read_plan(const std::string & path);

} // namespace imp
