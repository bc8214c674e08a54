#include "run.h"

#include "clock.h"
#include "errors.h"
#include "job.h"
#include "log.h"
#include "picture.h"
#include "results.h"
#include "step.h"
#include "vision.h"

#include <algorithm>
#include <string>
#include <vector>

namespace imp {

namespace {

constexpr double longest_unsynced = 1; // seconds

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

/// The line of results for `step`, whether it succeeds or not; `failed` becomes true when not.
std::string line_for(const Model & model, llama_context * context, const Sensors & sensors, const Job & job,
                     const Step & step, int limit, double load_seconds, Prefix & prefix, bool & failed) {
    forget_logs();
    try {
        return run_step(model, context, sensors, job, step, limit, load_seconds, prefix);
    } catch (const StepError & error) {
        prefix = {};
        failed = true;
        return error_line(step, error.kind, error.what());
    } catch (const std::exception & error) { // an image that exhausts the memory must not end the run
        prefix = {};
        failed = true;
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
    Importance              importance;
    const bool              look = !job.imatrix.empty();
    const llama_context_ptr context =
        open_context(model, job, need.positions, need.visual_tokens, look ? &importance : nullptr);
    if (job.warmup) {
        try {
            warm_up(model, context.get());
        } catch (const StepError & error) {
            throw ModelError(std::string("the model cannot be warmed up: ") + error.what());
        }
        importance.forget();
    }
    Prefix prefix;
    if (job.warmup && job.keep_text) {
        try {
            decode_first_text(model, context.get(), *steps.front(), limit, prefix);
        } catch (const StepError &) { // which the step meets again, and says in its own line
            prefix = {};
        }
    }
    const double  load_seconds = load.seconds();
    const Sensors sensors;
    Stopwatch     unsynced;
    bool          failed = false;
    for (const Step * step : steps) {
        if (job.wait > 0 && !step->image.empty() && !(job.reuse && prefix.is_of(*step))) {
            wait_for_picture(step->image, job.wait);
        }
        results.add(line_for(model, context.get(), sensors, job, *step, limit, load_seconds, prefix, failed));
        // Each takes the disk some milliseconds, as short answers take the model. What is not synced is
        // lost with the power only, and then asked again.
        if (unsynced.seconds() >= longest_unsynced) {
            results.sync();
            unsynced = {};
        }
    }
    results.sync();
    if (look && !failed) { // sums over a part of the steps would look like those over all
        importance.write(job.imatrix);
    }
}

} // namespace

void run_job(const char * job_path, const char * results_path) {
    const Job                 job = read_job(job_path);
    Results                   results(results_path);
    std::vector<const Step *> steps;
    for (const Step & step : job.steps) {
        if (!job.imatrix.empty() || !results.has(step.id)) {
            steps.push_back(&step);
        }
    }
    if (steps.empty()) {
        return;
    }
    try {
        run_steps(job, steps, results);
    } catch (const ModelError & error) {
        // Whoever looks for a step finds the reason there, also among runs that share the results.
        for (const Step * step : steps) {
            results.add(error_line(*step, "model", error.what()));
        }
        results.sync();
        throw;
    }
}

} // namespace imp
