// imp-runner JOB OUT: answers the steps of a job with one loading of the model. job.h describes JOB,
// step.h the lines of OUT, lines.h how OUT is kept. Exit status: 0 when every step has its line,
// 1 an internal error, 2 wrong usage, 3 a job, a model or an output that cannot be used.
// imp-runner --plan PLAN LOG: carries out a plan of such runs, see plan.h and supervise.h.
// imp-runner --bandwidth THREADS [MASK]: how fast memory is copied, see bandwidth.h.
#include "bandwidth.h"
#include "errors.h"
#include "json.h"
#include "log.h"
#include "run.h"
#include "supervise.h"

#include "ggml.h"
#include "llama.h"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>

namespace imp {

namespace {

constexpr int exit_internal = 1;
constexpr int exit_usage = 2;
constexpr int exit_bad_input = 3;

constexpr char usage[] = "usage: imp-runner JOB OUT\n"
                         "       imp-runner --plan PLAN LOG\n"
                         "       imp-runner --bandwidth THREADS [MASK]\n"
                         "       imp-runner --version\n";

std::string version() {
    JsonObject version;
    version.integer("runner", 1);
    version.text("llama_cpp", std::string(llama_version()) + " " + ggml_commit());
    version.text("system_info", llama_print_system_info());
    return version.str();
}

/// False for arguments that mean nothing.
bool run(int argc, char ** argv) {
    const auto is = [&](const char * option) { return std::strcmp(argv[1], option) == 0; };
    if (argc == 2 && is("--version")) {
        std::puts(version().c_str());
    } else if ((argc == 3 || argc == 4) && is("--bandwidth")) {
        std::puts(measure_bandwidth(argv[2], argc == 4 ? argv[3] : "").c_str());
    } else if (argc == 4 && is("--plan")) {
        supervise(argv[0], argv[2], argv[3]);
    } else if (argc == 3 && argv[1][0] != '-') {
        run_job(argv[1], argv[2]);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char ** argv) {
    capture_logs();
    // A file that grows beyond the limit shall be an error with a sentence, like a full disk.
    std::signal(SIGXFSZ, SIG_IGN);
    int status = exit_bad_input;
    try {
        if (run(argc, argv)) {
            return 0;
        }
        std::fputs(usage, stderr);
        status = exit_usage;
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
