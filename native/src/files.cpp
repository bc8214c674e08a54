#include "files.h"

#include "errors.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>

namespace imp {

std::string system_error() {
    return std::strerror(errno);
}

std::string read_all(const Descriptor & file, const std::string & path) {
    std::string content;
    char        block[1 << 16];
    ssize_t     got;
    while ((got = read(file.number, block, sizeof(block))) != 0) {
        if (got > 0) {
            content.append(block, static_cast<size_t>(got));
        } else if (errno != EINTR) {
            throw RunError("cannot read " + path + ": " + system_error());
        }
    }
    return content;
}

bool write_all(const Descriptor & file, const void * data, size_t bytes) {
    const char * position = static_cast<const char *>(data);
    while (bytes > 0) {
        const ssize_t written = write(file.number, position, bytes);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        if (written > 0) {
            position += written;
            bytes -= static_cast<size_t>(written);
        }
    }
    return true;
}

void write_whole_file(const std::string & path, const void * data, size_t bytes) {
    const std::string unfinished = path + ".tmp";
    const auto        give_up = [&](const std::string & what) {
        const std::string reason = system_error();
        unlink(unfinished.c_str());
        throw StepError("output", "cannot " + what + ": " + reason);
    };
    const Descriptor file(open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.number < 0) {
        give_up("create " + unfinished);
    }
    if (!write_all(file, data, bytes) || fsync(file.number) != 0) {
        give_up("write " + unfinished);
    }
    if (rename(unfinished.c_str(), path.c_str()) != 0) {
        give_up("rename " + unfinished + " to " + path);
    }
}

} // namespace imp
