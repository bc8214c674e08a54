#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace imp {

// Products of quantized weights with many columns at once on x86 with AVX-512 VNNI, which multiplies
// bytes four at a time. The pinned ggml has no such kernel for Q8_0, and for Q4_0 one that
// is slower. ARM has its own in ggml.

/// Products are made of so many rows at once.
constexpr int64_t rows_at_once = 16;

/// How the rows of a matrix lie together. Both take the room that the rows took before.
enum class Packing {
    q8_0x16, // ours, made by pack_q8_0
    q4_0x8,  // ggml's repacked Q4_0, on x86 with AVX2
};

/// Whether this machine has the instructions.
bool has_fast_products();

/// Rearranges `rows` (a multiple of 16) rows of Q8_0, each `columns` (a multiple of 32) long, in place.
void pack_q8_0(void * weights, int64_t rows, int64_t columns);

/// Columns in 8 bits: per 32 values a scale, as in Q8_0, but in float32.
struct Activations {
    std::vector<int8_t>  values;
    std::vector<float>   scales;  // per 32 values
    std::vector<int32_t> offsets; // likewise; makes up for what is added to the weights

    /// Room for `count` columns of `size` values. It never shrinks.
    void reserve(int64_t size, int64_t count);
};

/// Quantizes `column` [size] to be column number `index` of a product with weights of that packing.
void quantize_column(Packing packing, Activations & activations, const float * column, int64_t size, int64_t index);

/// out[j * stride + i] for the 16 rows i from `first` on (a multiple of 16) and all `count` columns j: the products of
/// the rows of `weights`, each `size` long, with the columns. Whatever `count` is, a column's products are the same.
void multiply_rows(Packing packing, const void * weights, int64_t first, const Activations & activations, int64_t size,
                   int64_t count, float * out, size_t stride);

} // namespace imp
