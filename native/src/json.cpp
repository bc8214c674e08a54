#include "json.h"

#include "utf8.h"

#include <cstdio>

namespace imp {

std::string json_string(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : repair_utf8(text)) {
        if (c == '"' || c == '\\') {
            quoted += '\\';
            quoted += c;
        } else if (c == '\n') {
            quoted += "\\n";
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
            char escape[8];
            std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(c));
            quoted += escape;
        } else {
            quoted += c;
        }
    }
    return quoted + '"';
}

std::string json_array(const std::vector<int32_t> & numbers) {
    std::string array = "[";
    for (size_t i = 0; i < numbers.size(); ++i) {
        array += (i == 0 ? "" : ", ") + std::to_string(numbers[i]);
    }
    return array + "]";
}

JsonObject & JsonObject::raw(std::string_view name, std::string_view json) {
    members_ += (members_.empty() ? "" : ", ") + json_string(name) + ": ";
    members_ += json;
    return *this;
}

JsonObject & JsonObject::text(std::string_view name, std::string_view value) {
    return raw(name, json_string(value));
}

JsonObject & JsonObject::integer(std::string_view name, int64_t value) {
    return raw(name, std::to_string(value));
}

JsonObject & JsonObject::number(std::string_view name, double value) {
    char digits[32];
    std::snprintf(digits, sizeof(digits), "%.9g", value);
    return raw(name, digits);
}

std::string JsonObject::str() const {
    return "{" + members_ + "}";
}

} // namespace imp
