#include "utf8.h"

namespace imp {

namespace {

struct Sequence {
    size_t length; // bytes, at least 1
    bool   valid;
};

struct Lead {
    size_t        length;      // bytes of the whole character; 0 when no character starts so
    unsigned char second_low;  // the range of the second byte; later ones are 80..BF
    unsigned char second_high;
};

Lead classify(unsigned char byte) {
    if (byte < 0x80) return {1, 0, 0};
    if (byte < 0xC2) return {0, 0, 0};
    if (byte < 0xE0) return {2, 0x80, 0xBF};
    if (byte == 0xE0) return {3, 0xA0, 0xBF};
    if (byte == 0xED) return {3, 0x80, 0x9F};
    if (byte < 0xF0) return {3, 0x80, 0xBF};
    if (byte == 0xF0) return {4, 0x90, 0xBF};
    if (byte < 0xF4) return {4, 0x80, 0xBF};
    if (byte == 0xF4) return {4, 0x80, 0x8F};
    return {0, 0, 0};
}

/// The character at the start of `text`, which is not empty, or the maximal part of one.
Sequence next_sequence(std::string_view text) {
    const Lead lead = classify(static_cast<unsigned char>(text[0]));
    if (lead.length == 0) {
        return {1, false};
    }
    for (size_t i = 1; i < lead.length; ++i) {
        const unsigned char low  = i == 1 ? lead.second_low : 0x80;
        const unsigned char high = i == 1 ? lead.second_high : 0xBF;
        if (i == text.size()) {
            return {i, false};
        }
        const unsigned char byte = static_cast<unsigned char>(text[i]);
        if (byte < low || byte > high) {
            return {i, false};
        }
    }
    return {lead.length, true};
}

} // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const Sequence sequence = next_sequence(text);
        if (!sequence.valid) {
            return false;
        }
        text.remove_prefix(sequence.length);
    }
    return true;
}

std::string repair_utf8(std::string_view text) {
    std::string repaired;
    repaired.reserve(text.size());
    while (!text.empty()) {
        const Sequence sequence = next_sequence(text);
        if (sequence.valid) {
            repaired.append(text.substr(0, sequence.length));
        } else {
            repaired.append("\xEF\xBF\xBD");
        }
        text.remove_prefix(sequence.length);
    }
    return repaired;
}

} // namespace imp
