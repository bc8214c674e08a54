#include "bandwidth.h"

#include "clock.h"
#include "cpus.h"
#include "errors.h"
#include "json.h"
#include "memory.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace imp {

namespace {

using Clock = std::chrono::steady_clock;

// Far more than the 8 to 16 MiB of a phone's last cache, or the hundreds of a server's.
constexpr int64_t source_bytes = 256 << 20;
constexpr int64_t least_bytes = 16 << 20;
constexpr double  whole_seconds = 1;
constexpr int     fewest_rounds = 3;
constexpr int     most_rounds = 1000;

// Read anew for each call, so that no compiler can tell that nobody looks at what was copied: clang
// leaves the copy out otherwise, and the buffers with it.
void * (*volatile copy_bytes)(void *, const void *, size_t) = std::memcpy;

/// When one thread began and ended its part of a round.
struct Span {
    Clock::time_point begin;
    Clock::time_point end;
};

/// What the threads share. They wait for each other by yielding, which is quicker than sleeping.
struct Test {
    int              threads;
    size_t           bytes; // per thread
    std::atomic<int> arrived{0};
    std::atomic<int> failed{0};
    std::atomic<int> last_round{most_rounds};

    /// Waits until all threads have called this as often as this one, which is `times` times.
    void meet(int times) {
        arrived.fetch_add(1);
        while (arrived.load() < times * threads) {
            std::this_thread::yield();
        }
    }
};

void copy(Test & test, bool leads, std::vector<Span> & spans) {
    // Not initialised: the thread that copies a page is the one that touches it first.
    const std::unique_ptr<char[]> source(new (std::nothrow) char[test.bytes]);
    const std::unique_ptr<char[]> target(new (std::nothrow) char[test.bytes]);
    if (source == nullptr || target == nullptr) {
        test.failed = 1;
    } else {
        std::memset(source.get(), 1, test.bytes);
        std::memset(target.get(), 2, test.bytes);
    }
    int meetings = 0;
    test.meet(++meetings);
    if (test.failed != 0) {
        return;
    }
    const Stopwatch clock;
    for (int round = 1; round <= test.last_round; ++round) {
        test.meet(++meetings);
        Span span = {Clock::now(), {}};
        copy_bytes(target.get(), source.get(), test.bytes);
        span.end = Clock::now();
        spans.push_back(span);
        if (leads && round >= fewest_rounds && clock.seconds() > whole_seconds) {
            test.last_round = round;
        }
        test.meet(++meetings); // now all know whether this was the last
    }
}

/// From the first thread's begin to the last one's end, of the quickest round.
double best_seconds(const std::vector<std::vector<Span>> & spans) {
    double best = 0;
    for (size_t round = 0; round < spans[0].size(); ++round) {
        Span whole = spans[0][round];
        for (const std::vector<Span> & thread : spans) {
            whole.begin = std::min(whole.begin, thread[round].begin);
            whole.end = std::max(whole.end, thread[round].end);
        }
        const double seconds = std::chrono::duration<double>(whole.end - whole.begin).count();
        best = round == 0 ? seconds : std::min(best, seconds);
    }
    return best;
}

int parse_threads(const std::string & text) {
    if (text.empty() || text.size() > 4 || text.find_first_not_of("0123456789") != text.npos) {
        throw RunError("the number of threads is `" + text + "`, which is not a whole number");
    }
    return std::stoi(text);
}

} // namespace

std::string measure_bandwidth(const std::string & threads, const std::string & mask) {
    const int wanted = parse_threads(threads);
    if (!mask.empty()) {
        const std::optional<cpu_set_t> cpus = parse_cpus(mask);
        if (!cpus) {
            throw RunError("the CPU mask is `" + mask + "`, which is not 1 to 16 hexadecimal digits with a CPU among them");
        }
        run_on(*cpus);
    }
    const cpu_set_t cpus = allowed_cpus();
    const int       most = std::max(CPU_COUNT(&cpus), 1);
    const int       count = wanted > 0 ? std::min(wanted, most) : most;

    // Both buffers together take at most half of what is free.
    const int64_t available = available_memory_bytes();
    const int64_t bytes = available > 0 ? std::clamp(available / 4, least_bytes, source_bytes) : source_bytes;

    Test test;
    test.threads = count;
    test.bytes = size_t(bytes / count);
    std::vector<std::vector<Span>> spans(static_cast<size_t>(count));
    std::vector<std::thread>       others;
    for (int i = 1; i < count; ++i) {
        others.emplace_back(copy, std::ref(test), false, std::ref(spans[size_t(i)]));
    }
    copy(test, true, spans[0]);
    for (std::thread & other : others) {
        other.join();
    }
    if (test.failed != 0) {
        throw RunError("there is not enough free memory to measure its bandwidth");
    }
    const double seconds = best_seconds(spans);
    JsonObject   result;
    result.integer("threads", count).text("cpu_mask", cpus_text(cpus));
    result.number("bytes_per_second", 2 * double(test.bytes) * count / seconds);
    return result.str();
}

} // namespace imp
