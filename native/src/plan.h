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
//     pause_seconds 0             wait at least so long before every run but the first
//     run
//     id 0-4-196                  unique; names the run in the log
//     group 4-196                 runs that fail together: the files and settings that they have in common
//     job job-4-196-0.txt         the JOB of the run
//     out results.jsonl           its OUT; several runs may share one
//
// `rest_celsius`, `rest_seconds` and `pause_seconds` may have fractions.
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
    int              timeout = 0; // seconds
    double           rest_celsius = 0;
    double           rest_seconds = 0;
    double           pause_seconds = 0;
    std::vector<Run> runs;
};

/// Reads a plan file.
/// Throws RunError, naming the file and the line, for anything unknown, missing, repeated or malformed.
Plan read_plan(const std::string & path);

} // namespace imp
