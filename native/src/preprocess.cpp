#include "preprocess.h"

#include "errors.h"
#include "resample.h"

#include <algorithm>
#include <string>

namespace imp {

namespace {

Image pad(const Image & picture) {
    const int side = std::max(picture.width, picture.height);
    if (size_t(side) * side > max_pixels) {
        throw StepError("image", "the image is " + std::to_string(picture.width) + "x" +
                                     std::to_string(picture.height) + ", and padded to a square it has more than " +
                                     std::to_string(max_pixels) + " pixels");
    }
    Image square(side, side);
    std::fill(square.pixels.begin(), square.pixels.end(), uint8_t(127));
    const int left = (side - picture.width) / 2;
    const int top = (side - picture.height) / 2;
    for (int y = 0; y < picture.height; ++y) {
        std::copy_n(picture.row(y), size_t(3) * picture.width, square.row(top + y) + size_t(3) * left);
    }
    return square;
}

} // namespace

Image make_square(const Image & picture, int side, SquareMode mode) {
    if (mode == SquareMode::pad) {
        return resize_bicubic(pad(picture), side, side);
    }
    return resize_bicubic(picture, side, side);
}

} // namespace imp
