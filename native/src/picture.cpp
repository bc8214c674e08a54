#include "picture.h"

#include "clock.h"
#include "errors.h"
#include "files.h"
#include "preprocess.h"

#include "mtmd-helper.h"

#include <algorithm>
#include <chrono>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace imp {

namespace {

constexpr off_t max_file_bytes = off_t(256) << 20;

void check_file(const std::string & path) {
    struct stat status;
    if (stat(path.c_str(), &status) != 0) {
        throw StepError("image", "cannot read the image " + path + ": " + system_error());
    }
    if (!S_ISREG(status.st_mode)) {
        throw StepError("image", "the image " + path + " is not a file");
    }
    if (status.st_size == 0) {
        throw StepError("image", "the image " + path + " is empty");
    }
    if (status.st_size > max_file_bytes) {
        throw StepError("image", "the image " + path + " is larger than 256 MiB");
    }
}

} // namespace

void wait_for_picture(const std::string & path, int seconds) {
    const Stopwatch clock;
    while (access(path.c_str(), F_OK) != 0) {
        if (clock.seconds() > seconds) {
            throw RunError("nobody brought the image " + path + " within " + std::to_string(seconds) + " s");
        }
        // Short at first: on a computer the next image is a matter of milliseconds.
        std::this_thread::sleep_for(std::chrono::milliseconds(clock.seconds() < 0.1 ? 1 : 50));
    }
}

Image read_picture(const mtmd_context * vision, const std::string & path) {
    check_file(path);
    // What is no picture libmtmd gives to an ffmpeg on the PATH, as a video. Nothing of the machine
    // shall decide what a picture is, so ffmpeg is looked for where none can be.
    mtmd_helper_init_opt options = mtmd_helper_init_opt_default();
    options.video_params.ffmpeg_bin_dir = "/dev/null";
    const mtmd_helper_bitmap_wrapper decoded =
        mtmd_helper_bitmap_init_from_file(vision, path.c_str(), /*placeholder*/ false, options);
    const mtmd::bitmap_ptr bitmap(decoded.bitmap);
    if (decoded.video_ctx != nullptr) {
        mtmd_helper_video_free(decoded.video_ctx);
    }
    if (bitmap == nullptr || decoded.video_ctx != nullptr || mtmd_bitmap_is_audio(bitmap.get())) {
        throw StepError("image", path + " is not a picture that can be decoded (PNG, JPEG, BMP, GIF or PPM)");
    }
    const size_t width = mtmd_bitmap_get_nx(bitmap.get());
    const size_t height = mtmd_bitmap_get_ny(bitmap.get());
    if (width == 0 || height == 0 || width * height > max_pixels) {
        throw StepError("image", "the image " + path + " is " + std::to_string(width) + "x" + std::to_string(height) +
                                     ", which is not between 1 and " + std::to_string(max_pixels) + " pixels");
    }
    Image picture{int(width), int(height)};
    std::copy_n(mtmd_bitmap_get_data(bitmap.get()), picture.pixels.size(), picture.pixels.begin());
    return picture;
}

} // namespace imp
