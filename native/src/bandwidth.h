#pragma once

#include <string>

namespace imp {

/// Copies buffers that no cache holds for about a second, with `threads` threads (a number; 0, or more
/// than there are CPUs, for one per CPU) on the CPUs of `mask` ("" for all that are allowed), and
/// returns, of the fastest of several rounds, the JSON
///     {"threads": 4, "cpu_mask": "fc", "bytes_per_second": 0}
/// with the threads and CPUs in fact. Bytes that are read and bytes that are written both count.
/// Throws RunError for arguments that mean nothing, or when there is no memory for the buffers.
std::string measure_bandwidth(const std::string & threads, const std::string & mask);

} // namespace imp
