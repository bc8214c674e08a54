#include "picture.h"

#include "clock.h"
#include "errors.h"
#include "files.h"
#include "preprocess.h"

#include "mtmd-helper.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <optional>
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

/// The picture when `path` is a binary PPM in the form that Pillow writes, which this toolchain hands
/// over; nothing for all else. libmtmd reads it too, and hashes every file that it reads, which takes
/// longer than a small model takes for a token.
std::optional<Image> read_plain_ppm(const std::string & path) {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    char             head[32] = {};
    const ssize_t    size = file.number < 0 ? -1 : pread(file.number, head, sizeof(head) - 1, 0);
    int              width = 0;
    int              height = 0;
    int              end = 0; // of the header, where one byte of white space stands before the pixels
    if (size <= 0 || std::sscanf(head, "P6\n%5d %5d\n255%n", &width, &height, &end) != 2 || head[2] != '\n' ||
        end == 0 || head[end] != '\n' || width < 1 || height < 1 || size_t(width) * height > max_pixels) {
        return std::nullopt;
    }
    Image picture(width, height);
    // One byte more, to see that there is none.
    picture.pixels.push_back(0);
    const ssize_t read = pread(file.number, picture.pixels.data(), picture.pixels.size(), end + 1);
    picture.pixels.pop_back();
    return read == ssize_t(picture.pixels.size()) ? std::optional(std::move(picture)) : std::nullopt;
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
    if (std::optional<Image> plain = read_plain_ppm(path)) {
        return std::move(*plain);
    }
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
