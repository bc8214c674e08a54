#pragma once

#include "image.h"

#include "mtmd.h"

#include <string>

namespace imp {

/// Waits until there is a file `path`. Throws RunError after `seconds` without one.
void wait_for_picture(const std::string & path, int seconds);


/// Decodes the picture file `path` to RGB with libmtmd's decoder (PNG, JPEG, BMP, GIF, PPM, and what
/// else stb_image reads). Transparency is dropped, EXIF rotation is not applied.
/// Throws StepError of kind "image".
Image read_picture(const mtmd_context * vision, const std::string & path);

} // namespace imp
