#pragma once

#include <optional>
#include <sched.h>
#include <string>
#include <string_view>

namespace imp {

/// `text` as a set of CPUs: 1 to 16 hexadecimal digits, of which bit n stands for CPU n.
/// Nothing for anything else, and for the empty set.
std::optional<cpu_set_t> parse_cpus(std::string_view text);

/// `cpus` as parse_cpus reads it, without leading zeros; longer where there are more than 64 CPUs.
std::string cpus_text(const cpu_set_t & cpus);

/// The CPUs that the calling thread may run on.
cpu_set_t allowed_cpus();

/// Lets the calling thread, and those that it starts from now on, run only on `cpus`. False where
/// the system refuses, for instance because none of them is there.
bool run_on(const cpu_set_t & cpus);

/// Of the machine's first `count` CPUs those that are not in `cpus`.
cpu_set_t other_cpus(const cpu_set_t & cpus, int count);

/// How many CPUs the machine has, those included that are offline or not for this process; at least 1.
int count_cpus();

} // namespace imp
