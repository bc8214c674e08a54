#pragma once

#include "fast_product.h"

#include "ggml.h"
#include "ggml-cpp.h"

#include <atomic>
#include <cstdint>
#include <optional>
#include <unordered_map>

namespace imp {

/// Computes the products of quantized matrices in a graph of libmtmd or llama.cpp with faster kernels than
/// the library would, through its public `cb_eval`: every node is shown before it is computed.
///
/// libmtmd leaves the tower's matrices in the plain CPU buffer, where ggml has no fast kernels for them. Those
/// that ggml can repack for this machine are repacked in their place; on x86 Q8_0 is packed for our own. Products
/// that our own kernels are for become nodes of ggml's custom operation. Matrices on other
/// backends than the CPU are left alone.
class FastGraph {
public:
    /// `repack`: whether matrices may be changed in place, because nothing else reads them and their memory can be
    /// written. Not those of a mapped file.
    explicit FastGraph(bool repack) : repack_(repack) {}
    FastGraph(const FastGraph &) = delete;
    FastGraph & operator=(const FastGraph &) = delete;

    /// To be called with every node of a graph before it is computed.
    void prepare(ggml_tensor * node);

    /// Of the matrices that were changed.
    int64_t repacked_bytes() const { return repacked_bytes_; }

private:
    struct Workspace {
        Activations      activations;
        std::atomic<int> arrived{0};
        std::atomic<int> generation{0};
        std::atomic<int> next{0}; // group of 16 rows
    };

    /// What is known of a matrix. `packing` none: ours have no kernel for it.
    struct Matrix {
        std::optional<Packing> packing;
        Workspace *            workspace;
    };

    const Matrix & look_at(ggml_tensor * product);
    bool           repack_by_ggml(ggml_tensor * matrix);
    static void    compute(ggml_tensor * out, int thread, int threads, void * matrix);

    const bool                                                   repack_;
    int64_t                                                      repacked_bytes_ = 0;
    Workspace                                                    workspace_; // nodes are computed one after the other
    std::unordered_map<const ggml_tensor *, Matrix>              matrices_;
    ggml_backend_buffer_ptr                                      repacked_; // stands for the kind of buffer; holds nothing
};

} // namespace imp
