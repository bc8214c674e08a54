#include "results.h"

#include "errors.h"
#include "json.h"

#include <cerrno>
#include <fcntl.h>
#include <string_view>
#include <sys/file.h>

namespace imp {

namespace {

constexpr std::string_view line_start = "{\"step\": ";
constexpr std::string_view ok = ", \"status\": \"ok\", ";

bool starts_with(std::string_view text, std::string_view start) {
    return text.substr(0, start.size()) == start;
}

/// The length of the JSON string at the start of `text`, quotes included; 0 when there is none.
size_t string_length(std::string_view text) {
    if (!starts_with(text, "\"")) {
        return 0;
    }
    for (size_t i = 1; i < text.size(); ++i) {
        if (text[i] == '"') {
            return i + 1;
        }
        if (text[i] == '\\') {
            ++i;
        }
    }
    return 0;
}

} // namespace

Results::Results(const std::string & path)
    : path_(path), file_(open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    if (file_.number < 0) {
        throw RunError("cannot open the results " + path + ": " + system_error());
    }
    // A runner that lost its caller, say an adb connection, may still be at work. File systems
    // without locks are let through.
    if (flock(file_.number, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        throw RunError("another run is writing the results " + path);
    }
    const std::string content = read_all(file_, path);
    const size_t      finished = content.rfind('\n') + 1; // 0 when there is no line end: npos + 1
    if (finished != content.size() && ftruncate(file_.number, off_t(finished)) != 0) {
        throw RunError("cannot cut the unfinished last line off " + path + ": " + system_error());
    }
    // Only lines in the very form that step.cpp writes are recognised. A step whose line someone
    // wrote anew in another form is run again, which costs time and nothing else.
    std::string_view rest = std::string_view(content).substr(0, finished);
    while (!rest.empty()) {
        const size_t     end = rest.find('\n');
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(end + 1);
        if (starts_with(line, line_start)) {
            line.remove_prefix(line_start.size());
            const size_t length = string_length(line);
            if (starts_with(line.substr(length), ok)) {
                done_.emplace(line.substr(0, length));
            }
        }
    }
}

bool Results::has(const std::string & id) const {
    return done_.count(json_string(id)) != 0;
}

void Results::append(const std::string & line) {
    const std::string whole = line + '\n';
    if (!write_all(file_, whole.data(), whole.size()) || fsync(file_.number) != 0) {
        throw RunError("cannot write the results " + path_ + ": " + system_error());
    }
}

} // namespace imp
