#include "signals.h"

#include <algorithm>
#include <ctime>
#include <poll.h>

namespace imp {

namespace {

volatile std::sig_atomic_t asked_to_stop = 0;

void on_signal(int number) {
    if (number != SIGCHLD) {
        asked_to_stop = 1;
    }
}

// A child that ends between two waits is noticed by its signal, and by this where an emulator loses it.
constexpr double longest_wait = 1;

} // namespace

Signals::Signals() {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    sigset_t blocked;
    sigemptyset(&blocked);
    for (const int number : {SIGCHLD, SIGTERM, SIGINT}) {
        sigaddset(&blocked, number);
        sigaction(number, &action, nullptr);
    }
    sigprocmask(SIG_BLOCK, &blocked, &before_);
    std::signal(SIGHUP, SIG_IGN);
    std::signal(SIGPIPE, SIG_IGN);
}

void Signals::wait(double seconds, int file) const {
    const double limit = std::clamp(seconds, 0.0, longest_wait);
    timespec     left = {};
    left.tv_nsec = long(limit * 1e9) % 1000000000;
    left.tv_sec = time_t(limit);
    pollfd input = {file, POLLIN, 0};
    sigset_t open = before_;
    for (const int number : {SIGCHLD, SIGTERM, SIGINT}) {
        sigdelset(&open, number);
    }
    ppoll(&input, file < 0 ? 0 : 1, &left, &open);
}

bool Signals::stopped() const {
    return asked_to_stop != 0;
}

} // namespace imp
