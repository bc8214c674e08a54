#include "log.h"

#include "mtmd-helper.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <vector>

namespace imp {

namespace {

constexpr size_t lines_kept = 20;
constexpr size_t lines_in_a_reason = 3;

struct Line {
    ggml_log_level level;
    std::string    text;
};

// The libraries' callback is global, and their threads may log at the same time.
struct {
    std::mutex       mutex;
    bool             to_stderr = false;
    std::deque<Line> kept;
    int64_t          repacked = 0; // bytes
    std::string      flash = "auto";
    std::string      vision_flash = "auto";
    Line             unfinished = {GGML_LOG_LEVEL_NONE, ""};
} state;

/// Of llama.cpp's line (load_tensors() in llama-model.cpp, one per kind of buffer)
///     load_tensors:   CPU_REPACK model buffer size =   864.00 MiB
/// the bytes, when the buffer is one of those whose weights are stored anew for faster kernels:
/// CPU_REPACK, CPU_KLEIDIAI or AMX, and not CPU, CPU_Mapped or CPU_HBM, which keep them as they are.
int64_t repacked_by(const std::string & line) {
    const std::string words = " model buffer size =";
    const size_t      place = line.find(words);
    if (place == line.npos || place == 0) {
        return 0;
    }
    const size_t      before = line.rfind(' ', place - 1); // npos + 1 is 0
    const std::string buffer = line.substr(before + 1, place - before - 1);
    if (buffer != "CPU_REPACK" && buffer != "CPU_KLEIDIAI" && buffer != "AMX") {
        return 0;
    }
    return int64_t(std::strtod(line.c_str() + place + words.size(), nullptr) * (1 << 20));
}

/// Takes notice of what llama-context.cpp and clip.cpp say of flash attention:
///     resolve_fused_ops: Flash Attention enabled
///     resolve_fused_ops: Flash Attention not supported, set to disabled
///     warmup: flash attention is enabled
void note_flash_attention(const std::string & line) {
    const auto says = [&](const char * words) { return line.find(words) != line.npos; };
    if (says(": Flash Attention enabled")) {
        state.flash = "on";
    } else if (says(": Flash Attention not supported")) {
        state.flash = "off";
    } else if (says(": flash attention is enabled")) {
        state.vision_flash = "on";
    } else if (says(": flash attention is disabled")) {
        state.vision_flash = "off";
    }
}

void keep_unfinished() {
    Line & line = state.unfinished;
    state.repacked += repacked_by(line.text);
    note_flash_attention(line.text);
    if ((line.level == GGML_LOG_LEVEL_WARN || line.level == GGML_LOG_LEVEL_ERROR) && !line.text.empty()) {
        state.kept.push_back(line);
        if (state.kept.size() > lines_kept) {
            state.kept.pop_front();
        }
    }
    line.text.clear();
}

void on_log(ggml_log_level level, const char * text, void *) {
    const std::lock_guard<std::mutex> lock(state.mutex);
    if (state.to_stderr) {
        std::fputs(text, stderr);
    }
    if (level != GGML_LOG_LEVEL_CONT) {
        state.unfinished.level = level;
    }
    for (; *text != '\0'; ++text) {
        if (*text == '\n') {
            keep_unfinished();
        } else {
            state.unfinished.text += *text;
        }
    }
}

} // namespace

void capture_logs() {
    const char * wanted = std::getenv("IMP_RUNNER_LOG");
    state.to_stderr = wanted != nullptr && std::strcmp(wanted, "1") == 0;
    llama_log_set(on_log, nullptr);       // ggml's too
    mtmd_helper_log_set(on_log, nullptr); // libmtmd's too
}

int64_t repacked_bytes() {
    const std::lock_guard<std::mutex> lock(state.mutex);
    return state.repacked;
}

std::string chosen_flash_attention() {
    const std::lock_guard<std::mutex> lock(state.mutex);
    return state.flash;
}

std::string vision_flash_attention() {
    const std::lock_guard<std::mutex> lock(state.mutex);
    return state.vision_flash;
}

void forget_logs() {
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.kept.clear();
    state.unfinished.text.clear();
}

std::string with_reason(const std::string & message) {
    const std::lock_guard<std::mutex> lock(state.mutex);
    const bool errors = std::any_of(state.kept.begin(), state.kept.end(),
                                    [](const Line & line) { return line.level == GGML_LOG_LEVEL_ERROR; });
    std::vector<std::string> reasons;
    for (const Line & line : state.kept) {
        if (line.level == (errors ? GGML_LOG_LEVEL_ERROR : GGML_LOG_LEVEL_WARN)) {
            reasons.push_back(line.text);
        }
    }
    std::string    sentence = message;
    const size_t   first = reasons.size() > lines_in_a_reason ? reasons.size() - lines_in_a_reason : 0;
    for (size_t i = first; i < reasons.size(); ++i) {
        sentence += (i == first ? ": " : "; ") + reasons[i];
    }
    return sentence;
}

} // namespace imp
