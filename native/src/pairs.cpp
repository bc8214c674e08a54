#include "pairs.h"

#include "errors.h"
#include "files.h"
#include "utf8.h"

#include <cstdio>
#include <fcntl.h>

namespace imp {

namespace {

/// Digits only: no sign, no blanks, no fraction.
bool parse_int(std::string_view text, int low, int high, int & number) {
    if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != text.npos) {
        return false;
    }
    number = std::stoi(std::string(text));
    return number >= low && number <= high;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

std::string read_file(const std::string & path) {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.number < 0) {
        throw RunError("cannot open " + path + ": " + system_error());
    }
    return read_all(file, path);
}

} // namespace

PairReader::PairReader(const std::string & path, const char * header)
    : path_(path), content_(read_file(path)), rest_(content_) {
    if (!next() || !is(header)) {
        fail("the file does not begin with `" + std::string(header) + "`");
    }
}

bool PairReader::next() {
    if (rest_.empty()) {
        return false;
    }
    ++line_number_;
    const size_t end = rest_.find('\n');
    line_ = rest_.substr(0, end);
    rest_.remove_prefix(end == rest_.npos ? rest_.size() : end + 1);
    // A control character is a sign of a file that was mangled on its way, for instance to CRLF.
    for (const char c : line_) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
            fail("a control character is not percent-encoded");
        }
    }
    if (!is_utf8(line_)) {
        fail("the line is not UTF-8");
    }
    const size_t space = line_.find(' ');
    key_ = line_.substr(0, space);
    value_ = space == line_.npos ? "" : decode(line_.substr(space + 1));
    return true;
}

const std::string & PairReader::not_empty() const {
    if (value_.empty()) {
        fail("`" + key_ + "` has no value");
    }
    return value_;
}

int PairReader::number(int low, int high) const {
    int number = 0;
    if (!parse_int(value_, low, high, number)) {
        fail("`" + key_ + "` is `" + value_ + "`, which is not a whole number from " + std::to_string(low) + " to " +
             std::to_string(high));
    }
    return number;
}

std::vector<int32_t> PairReader::numbers(int low, int high) const {
    std::vector<int32_t> numbers;
    for (std::string_view rest = value_;;) {
        const size_t end = rest.find(' ');
        int          number = 0;
        if (!parse_int(rest.substr(0, end), low, high, number)) {
            fail("`" + key_ + "` is not a row of whole numbers from " + std::to_string(low) + " to " +
                 std::to_string(high) + ", one space apart");
        }
        numbers.push_back(number);
        if (end == rest.npos) {
            return numbers;
        }
        rest.remove_prefix(end + 1);
    }
}

double PairReader::decimal(double low, double high) const {
    const size_t           point = value_.find('.');
    const std::string_view whole = std::string_view(value_).substr(0, point);
    const std::string_view fraction = point == value_.npos ? "0" : std::string_view(value_).substr(point + 1);
    int                    digits = 0;
    double                 number = 0;
    if (parse_int(whole, 0, 999999999, digits) && parse_int(fraction, 0, 999999999, digits)) {
        number = std::stod(value_);
        if (number >= low && number <= high) {
            return number;
        }
    }
    char range[64];
    std::snprintf(range, sizeof(range), "%.9g to %.9g", low, high);
    fail("`" + key_ + "` is `" + value_ + "`, which is not a number from " + range);
}

void PairReader::once() {
    if (!given_.insert(key_).second) {
        fail("`" + key_ + "` is given twice");
    }
}

void PairReader::begin_block() {
    given_.clear();
    block_line_ = line_number_;
}

void PairReader::require(const char * key, const std::string & block) const {
    if (!given(key)) {
        fail_block(block + " has no `" + key + "`");
    }
}

void PairReader::fail(const std::string & what) const {
    fail_at(line_number_, what);
}

void PairReader::fail_block(const std::string & what) const {
    fail_at(block_line_, what);
}

void PairReader::fail_at(int line, const std::string & what) const {
    throw RunError(path_ + ", line " + std::to_string(line) + ": " + what);
}

std::string PairReader::decode(std::string_view encoded) const {
    std::string text;
    for (size_t i = 0; i < encoded.size(); ++i) {
        if (encoded[i] != '%') {
            text += encoded[i];
            continue;
        }
        const int high = i + 2 < encoded.size() ? hex_digit(encoded[i + 1]) : -1;
        const int low = i + 2 < encoded.size() ? hex_digit(encoded[i + 2]) : -1;
        if (high < 0 || low < 0 || (high == 0 && low == 0)) { // a NUL would cut paths short
            fail("a `%` is not followed by the two hexadecimal digits of a byte from 01 to FF");
        }
        text += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return text;
}

} // namespace imp
