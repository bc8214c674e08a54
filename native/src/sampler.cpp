#include "sampler.h"

#include "json.h"

#include <algorithm>

namespace imp {

namespace {

enum Phase { starting, waiting, sampling, finished };

constexpr size_t moments_expected = 1024; // so that hardly a step makes the columns grow

} // namespace

std::string Trace::json() const {
    std::string  rows = "[";
    const size_t cores = seconds.empty() ? 0 : clocks_khz.size() / seconds.size();
    for (size_t i = 0; i < seconds.size(); ++i) {
        const auto row = clocks_khz.begin() + ptrdiff_t(i * cores);
        rows += (i == 0 ? "" : ", ") + json_array(std::vector<int64_t>(row, row + ptrdiff_t(cores)));
    }
    JsonObject columns;
    for (size_t i = 0; i < zones.size(); ++i) {
        columns.raw(zones[i], json_array(celsius[i]));
    }
    JsonObject trace;
    trace.raw("seconds", json_array(seconds)).raw("clocks_khz", rows + "]");
    trace.raw("celsius", columns.str()).raw("rss_bytes", json_array(rss_bytes));
    return trace.str();
}

Sampler::Sampler(const Sensors & sensors, int milliseconds, const cpu_set_t & measured)
    : sensors_(sensors), interval_(milliseconds), phase_(starting) {
    if (milliseconds == 0) {
        return;
    }
    for (const Reading & reading : sensors.zones().read()) {
        trace_.zones.push_back(reading.name);
    }
    trace_.celsius.resize(trace_.zones.size());
    trace_.seconds.reserve(moments_expected);
    trace_.rss_bytes.reserve(moments_expected);
    trace_.clocks_khz.reserve(moments_expected * size_t(sensors.cores()));
    thread_ = std::thread(&Sampler::work, this, measured);
    // Its way to another CPU shall not be part of the step.
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return phase_ != starting; });
}

Sampler::~Sampler() {
    if (thread_.joinable()) {
        tell(finished);
        thread_.join();
    }
}

void Sampler::start() {
    began_ = std::chrono::steady_clock::now();
    tell(sampling);
}

Trace Sampler::finish() {
    if (thread_.joinable()) {
        tell(finished);
        thread_.join();
    }
    return std::move(trace_);
}

void Sampler::tell(int phase) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        phase_ = phase;
    }
    changed_.notify_one();
}

void Sampler::work(const cpu_set_t & measured) {
    run_on(other_cpus(measured, sensors_.cores())); // where there are none, it stays among the measured ones
    tell(waiting);
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return phase_ != waiting; });
    if (began_ == std::chrono::steady_clock::time_point()) { // the step failed before it began
        return;
    }
    while (phase_ == sampling) {
        lock.unlock();
        take();
        lock.lock();
        // By the number of intervals gone by, so that moments that were missed are not made up for.
        const auto moment = (std::chrono::steady_clock::now() - began_) / interval_ + 1;
        changed_.wait_until(lock, began_ + moment * interval_, [this] { return phase_ != sampling; });
    }
    take();
}

void Sampler::take() {
    const std::chrono::duration<double> since = std::chrono::steady_clock::now() - began_;
    trace_.seconds.push_back(since.count());
    const size_t place = trace_.clocks_khz.size();
    trace_.clocks_khz.resize(place + size_t(sensors_.cores()));
    sensors_.read_clocks(trace_.clocks_khz.data() + place);
    for (size_t i = 0; i < trace_.celsius.size(); ++i) {
        trace_.celsius[i].push_back(sensors_.zones().celsius(i));
    }
    const Memory memory = sensors_.memory();
    trace_.rss_bytes.push_back(memory.rss_bytes);
    trace_.swap_bytes = std::max(trace_.swap_bytes, memory.swap_bytes);
}

} // namespace imp
