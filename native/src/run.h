#pragma once

namespace imp {

/// Answers the steps of the job file that `results_path` has no line of status "ok" for, with one
/// loading of the model. Throws RunError or ModelError.
void run_job(const char * job_path, const char * results_path);

} // namespace imp
