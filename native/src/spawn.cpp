#include "spawn.h"

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

std::string output_of(const std::vector<std::string> & argv, double seconds) {
    std::vector<char *> arguments;
    for (const std::string & argument : argv) {
        arguments.push_back(const_cast<char *>(argument.c_str()));
    }
    arguments.push_back(nullptr);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return "";
    }
    const Descriptor           output(ends[0]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0); // so that it can be killed with all that it starts
    // Not fork(): every page of the model's buffers that the process writes to would then fault once
    // more, during the step that is measured next.
    pid_t     child = 0;
    const int refused = posix_spawnp(&child, arguments[0], &actions, &attributes, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(ends[1]);
    if (refused != 0) {
        return "";
    }
    std::string     text;
    char            block[4096];
    const Stopwatch clock;
    while (true) {
        pollfd    wait = {output.number, POLLIN, 0};
        const int left = int(std::max(seconds - clock.seconds(), 0.0) * 1000);
        const int ready = poll(&wait, 1, left);
        if (ready < 0 && errno == EINTR) {
            continue;
        }
        const ssize_t size = ready > 0 ? read(output.number, block, sizeof(block)) : 0;
        if (size <= 0) {
            break;
        }
        text.append(block, size_t(size));
    }
    // It has closed its stdout and ends in a moment, or it took too long.
    while (waitpid(child, nullptr, WNOHANG) == 0) {
        if (clock.seconds() >= seconds) {
            kill(-child, SIGKILL);
            waitpid(child, nullptr, 0);
            break;
        }
        poll(nullptr, 0, 1);
    }
    return text;
}

} // namespace imp
