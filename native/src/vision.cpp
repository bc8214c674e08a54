#include "vision.h"

#include "errors.h"
#include "log.h"

#include <cstring>

namespace imp {

namespace {

/// The one chunk of image tokens that libmtmd makes of a square image. `pixels` may be null, for counting.
VisualTokens make_chunk(const Model & model, int side, const uint8_t * pixels) {
    const mtmd::bitmap_ptr bitmap(mtmd_bitmap_init(uint32_t(side), uint32_t(side), pixels));
    const mtmd_bitmap *    bitmaps[] = {bitmap.get()};
    const char *           marker = mtmd_default_marker();
    const mtmd_input_text  text = {marker, std::strlen(marker), /*add_special*/ false, /*parse_special*/ true};
    VisualTokens           visual = {mtmd::input_chunks_ptr(mtmd_input_chunks_init()), 0, nullptr};
    if (mtmd_tokenize(model.vision.get(), visual.chunks.get(), &text, bitmaps, 1) != 0) {
        throw StepError("image", with_reason("libmtmd does not take the image"));
    }
    const mtmd_input_chunk * chunk = mtmd_input_chunks_get(visual.chunks.get(), 0);
    if (mtmd_input_chunks_size(visual.chunks.get()) != 1 ||
        mtmd_input_chunk_get_type(chunk) != MTMD_INPUT_CHUNK_TYPE_IMAGE) {
        throw StepError("image", "the mmproj cut the image into slices, or put text around it");
    }
    visual.count = int(mtmd_input_chunk_get_n_tokens(chunk));
    return visual;
}

} // namespace

int count_visual_tokens(const Model & model) {
    if (model.visual_tokens == 0) { // libmtmd prepares a whole image to tell, which takes milliseconds
        model.visual_tokens = make_chunk(model, model.image_side, nullptr).count;
    }
    return model.visual_tokens;
}

VisualTokens encode_image(const Model & model, const Image & square) {
    VisualTokens visual = make_chunk(model, square.width, square.pixels.data());
    if (mtmd_encode_chunk(model.vision.get(), mtmd_input_chunks_get(visual.chunks.get(), 0)) != 0) {
        throw StepError("image", with_reason("the vision tower failed"));
    }
    visual.embeddings = mtmd_get_output_embd(model.vision.get());
    return visual;
}

} // namespace imp
