#pragma once

#include <cstdint>

namespace imp {

/// The most physical memory that this process held so far (VmHWM of /proc/self/status, mapped model
/// files included), in bytes. 0 where the system does not tell.
int64_t peak_rss_bytes();

/// What programs can still allocate without swapping (MemAvailable of /proc/meminfo), in bytes. 0
/// where the system does not tell.
int64_t available_memory_bytes();

} // namespace imp
