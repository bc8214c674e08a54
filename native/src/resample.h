#pragma once

#include "image.h"

namespace imp {

/// `source` at width × height pixels, bicubic and antialiased: the same bytes as Pillow's
/// `Image.resize((width, height), Image.Resampling.BICUBIC)` gives for an RGB picture.
///
/// The filter is Keys' cubic convolution with a = -0.5 (R. Keys, 1981), stretched by the scale when
/// shrinking. Pillow resamples rows first and columns then, rounds to 8 bits in between, and works
/// with weights in fixed point; all of that shows in the last bit, so all of it is done here too.
Image resize_bicubic(const Image & source, int width, int height);

} // namespace imp
