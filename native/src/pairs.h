// Text in UTF-8, one `key value` per line; the value begins behind the first space. `%` and control
// characters in a value are percent-encoded (`%25`, `%0A`). A line of one word alone, such as `step`,
// may begin a block of keys. Jobs and plans are written so.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace imp {

/// Reads the lines of one such file in order, and knows where it is for its errors, which are all
/// RunErrors that name the file and the line.
class PairReader {
public:
    /// The whole file `path`, whose first line must be `header`.
    PairReader(const std::string & path, const char * header);
    PairReader(const PairReader &) = delete;
    PairReader & operator=(const PairReader &) = delete;

    /// Moves to the next line, false at the end. A last line may lack its line end.
    bool next();

    /// Whether the line is this word alone.
    bool is(const char * word) const { return line_ == word; }

    const std::string & key() const { return key_; }
    const std::string & value() const { return value_; }

    /// The value, which must not be empty.
    const std::string & not_empty() const;

    /// The value, a whole number from `low` to `high`.
    int number(int low, int high) const;

    /// The value, one or more whole numbers from `low` to `high` with one space between them.
    std::vector<int32_t> numbers(int low, int high) const;

    /// The value, a number with an optional decimal fraction, from `low` (not negative) to `high`.
    double decimal(double low, double high) const;

    /// Notes that the key was given in this block; it must not have been before.
    void once();

    /// Whether the key was given in this block.
    bool given(const char * key) const { return given_.count(key) != 0; }

    /// Forgets what was given, and remembers this line as the beginning of a block.
    void begin_block();

    /// The key must have been given in this block, which is called `block` in the error.
    void require(const char * key, const std::string & block) const;

    /// Throws an error about this line.
    [[noreturn]] void fail(const std::string & what) const;

    /// Throws an error about the line at which the block began.
    [[noreturn]] void fail_block(const std::string & what) const;

private:
    [[noreturn]] void fail_at(int line, const std::string & what) const;
    std::string       decode(std::string_view encoded) const;

    const std::string     path_;
    const std::string     content_;
    std::string_view      rest_;
    std::string_view      line_;
    int                   line_number_ = 0;
    int                   block_line_ = 1;
    std::string           key_;
    std::string           value_;
    std::set<std::string> given_;
};

} // namespace imp
