#include "job.h"

#include "errors.h"
#include "files.h"
#include "utf8.h"

#include <fcntl.h>
#include <set>
#include <string_view>

namespace imp {

namespace {

constexpr int max_count = 1 << 24; // of tokens; far above any context, far below int overflow
constexpr int max_side = 1 << 13;  // pixels
constexpr int max_threads = 512;   // GGML_MAX_N_THREADS

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

/// Reads the lines of one job file in order, and knows where it is for its errors.
class Reader {
public:
    Reader(const std::string & path, const std::string & content) : path_(path), rest_(content) {}

    Job read() {
        if (!next_line() || line_ != "imp-job 1") {
            fail("the file does not begin with `imp-job 1`");
        }
        while (next_line()) {
            if (line_ == "step") {
                end_block();
                job_.steps.emplace_back();
                in_step_ = true;
                block_line_ = line_number_;
            } else {
                read_pair();
            }
        }
        end_block();
        if (job_.steps.empty()) {
            fail("the job has no step");
        }
        return std::move(job_);
    }

private:
    [[noreturn]] void fail(const std::string & what) const { fail_at(line_number_, what); }

    [[noreturn]] void fail_at(int line, const std::string & what) const {
        throw RunError(path_ + ", line " + std::to_string(line) + ": " + what);
    }

    /// Moves to the next line. A last line may lack its line end.
    bool next_line() {
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
        return true;
    }

    void read_pair() {
        const size_t space = line_.find(' ');
        key_ = line_.substr(0, space);
        value_ = space == line_.npos ? "" : decode(line_.substr(space + 1));
        if (key_ == "stop" && !in_step_) {
            job_.stop.push_back(not_empty());
            return;
        }
        if (!seen_.insert(key_).second) {
            fail("`" + key_ + "` is given twice");
        }
        if (in_step_) {
            read_step_key(job_.steps.back());
        } else {
            read_job_key();
        }
    }

    void read_job_key() {
        if (key_ == "model") {
            job_.model = not_empty();
        } else if (key_ == "mmproj") {
            job_.mmproj = not_empty();
        } else if (key_ == "threads") {
            job_.threads = number(0, max_threads);
        } else if (key_ == "context") {
            job_.context = number(0, max_count);
        } else if (key_ == "batch") {
            job_.batch = number(0, max_count);
        } else if (key_ == "ubatch") {
            job_.ubatch = number(0, max_count);
        } else {
            fail("unknown key `" + key_ + "`");
        }
    }

    void read_step_key(Step & step) {
        if (key_ == "id") {
            step.id = not_empty();
            if (!is_utf8(step.id)) { // or it would come back changed in the results
                fail("the id is not UTF-8");
            }
            if (!ids_.insert(step.id).second) {
                fail("the id `" + step.id + "` is used by an earlier step");
            }
        } else if (key_ == "image") {
            step.image = not_empty();
        } else if (key_ == "prompt") {
            step.prompt = value_;
        } else if (key_ == "side") {
            step.side = number(1, max_side);
        } else if (key_ == "mode") {
            if (value_ != "squash" && value_ != "pad") {
                fail("the mode is `" + value_ + "`, which is neither `squash` nor `pad`");
            }
            step.mode = value_ == "pad" ? SquareMode::pad : SquareMode::squash;
        } else if (key_ == "max_tokens") {
            step.max_tokens = number(0, max_count);
        } else if (key_ == "ignore_eog") {
            step.ignore_eog = number(0, 1) == 1;
        } else if (key_ == "embeddings") {
            step.embeddings = not_empty();
        } else if (key_ == "logits") {
            step.logits = not_empty();
        } else if (key_ == "pixels") {
            step.pixels = not_empty();
        } else {
            fail("unknown key `" + key_ + "` in a step");
        }
    }

    /// Checks that the block that ends here has all it needs, and forgets its keys.
    void end_block() {
        if (!in_step_) {
            require("model", "the job");
        } else {
            const bool has_image = seen_.count("image") != 0;
            for (const char * key : {"id", "prompt", "max_tokens"}) {
                require(key, "the step");
            }
            if (has_image) {
                require("side", "the step, which has an image,");
                require("mode", "the step, which has an image,");
                if (job_.mmproj.empty()) {
                    fail_at(block_line_, "the step has an image, and the job has no `mmproj`");
                }
            } else if (seen_.count("embeddings") != 0 || seen_.count("pixels") != 0) {
                fail_at(block_line_, "the step asks for `embeddings` or `pixels` and has no `image`");
            }
        }
        seen_.clear();
    }

    void require(const char * key, const std::string & block) const {
        if (seen_.count(key) == 0) {
            fail_at(block_line_, block + " has no `" + key + "`");
        }
    }

    std::string decode(std::string_view encoded) const {
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

    std::string not_empty() const {
        if (value_.empty()) {
            fail("`" + key_ + "` has no value");
        }
        return value_;
    }

    int number(int low, int high) const {
        int number = 0;
        if (!parse_int(value_, low, high, number)) {
            fail("`" + key_ + "` is `" + value_ + "`, which is not a whole number from " + std::to_string(low) +
                 " to " + std::to_string(high));
        }
        return number;
    }

    const std::string     path_;
    std::string_view      rest_;
    std::string_view      line_;
    int                   line_number_ = 0;
    Job                   job_;
    bool                  in_step_ = false;
    int                   block_line_ = 1; // where the current block began
    std::set<std::string> seen_;           // keys of the current block
    std::set<std::string> ids_;
    std::string           key_;
    std::string           value_;
};

} // namespace

Job read_job(const std::string & path) {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.number < 0) {
        throw RunError("cannot open the job " + path + ": " + system_error());
    }
    const std::string content = read_all(file, path);
    return Reader(path, content).read();
}

} // namespace imp
