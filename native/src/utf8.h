#pragma once

#include <string>
#include <string_view>

namespace imp {

/// Whether `text` is well-formed UTF-8 (Unicode, table 3-7): no surrogates, no overlong forms.
bool is_utf8(std::string_view text);

/// `text` with every ill-formed part, an unfinished character at the end included,
/// replaced by U+FFFD: one for each maximal subpart, as Python's errors="replace" does.
std::string repair_utf8(std::string_view text);

} // namespace imp
