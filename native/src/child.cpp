#include "child.h"

#include "argv.h"
#include "clock.h"
#include "errors.h"
#include "files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace imp {

namespace {

constexpr size_t output_kept = 2000; // bytes
constexpr int    exit_no_program = 127;

/// What the child does between fork and exec.
[[noreturn]] void become(const Signals & signals, char * const * argv, int output, pid_t parent) {
    setpgid(0, 0);
    // Without its supervisor a run would go on unseen, and its successor would find the results locked.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) { // which died before it was to tell
        _exit(exit_no_program);
    }
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    signals.restore();
    execvp(argv[0], argv);
    const std::string sentence = "imp-runner: cannot start " + std::string(argv[0]) + ": " + system_error() + "\n";
    if (write(STDERR_FILENO, sentence.data(), sentence.size()) < 0) {
        // Nobody is left to tell.
    }
    _exit(exit_no_program);
}

/// Adds what can be read without waiting, and keeps the end of it. False when there will be no more.
bool drain(int file, std::string & text) {
    char    block[4096];
    ssize_t size;
    while ((size = read(file, block, sizeof(block))) > 0) {
        text.append(block, size_t(size));
        if (text.size() > output_kept) {
            text.erase(0, text.size() - output_kept);
        }
    }
    return size < 0 && (errno == EAGAIN || errno == EINTR);
}

} // namespace

Ending run_child(const Signals & signals, const std::vector<std::string> & argv, double timeout) {
    const std::vector<char *> arguments = system_argv(argv);
    // A pipe and not a file: the reason may be that the disk is full.
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        throw RunError("cannot make a pipe: " + system_error());
    }
    const Descriptor output(ends[0]);
    fcntl(output.number, F_SETFL, O_NONBLOCK);

    Ending          ending;
    const Stopwatch clock;
    const pid_t     parent = getpid();
    const pid_t     child = fork();
    if (child == 0) {
        become(signals, arguments.data(), ends[1], parent);
    }
    const std::string reason = system_error();
    close(ends[1]);
    if (child < 0) {
        throw RunError("cannot start a process: " + reason);
    }
    bool  more = true;
    int   status = 0;
    pid_t ended = 0;
    while (ended == 0) {
        if (!ending.timed_out && !ending.stopped && (signals.stopped() || clock.seconds() >= timeout)) {
            (signals.stopped() ? ending.stopped : ending.timed_out) = true;
            kill(-child, SIGKILL);
            kill(child, SIGKILL); // its group does not exist before it made it
        }
        signals.wait(ending.timed_out || ending.stopped ? 1 : timeout - clock.seconds(), more ? output.number : -1);
        more = more && drain(output.number, ending.output);
        ended = waitpid(child, &status, WNOHANG);
    }
    ending.seconds = clock.seconds();
    if (more) {
        drain(output.number, ending.output);
    }
    if (ended == child && WIFEXITED(status)) {
        ending.exit = WEXITSTATUS(status);
    } else if (ended == child && WIFSIGNALED(status)) {
        ending.signal = WTERMSIG(status);
    }
    return ending;
}

} // namespace imp
