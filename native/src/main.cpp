// imp-runner JOB OUT: answers the steps of a job with one loading of the model. job.h describes JOB,
// step.h the lines of OUT, results.h how OUT is kept. Exit status: 0 when every step has its line,
// 1 an internal error, 2 wrong usage, 3 a job, a model or an output that cannot be used.
#include "clock.h"
#include "errors.h"
#include "job.h"
#include "json.h"
#include "log.h"
#include "results.h"
#include "step.h"
#include "vision.h"

#include "ggml.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace imp {

namespace {

constexpr int exit_internal = 1;
constexpr int exit_usage = 2;
constexpr int exit_bad_input = 3;

void print_version() {
    JsonObject version;
    version.integer("runner", 1);
    version.text("llama_cpp", std::string(llama_version()) + " " + ggml_commit());
    version.text("system_info", llama_print_system_info());
    std::puts(version.str().c_str());
}

/// What the context must hold.
struct Need {
    int positions = 1;
    int visual_tokens = 0; // of one image
};

/// The need of the largest of `steps` that fits within `limit` positions. What does not fit, or
/// cannot be counted, says so in its own line later.
Need largest_fitting(const Model & model, const std::vector<const Step *> & steps, int limit) {
    Need need;
    for (const Step * step : steps) {
        try {
            const int positions = count_positions(model, *step);
            if (positions <= limit) {
                need.positions = std::max(need.positions, positions);
                need.visual_tokens = step->image.empty() ? need.visual_tokens : count_visual_tokens(model);
            }
        } catch (const StepError &) {
            continue;
        }
    }
    return need;
}

/// The line of results for `step`, whether it succeeds or not.
std::string line_for(const Model & model, llama_context * context, const Job & job, const Step & step, int limit,
                     double load_seconds) {
    forget_logs();
    try {
        return run_step(model, context, job, step, limit, load_seconds);
    } catch (const StepError & error) {
        return error_line(step, error.kind, error.what());
    } catch (const std::exception & error) { // an image that exhausts the memory must not end the run
        return error_line(step, "decode", error.what());
    }
}

void run_steps(const Job & job, const std::vector<const Step *> & steps, Results & results) {
    const Stopwatch load;
    const Model     model = load_model(job);
    const int       limit = position_limit(model, job);
    Need            need = largest_fitting(model, steps, limit);
    if (job.context > 0) {
        need.positions = limit;
    }
    const llama_context_ptr context = open_context(model, job, need.positions, need.visual_tokens);
    const double            load_seconds = load.seconds();
    for (const Step * step : steps) {
        results.append(line_for(model, context.get(), job, *step, limit, load_seconds));
    }
}

void run(const char * job_path, const char * results_path) {
    const Job                 job = read_job(job_path);
    Results                   results(results_path);
    std::vector<const Step *> steps;
    for (const Step & step : job.steps) {
        if (!results.has(step.id)) {
            steps.push_back(&step);
        }
    }
    if (steps.empty()) {
        return;
    }
    try {
        run_steps(job, steps, results);
    } catch (const ModelError & error) {
        JsonObject line;
        line.text("status", "error").text("kind", "model").text("message", error.what());
        results.append(line.str());
        throw;
    }
}

int main(int argc, char ** argv) {
    capture_logs();
    if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
        print_version();
        return 0;
    }
    if (argc != 3) {
        std::fputs("usage: imp-runner JOB OUT\n       imp-runner --version\n", stderr);
        return exit_usage;
    }
    int status = exit_bad_input;
    try {
        run(argv[1], argv[2]);
        return 0;
    } catch (const RunError & error) {
        std::fprintf(stderr, "imp-runner: %s\n", error.what());
    } catch (const ModelError & error) {
        std::fprintf(stderr, "imp-runner: %s\n", error.what());
    } catch (const std::exception & error) {
        std::fprintf(stderr, "imp-runner: internal error: %s\n", error.what());
        status = exit_internal;
    }
    return status;
}

} // namespace

} // namespace imp

int main(int argc, char ** argv) {
    return imp::main(argc, argv);
}
