#pragma once

#include "image.h"

namespace imp {

/// `source` at width × height pixels, bicubic and antialiased: the same bytes as Pillow's
/// `Image.resize((width, height), Image.Resampling.BICUBIC)` gives for an RGB picture.
///
/// The filter is Keys' cubic convolution with a = -0.5 (R. Keys, 1981), stretched by the scale when
/// shrinking. Pillow resamples along the rows first and along the columns then, rounds to 8 bits in
/// between, and works with weights in fixed point; all of that shows in the pixels, so all of it is
/// done here too. This is the Pillow that the Imp checkpoints were made with (tried: 10.4). Pillow
/// 12.3 begins with the columns for extremely tall pictures and 13.0 for many tall ones, which
/// changes their pixels; two calls, one per axis, still give the older result.
Image resize_bicubic(const Image & source, int width, int height);

} // namespace imp
