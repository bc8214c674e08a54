#include "preprocess.h"

#include "errors.h"
#include "resample.h"

#include <algorithm>
#include <string>

namespace imp {

namespace {

Image pad(const Image & picture, Colour colour) {
    const int side = std::max(picture.width, picture.height);
    if (size_t(side) * side > max_pixels) {
        throw StepError("image", "the image is " + std::to_string(picture.width) + "x" +
                                     std::to_string(picture.height) + ", and padded to a square it has more than " +
                                     std::to_string(max_pixels) + " pixels");
    }
    Image square(side, side);
    for (auto pixel = square.pixels.begin(); pixel != square.pixels.end(); pixel += colour.size()) {
        std::copy(colour.begin(), colour.end(), pixel);
    }
    const int left = (side - picture.width) / 2;
    const int top = (side - picture.height) / 2;
    for (int y = 0; y < picture.height; ++y) {
        std::copy_n(picture.row(y), size_t(3) * picture.width, square.row(top + y) + size_t(3) * left);
    }
    return square;
}

} // namespace

Image make_square(const Image & picture, int side, SquareMode mode, Colour colour) {
    if (mode == SquareMode::pad) {
        return resize_bicubic(pad(picture, colour), side, side);
    }
    return resize_bicubic(picture, side, side);
}

} // namespace imp
