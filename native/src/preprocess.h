#pragma once

#include "image.h"
#include "job.h"

namespace imp {

/// Pictures beyond this are refused, as Pillow refuses them (twice its MAX_IMAGE_PIXELS): such a
/// file is likelier made to exhaust the memory than to be looked at.
constexpr size_t max_pixels = 178956970;

/// `picture` as the side × side square that the vision tower sees. `squash` ignores the aspect
/// ratio; `pad` centres the picture on a square of `colour` first. The same bytes as Pillow gives; see
/// resample.h.
/// Throws StepError of kind "image" when the padded square would exceed max_pixels.
Image make_square(const Image & picture, int side, SquareMode mode, Colour colour);

} // namespace imp
