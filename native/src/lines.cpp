#include "lines.h"

#include "errors.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace imp {

Lines::Lines(const std::string & path, const std::string & what, const std::function<void(std::string_view)> & each)
    : path_(path), what_(what), file_(open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    if (file_.number < 0) {
        throw RunError("cannot open the " + what_ + " " + path + ": " + system_error());
    }
    // A runner that lost its caller, say an adb connection, may still be at work. File systems
    // without locks are let through.
    if (flock(file_.number, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        throw RunError("another run is writing the " + what_ + " " + path);
    }
    const std::string content = read_all(file_, path);
    const size_t      finished = content.rfind('\n') + 1; // 0 when there is no line end: npos + 1
    if (finished != content.size() && ftruncate(file_.number, off_t(finished)) != 0) {
        throw RunError("cannot cut the unfinished last line off " + path + ": " + system_error());
    }
    std::string_view rest = std::string_view(content).substr(0, finished);
    while (!rest.empty()) {
        const size_t end = rest.find('\n');
        each(rest.substr(0, end));
        rest.remove_prefix(end + 1);
    }
}

void Lines::add(const std::string & line) {
    const std::string whole = line + '\n';
    const off_t       before = lseek(file_.number, 0, SEEK_END);
    if (!write_all(file_, whole.data(), whole.size())) {
        const std::string reason = system_error();
        if (before >= 0 && ftruncate(file_.number, before) != 0) {
            // The next process that opens the file cuts the part off.
        }
        fail(reason);
    }
}

void Lines::sync() {
    if (fsync(file_.number) != 0) {
        fail(system_error());
    }
}

void Lines::fail(const std::string & reason) const {
    throw RunError("cannot write the " + what_ + " " + path_ + ": " + reason);
}

std::string_view take_string(std::string_view & line, std::string_view start) {
    if (line.substr(0, start.size()) != start || line.substr(start.size(), 1) != "\"") {
        return {};
    }
    for (size_t i = start.size() + 1; i < line.size(); ++i) {
        if (line[i] == '"') {
            const std::string_view text = line.substr(start.size(), i + 1 - start.size());
            line.remove_prefix(i + 1);
            return text;
        }
        if (line[i] == '\\') {
            ++i;
        }
    }
    return {};
}

} // namespace imp
