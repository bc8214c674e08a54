#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace imp {

/// `text` as a JSON string, quotes included. Ill-formed UTF-8 becomes U+FFFD, so the result is always valid.
std::string json_string(std::string_view text);

/// `[1, 2, 3]`
std::string json_array(const std::vector<int32_t> & numbers);
std::string json_array(const std::vector<int64_t> & numbers);

/// `[0.2, 1.5]`, to six digits; the numbers must be finite.
std::string json_array(const std::vector<double> & numbers);

/// Writes one JSON object on one line; the members stay in the order in which they are added.
class JsonObject {
public:
    JsonObject & text(std::string_view name, std::string_view value);
    JsonObject & integer(std::string_view name, int64_t value);
    /// `value` must be finite: JSON has no other numbers.
    JsonObject & number(std::string_view name, double value);
    JsonObject & boolean(std::string_view name, bool value);
    /// `json` is taken as it is.
    JsonObject & raw(std::string_view name, std::string_view json);

    /// The object so far, `{...}`, without a line end.
    std::string str() const;

private:
    std::string members_;
};

} // namespace imp
