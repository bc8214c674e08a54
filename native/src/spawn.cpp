#include "spawn.h"

#include "argv.h"
#include "clock.h"
#include "files.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>

extern char ** environ;

namespace imp {

namespace {

constexpr int look_milliseconds = 5; // between two looks at whether the program has ended

/// Starts the program in a process group of its own with `output` as its stdout; 0 on failure.
pid_t start(const std::vector<std::string> & argv, int output) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0); // so that it can be killed with all that it starts
    // The supervisor blocks and ignores signals; a shell that cannot get SIGCHLD waits for ever.
    sigset_t none;
    sigset_t ignored;
    sigemptyset(&none);
    sigemptyset(&ignored);
    for (const int number : {SIGHUP, SIGPIPE, SIGXFSZ}) {
        sigaddset(&ignored, number);
    }
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &ignored);
    // Not fork(): every page of the model's buffers that the process writes to would then fault once
    // more, during the step that is measured next.
    const std::vector<char *> arguments = system_argv(argv);
    pid_t                     child = 0;
    const int refused = posix_spawnp(&child, arguments[0], &actions, &attributes, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return refused == 0 ? child : 0;
}

/// Whether the child has ended. It is not waited for yet, so that its group keeps its number.
bool has_ended(pid_t child) {
    siginfo_t state = {};
    return waitid(P_PID, id_t(child), &state, WEXITED | WNOHANG | WNOWAIT) != 0 || state.si_pid == child;
}

/// Whether a signal that shall end this process waits to be let through, as Signals does.
bool asked_to_end() {
    sigset_t pending;
    return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

/// Reads once, without waiting, and keeps the first `most` bytes of all that was read. What is beyond
/// is dropped: the program would wait for ever if nobody read it. As read() returns.
ssize_t take(const Descriptor & file, std::string & text, size_t most) {
    char          block[1 << 14];
    const ssize_t size = read(file.number, block, sizeof(block));
    if (size > 0) {
        text.append(block, std::min(size_t(size), most - text.size()));
    }
    return size;
}

} // namespace

Output output_of(const std::vector<std::string> & argv, double seconds, size_t most) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return {};
    }
    const Descriptor output(ends[0]);
    fcntl(output.number, F_SETFL, O_NONBLOCK);
    const Stopwatch clock;
    const pid_t     child = start(argv, ends[1]);
    close(ends[1]);
    if (child == 0) {
        return {};
    }
    Output result;
    bool   more = true;
    bool   ended = false;
    while (!ended && clock.seconds() < seconds && !asked_to_end()) {
        // Its end alone does not close the pipe: something that it started may hold it open.
        pollfd wait = {more ? output.number : -1, POLLIN, 0};
        poll(&wait, 1, look_milliseconds);
        ended = has_ended(child);
        more = more && take(output, result.text, most) != 0;
    }
    kill(-child, SIGKILL);
    while (result.text.size() < most && take(output, result.text, most) > 0) {
        // What it printed just before its end.
    }
    int status = 0;
    const bool exited = waitpid(child, &status, 0) == child && ended && WIFEXITED(status);
    result.whole = exited && result.text.size() < most;
    return result;
}

} // namespace imp
