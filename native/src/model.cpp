#include "model.h"

#include "class_token.h"
#include "errors.h"
#include "json.h"
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

bool see_tower_node(ggml_tensor * node, bool ask, void * data) {
    const auto & graph = *static_cast<TowerGraph *>(data);
    if (ask && graph.fast != nullptr) {
        graph.fast->prepare(node);
    }
    return graph.misplaced_class_token ? put_class_token_first(node, ask) : !ask;
}

bool see_llm_node(ggml_tensor * node, bool ask, void * graph) {
    if (ask) {
        static_cast<FastGraph *>(graph)->prepare(node);
    }
    return !ask;
}

llama_flash_attn_type flash_attention(const std::string & wanted) {
    return wanted == "on"    ? LLAMA_FLASH_ATTN_TYPE_ENABLED
           : wanted == "off" ? LLAMA_FLASH_ATTN_TYPE_DISABLED
                             : LLAMA_FLASH_ATTN_TYPE_AUTO;
}

ggml_type cache_type(const std::string & wanted) {
    return wanted == "q8_0" ? GGML_TYPE_Q8_0 : wanted == "f32" ? GGML_TYPE_F32 : GGML_TYPE_F16;
}

void load_vision(Model & model, const Job & job) {
    const std::string & path = job.mmproj;
    const Gguf file = read_gguf(path);
    if (file == nullptr) {
        throw ModelError(with_reason("cannot read the mmproj " + path));
    }
    model.image_side = read_image_side(file.get(), path);
    model.mean_colour = read_mean_colour(file.get(), path);
    mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = IMP_OFFLOAD;
    params.print_timings = false;
    params.n_threads = model.threads_vision;
    params.flash_attn_type = flash_attention(job.flash_attention_vision);
    params.warmup = true; // the first image shall not be slower than the others
    model.tower_graph->misplaced_class_token = misplaces_class_token(file.get());
    params.cb_eval = see_tower_node;
    params.cb_eval_user_data = model.tower_graph.get();
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
    const auto threads = [&](int wanted, int otherwise) { return wanted > 0 ? std::min(wanted, most) : otherwise; };
    model.threads = threads(job.threads, most);
    model.threads_vision = threads(job.threads_vision, model.threads);
    model.threads_prompt = threads(job.threads_prompt, model.threads);
    model.threads_generate = threads(job.threads_generate, model.threads);

    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = IMP_OFFLOAD ? -1 : 0; // -1: all
    params.load_mode = LLAMA_LOAD_MODE_MMAP;
    model.llm.reset(llama_model_load_from_file(job.model.c_str(), params));
    if (model.llm == nullptr) {
        throw ModelError(with_reason("cannot load the model " + job.model));
    }
    model.vocab = llama_model_get_vocab(model.llm.get());
    model.decode_bytes = read_decode_bytes(job.model);
    if (job.fast_kernels) {
        model.tower_graph->fast = std::make_unique<FastGraph>(/*repack*/ true);
        model.llm_graph = std::make_unique<FastGraph>(/*repack*/ false);
    }
    if (!job.mmproj.empty()) {
        load_vision(model, job);
    }
    return model;
}

std::string used_settings(const Model & model, const llama_context * context, const Job & job) {
    JsonObject used;
    used.integer("threads_vision", model.threads_vision);
    used.integer("threads_prompt", model.threads_prompt);
    used.integer("threads_generate", model.threads_generate);
    used.integer("ubatch", llama_n_ubatch(context));
    // A quantized cache makes llama.cpp switch it on without saying that it chose.
    used.text("flash_attention", job.flash_attention != "auto" ? job.flash_attention
                                 : job.cache_type == "q8_0"    ? "on"
                                                               : chosen_flash_attention());
    used.text("flash_attention_vision", vision_flash_attention());
    used.text("cache_type", job.cache_type);
    used.text("kernels", job.fast_kernels ? "fast" : "stock");
    return used.str();
}

int position_limit(const Model & model, const Job & job) {
    const int trained = llama_model_n_ctx_train(model.llm.get());
    return job.context > 0 ? std::min(job.context, trained) : trained;
}

llama_context_ptr open_context(const Model & model, const Job & job, int positions, int visual_tokens,
                               Importance * importance) {
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
    params.n_threads = model.threads_generate;
    params.n_threads_batch = model.threads_prompt;
    params.flash_attn_type = flash_attention(job.flash_attention);
    params.type_k = params.type_v = cache_type(job.cache_type);
    params.offload_kqv = IMP_OFFLOAD;
    params.op_offload = IMP_OFFLOAD;
    if (importance != nullptr) {
        importance->watch(params);
    } else if (model.llm_graph != nullptr) {
        params.cb_eval = see_llm_node;
        params.cb_eval_user_data = model.llm_graph.get();
    }
    llama_context_ptr context(llama_init_from_model(model.llm.get(), params));
    if (context == nullptr) {
        throw ModelError(with_reason("cannot open a context of " + std::to_string(positions) + " tokens"));
    }
    return context;
}

} // namespace imp
