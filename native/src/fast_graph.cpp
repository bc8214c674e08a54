#include "fast_graph.h"

#include "ggml-backend.h"
#include "ggml-cpu.h"

#include <cstring>
#include <sched.h>
#include <vector>

namespace imp {

namespace {

// With fewer columns, ggml's kernels for one column at a time are as fast.
constexpr int64_t fewest_columns = 4;

constexpr const char * repack_name = "CPU_REPACK";

/// ggml's kind of buffer whose matrices are repacked; null where it was built without.
ggml_backend_buffer_type_t repack_buffer_type(ggml_backend_dev_t cpu) {
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(cpu);
    const auto         extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(registry, "ggml_backend_dev_get_extra_bufts"));
    if (extra == nullptr) {
        return nullptr;
    }
    for (ggml_backend_buffer_type_t * type = extra(cpu); type != nullptr && *type != nullptr; ++type) {
        if (std::strcmp(ggml_backend_buft_name(*type), repack_name) == 0) {
            return *type;
        }
    }
    return nullptr;
}

/// Whether `node` multiplies a matrix of weights in the CPU's memory with columns of float32.
bool multiplies_weights(const ggml_tensor * node) {
    if (node->op != GGML_OP_MUL_MAT) {
        return false;
    }
    const ggml_tensor * weights = node->src[0];
    const ggml_tensor * columns = node->src[1];
    return weights->op == GGML_OP_NONE && weights->view_src == nullptr && weights->buffer != nullptr &&
           ggml_backend_buffer_get_usage(weights->buffer) == GGML_BACKEND_BUFFER_USAGE_WEIGHTS &&
           ggml_is_matrix(weights) && ggml_is_contiguous(weights) && columns->type == GGML_TYPE_F32 &&
           columns->nb[0] == sizeof(float) && node->type == GGML_TYPE_F32 && ggml_is_contiguous(node);
}

/// ggml's repacked kernels quantize four columns in one, and know three dimensions.
bool repacked_kernels_take(const ggml_tensor * columns) {
    return ggml_is_contiguous(columns) && columns->ne[3] == 1;
}

bool is_in(const ggml_tensor * tensor, const char * buffer_type) {
    return std::strcmp(ggml_backend_buft_name(ggml_backend_buffer_get_type(tensor->buffer)), buffer_type) == 0;
}

/// Makes `node` ggml's custom operation, which calls `compute` from all threads. What it reads stays the same.
void customize(ggml_tensor * node, ggml_custom_op_t compute, void * data) {
    // ggml alone knows how it keeps these parameters, so a node of its own making is copied.
    alignas(16) uint8_t memory[2048]; // as ggml wants it
    ggml_init_params   params = {sizeof(memory), memory, /*no_alloc*/ true};
    const ggml_context_ptr context(ggml_init(params));
    const ggml_tensor * custom = ggml_custom_4d(context.get(), GGML_TYPE_F32, 1, 1, 1, 1, nullptr, 0, compute,
                                                GGML_N_TASKS_MAX, data);
    std::memcpy(node->op_params, custom->op_params, sizeof(node->op_params));
    node->op = custom->op;
}

} // namespace

void FastGraph::prepare(ggml_tensor * node) {
    if (!multiplies_weights(node)) {
        return;
    }
    const Matrix & matrix = look_at(node);
    if (!matrix.packing) {
        return;
    }
    const int64_t count = ggml_nrows(node->src[1]);
    if (*matrix.packing == Packing::q4_0x8 && count < fewest_columns) {
        return;
    }
    workspace_.activations.reserve(node->src[1]->ne[0], count);
    customize(node, compute, const_cast<Matrix *>(&matrix));
}

const FastGraph::Matrix & FastGraph::look_at(ggml_tensor * product) {
    ggml_tensor * weights = product->src[0];
    const auto    known = matrices_.find(weights);
    if (known != matrices_.end()) {
        return known->second;
    }
    Matrix     matrix = {std::nullopt, &workspace_};
    const bool whole_groups = weights->ne[1] % rows_at_once == 0;
    const bool own = has_fast_products() && whole_groups;
    if (repack_ && is_in(weights, "CPU")) {
        if (own && weights->type == GGML_TYPE_Q8_0) {
            pack_q8_0(weights->data, weights->ne[1], weights->ne[0]);
            matrix.packing = Packing::q8_0x16;
            repacked_bytes_ += int64_t(ggml_nbytes(weights));
        } else if (repacked_kernels_take(product->src[1]) && repack_by_ggml(weights)) {
            repacked_bytes_ += int64_t(ggml_nbytes(weights));
        }
    }
    if (own && weights->type == GGML_TYPE_Q4_0 && is_in(weights, repack_name)) {
        matrix.packing = Packing::q4_0x8;
    }
    return matrices_.emplace(weights, matrix).first->second;
}

bool FastGraph::repack_by_ggml(ggml_tensor * matrix) {
    if (repacked_ == nullptr) {
        ggml_backend_dev_t         cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
        ggml_backend_buffer_type_t type = repack_buffer_type(cpu);
        if (type == nullptr) {
            return false;
        }
        // Only its kind matters: the matrices stay where they are.
        repacked_.reset(ggml_backend_buft_alloc_buffer(type, 64));
        if (repacked_ == nullptr) {
            return false;
        }
        ggml_backend_buffer_set_usage(repacked_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    }
    ggml_backend_buffer_t plain = matrix->buffer;
    matrix->buffer = repacked_.get();
    ggml_backend_buffer_init_tensor(repacked_.get(), matrix);
    if (matrix->extra == nullptr) { // ggml has no kernel for this type and size on this machine
        matrix->buffer = plain;
        return false;
    }
    const auto *               data = static_cast<const uint8_t *>(matrix->data);
    const std::vector<uint8_t> copy(data, data + ggml_nbytes(matrix));
    ggml_backend_tensor_set(matrix, copy.data(), 0, copy.size());
    return true;
}

void FastGraph::compute(ggml_tensor * out, int thread, int threads, void * data) {
    const Matrix &      matrix = *static_cast<const Matrix *>(data);
    Workspace &         work = *matrix.workspace;
    const ggml_tensor * weights = out->src[0];
    const ggml_tensor * columns = out->src[1];
    const int64_t       size = columns->ne[0], count = ggml_nrows(columns);
    for (int64_t j = thread; j < count; j += threads) {
        const int64_t j1 = j % columns->ne[1], rest = j / columns->ne[1];
        const int64_t j2 = rest % columns->ne[2], j3 = rest / columns->ne[2];
        const auto *  column = static_cast<const char *>(columns->data) + j1 * columns->nb[1] + j2 * columns->nb[2] +
                              j3 * columns->nb[3];
        quantize_column(*matrix.packing, work.activations, reinterpret_cast<const float *>(column), size, j);
    }

    // All columns must be there before the first product.
    const int generation = work.generation.load();
    if (work.arrived.fetch_add(1) + 1 == threads) {
        work.arrived.store(0);
        work.next.store(0);
        work.generation.store(generation + 1);
    } else {
        for (int waited = 0; work.generation.load() == generation; ++waited) {
            if (waited > 10000) { // the other thread may need this CPU
                sched_yield();
            }
        }
    }

    // ggml waits for all threads behind every node, so `next` is not set back too early.
    const int64_t rows = weights->ne[1];
    for (int64_t first; (first = rows_at_once * int64_t(work.next.fetch_add(1))) < rows;) {
        multiply_rows(*matrix.packing, weights->data, first, work.activations, size, count,
                         static_cast<float *>(out->data), size_t(rows));
    }
}

} // namespace imp
