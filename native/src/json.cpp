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

namespace {

template <typename Number, typename Text> std::string array_of(const std::vector<Number> & numbers, Text text) {
    std::string array = "[";
    for (size_t i = 0; i < numbers.size(); ++i) {
        array += (i == 0 ? "" : ", ") + text(numbers[i]);
    }
    return array + "]";
}

std::string decimal(double value, int digits) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.*g", digits, value);
    return text;
}

} // namespace

std::string json_array(const std::vector<int32_t> & numbers) {
    return array_of(numbers, [](int32_t number) { return std::to_string(number); });
}

std::string json_array(const std::vector<int64_t> & numbers) {
    return array_of(numbers, [](int64_t number) { return std::to_string(number); });
}

std::string json_array(const std::vector<double> & numbers) {
    return array_of(numbers, [](double number) { return decimal(number, 6); });
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
    return raw(name, decimal(value, 9));
}

JsonObject & JsonObject::boolean(std::string_view name, bool value) {
    return raw(name, value ? "true" : "false");
}

std::string JsonObject::str() const {
    return "{" + members_ + "}";
}

} // namespace imp
