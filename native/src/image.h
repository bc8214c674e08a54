#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace imp {

/// An 8-bit RGB picture: `pixels` is [height, width, 3], rows from top to bottom.
struct Image {
    Image(int width, int height) : width(width), height(height), pixels(size_t(3) * width * height) {}

    const uint8_t * row(int y) const { return pixels.data() + size_t(3) * width * y; }
    uint8_t *       row(int y) { return pixels.data() + size_t(3) * width * y; }

    int                  width;
    int                  height;
    std::vector<uint8_t> pixels;
};

} // namespace imp
