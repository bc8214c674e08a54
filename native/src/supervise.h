#pragma once

#include <string>

namespace imp {

/// Carries out the plan, each run in a fresh process of `program` (this program, as it was called),
/// and keeps a log; plan.h and plan_log.h describe both. Started anew on the same files, it goes on
/// where it was: runs that ended with exit status 0 are not run again. SIGTERM and SIGINT end it
/// together with the run that is at work. Where no sensor can be read, a rest for temperature takes
/// as long as it may. Throws RunError.
void supervise(const std::string & program, const std::string & plan_path, const std::string & log_path);

} // namespace imp
