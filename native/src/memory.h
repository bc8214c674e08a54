#pragma once

#include <cstdint>

namespace imp {

/// The most physical memory that this process held so far (VmHWM of /proc/self/status, mapped model
/// files included), in bytes. 0 where the system does not tell.
int64_t peak_rss_bytes();

} // namespace imp
