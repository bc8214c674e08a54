#include "model.h"

#include "class_token.h"
#include "errors.h"
#include "log.h"

#include "gguf.h"

#include <algorithm>
#include <cstring>

namespace imp {

namespace {

using Gguf = std::unique_ptr<gguf_context, decltype(&gguf_free)>;

/// The keys and the tensors' descriptions of a GGUF, without its weights; null when it is none.
Gguf read_gguf(const std::string & path) {
    return Gguf(gguf_init_from_file(path.c_str(), {/*no_alloc*/ true, /*ctx*/ nullptr}), gguf_free);
}

/// The bytes of the tensors that one decoding step reads: all but the token embeddings, of which it
/// reads one row, unless these are the output matrix too.
int64_t read_decode_bytes(const std::string & path) {
    const Gguf file = read_gguf(path);
    if (file == nullptr) {
        throw ModelError(with_reason("cannot read the model " + path));
    }
    const bool own_output = gguf_find_tensor(file.get(), "output.weight") >= 0;
    int64_t    bytes = 0;
    for (int64_t i = 0; i < gguf_get_n_tensors(file.get()); ++i) {
        if (!own_output || std::strcmp(gguf_get_tensor_name(file.get(), i), "token_embd.weight") != 0) {
            bytes += int64_t(gguf_get_tensor_size(file.get(), i));
        }
    }
    return bytes;
}

/// The side of the image that the mmproj was made for. libmtmd has no call that tells, and silently
/// resizes an image of another size.
int read_image_side(const gguf_context * file, const std::string & path) {
    const int64_t key = gguf_find_key(file, "clip.vision.image_size");
    if (key < 0 || gguf_get_kv_type(file, key) != GGUF_TYPE_UINT32) {
        throw ModelError("the mmproj " + path + " has no clip.vision.image_size, so it is not a vision tower");
    }
    return int(gguf_get_val_u32(file, key));
}

/// The colour that becomes zero when the image is normalized, as int(mean * 255), which is how the models were
/// trained: (127, 127, 127) for SigLIP, (122, 116, 104) for CLIP.
Colour read_mean_colour(const gguf_context * file, const std::string & path) {
    Colour        colour = {};
    const int64_t key = gguf_find_key(file, "clip.vision.image_mean");
    if (key < 0 || gguf_get_kv_type(file, key) != GGUF_TYPE_ARRAY ||
        gguf_get_arr_type(file, key) != GGUF_TYPE_FLOAT32 || gguf_get_arr_n(file, key) != colour.size()) {
        throw ModelError("the mmproj " + path + " has no clip.vision.image_mean of three numbers, so it is not known " +
                         "what colour pads an image");
    }
    const float * mean = static_cast<const float *>(gguf_get_arr_data(file, key));
    for (size_t i = 0; i < colour.size(); ++i) {
        if (!(mean[i] >= 0 && mean[i] <= 1)) {
            throw ModelError("the mmproj " + path + " has a clip.vision.image_mean outside of 0 to 1");
        }
        colour[i] = uint8_t(mean[i] * 255);
    }
    return colour;
}

void load_vision(Model & model, const std::string & path) {
    const Gguf file = read_gguf(path);
    if (file == nullptr) {
        throw ModelError(with_reason("cannot read the mmproj " + path));
    }
    model.image_side = read_image_side(file.get(), path);
    model.mean_colour = read_mean_colour(file.get(), path);
    mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = IMP_OFFLOAD;
    params.print_timings = false;
    params.n_threads = model.threads;
    params.warmup = true; // the first image shall not be slower than the others
    if (misplaces_class_token(file.get())) {
        put_class_token_first(params);
    }
    model.vision.reset(mtmd_init_from_file(path.c_str(), model.llm.get(), params));
    if (model.vision == nullptr) {
        throw ModelError(with_reason("cannot load the mmproj " + path));
    }
    if (!mtmd_support_vision(model.vision.get())) {
        throw ModelError("the mmproj " + path + " does not take images");
    }
    if (mtmd_decode_use_mrope(model.vision.get())) {
        throw ModelError("the mmproj " + path + " needs M-RoPE positions, which this program does not make");
    }
}

} // namespace

Model load_model(const Job & job) {
    Model model;
    if (job.cpu_mask) {
        run_on(*job.cpu_mask); // a refusal is no error: results name the CPUs in fact
    }
    model.cpus = allowed_cpus();
    const int most = std::max(CPU_COUNT(&model.cpus), 1);
    model.threads = job.threads > 0 ? std::min(job.threads, most) : most;

    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = IMP_OFFLOAD ? -1 : 0; // -1: all
    params.load_mode = LLAMA_LOAD_MODE_MMAP;
    model.llm.reset(llama_model_load_from_file(job.model.c_str(), params));
    if (model.llm == nullptr) {
        throw ModelError(with_reason("cannot load the model " + job.model));
    }
    model.vocab = llama_model_get_vocab(model.llm.get());
    model.decode_bytes = read_decode_bytes(job.model);
    if (!job.mmproj.empty()) {
        load_vision(model, job.mmproj);
    }
    return model;
}

int position_limit(const Model & model, const Job & job) {
    const int trained = llama_model_n_ctx_train(model.llm.get());
    return job.context > 0 ? std::min(job.context, trained) : trained;
}

llama_context_ptr open_context(const Model & model, const Job & job, int positions, int visual_tokens) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = uint32_t(positions);
    if (job.batch > 0) {
        params.n_batch = uint32_t(job.batch);
    }
    if (job.ubatch > 0) {
        params.n_ubatch = uint32_t(job.ubatch);
    }
    if (visual_tokens > 0 && mtmd_decode_use_non_causal(model.vision.get(), nullptr)) {
        params.n_batch = std::max(params.n_batch, uint32_t(visual_tokens));
        params.n_ubatch = std::max(params.n_ubatch, uint32_t(visual_tokens));
    }
    params.n_outputs_max = 1; // logits are asked of one token at a time; 0 would reserve room for a whole batch
    params.n_threads = model.threads;
    params.n_threads_batch = model.threads;
    params.offload_kqv = IMP_OFFLOAD;
    params.op_offload = IMP_OFFLOAD;
    llama_context_ptr context(llama_init_from_model(model.llm.get(), params));
    if (context == nullptr) {
        throw ModelError(with_reason("cannot open a context of " + std::to_string(positions) + " tokens"));
    }
    return context;
}

} // namespace imp
