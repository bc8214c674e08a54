#pragma once

#include <csignal>

namespace imp {

/// From its construction on, SIGCHLD, SIGTERM and SIGINT arrive only while wait() waits, so that none
/// can slip in between a look at what has happened and the waiting for more. SIGHUP and SIGPIPE, which
/// a lost connection may send, are ignored. For one object in a process of one thread.
class Signals {
public:
    Signals();

    /// Waits for a signal, for something to read from `file` (-1 for none), or until `seconds` are
    /// over, whichever comes first.
    void wait(double seconds, int file) const;

    /// Whether the process was asked to end.
    bool stopped() const;

    /// Gives the calling process, a child that is about to become another program, back what was
    /// blocked.
    void restore() const { sigprocmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
};

} // namespace imp
