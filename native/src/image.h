#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace imp {

/// Red, green and blue.
using Colour = std::array<uint8_t, 3>;

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
