#include "fast_product.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#define IMP_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")))
#endif

namespace imp {

namespace {

constexpr int64_t block = 32; // values with a scale in common

// ggml's block_q8_0.
struct Q8Block {
    uint16_t scale; // float16
    int8_t   values[block];
};

// 16 rows of them. Value k of row r is values[k / 4][r][k % 4], with 128 added, because the instruction takes one
// unsigned and one signed factor.
struct Q8Rows {
    uint16_t scales[16];
    uint8_t  values[8][16][4];
};

// ggml's block_q4_0x8 (ggml/src/ggml-cpu/repack.h), 8 rows. Values k and k + 16 of row r are the low and the high half
// of values[k / 8][r][k % 8], k < 16, as signed numbers of 4 bits.
struct Q4Rows {
    uint16_t scales[8];
    uint8_t  values[2][8][8];
};

static_assert(sizeof(Q8Block) == 34 && sizeof(Q8Rows) == 16 * sizeof(Q8Block) && sizeof(Q4Rows) == 8 * 18);

/// What is added to every weight.
int32_t offset(Packing packing) {
    return packing == Packing::q8_0x16 ? 128 : 8;
}

} // namespace

void pack_q8_0(void * weights, int64_t rows, int64_t columns) {
    const int64_t        blocks = columns / block;
    std::vector<Q8Block> plain(size_t(rows_at_once * blocks));
    auto *               bytes = static_cast<uint8_t *>(weights);
    for (int64_t row = 0; row < rows; row += rows_at_once) {
        std::memcpy(plain.data(), bytes, plain.size() * sizeof(Q8Block));
        for (int64_t b = 0; b < blocks; ++b) {
            Q8Rows packed;
            for (int64_t r = 0; r < rows_at_once; ++r) {
                const Q8Block & from = plain[size_t(r * blocks + b)];
                packed.scales[r] = from.scale;
                for (int64_t k = 0; k < block; ++k) {
                    packed.values[k / 4][r][k % 4] = uint8_t(from.values[k] + 128);
                }
            }
            std::memcpy(bytes + size_t(b) * sizeof(packed), &packed, sizeof(packed));
        }
        bytes += plain.size() * sizeof(Q8Block);
    }
}

void Activations::reserve(int64_t size, int64_t count) {
    const size_t wanted = size_t(size) * size_t(count);
    if (values.size() < wanted) {
        values.resize(wanted);
        scales.resize(wanted / block);
        offsets.resize(wanted / block);
    }
}

#if defined(__x86_64__)

bool has_fast_products() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
}

IMP_TARGET void quantize_column(Packing packing, Activations & activations, const float * column, int64_t size,
                                int64_t index) {
    const int32_t added = offset(packing);
    int8_t *  values = activations.values.data() + index * size;
    float *   scales = activations.scales.data() + index * (size / block);
    int32_t * offsets = activations.offsets.data() + index * (size / block);
    for (int64_t b = 0; b < size / block; ++b) {
        const __m512 low = _mm512_loadu_ps(column + b * block);
        const __m512 high = _mm512_loadu_ps(column + b * block + 16);
        const float  most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
        const __m512 inverse = _mm512_set1_ps(most > 0 ? 127.0F / most : 0.0F);
        const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse)); // rounds to nearest
        const __m512i c = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
        _mm_storeu_si128(reinterpret_cast<__m128i *>(values + b * block), _mm512_cvtsepi32_epi8(a));
        _mm_storeu_si128(reinterpret_cast<__m128i *>(values + b * block + 16), _mm512_cvtsepi32_epi8(c));
        scales[b] = most / 127.0F;
        // Unsigned, because a sum of what NaN became may overflow.
        offsets[b] = int32_t(0U - uint32_t(added) * uint32_t(_mm512_reduce_add_epi32(_mm512_add_epi32(a, c))));
    }
}

namespace {

/// A block of 16 rows: values 4 i to 4 i + 3 of each in `values[i]`.
struct Weights {
    __m512i values[8];
    __m512  scales;
};

IMP_TARGET inline void load(const Q8Rows * rows, int64_t, int64_t b, Weights & weights) {
    for (int i = 0; i < 8; ++i) {
        weights.values[i] = _mm512_loadu_si512(rows[b].values[i]);
    }
    weights.scales = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(rows[b].scales)));
}

IMP_TARGET inline void load(const Q4Rows * rows, int64_t blocks, int64_t b, Weights & weights) {
    const __m512i  even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i  odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    const __m512i  eights = _mm512_set1_epi8(char(0x88)), low = _mm512_set1_epi8(0x0F);
    const Q4Rows & upper = rows[b];
    const Q4Rows & lower = rows[blocks + b];
    for (int i = 0; i < 2; ++i) {
        const __m512i first = _mm512_loadu_si512(upper.values[i]), second = _mm512_loadu_si512(lower.values[i]);
        for (int half = 0; half < 2; ++half) {
            const __m512i both =
                _mm512_xor_si512(_mm512_permutex2var_epi32(first, half == 0 ? even : odd, second), eights);
            weights.values[2 * i + half] = _mm512_and_si512(both, low);
            weights.values[2 * i + half + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
        }
    }
    const __m128i scales[2] = {_mm_loadu_si128(reinterpret_cast<const __m128i *>(upper.scales)),
                               _mm_loadu_si128(reinterpret_cast<const __m128i *>(lower.scales))};
    weights.scales = _mm512_cvtph_ps(_mm256_set_m128i(scales[1], scales[0]));
}

/// 16 rows with `Count` columns from `column` on.
template <typename Rows, int Count>
IMP_TARGET void multiply_tile(const Rows * rows, const Activations & activations, int64_t size, int64_t column,
                              float * out, size_t stride) {
    const int64_t   blocks = size / block;
    const int8_t *  values = activations.values.data() + column * size;
    const float *   scales = activations.scales.data() + column * blocks;
    const int32_t * offsets = activations.offsets.data() + column * blocks;
    __m512          total[Count];
#pragma GCC unroll 16 // or the sums are kept in memory
    for (int j = 0; j < Count; ++j) {
        total[j] = _mm512_setzero_ps();
    }
    for (int64_t b = 0; b < blocks; ++b) {
        Weights weights;
        load(rows, blocks, b, weights);
#pragma GCC unroll 16
        for (int j = 0; j < Count; ++j) {
            const int8_t * at = values + j * size + b * block;
            __m512i        sum = _mm512_set1_epi32(offsets[j * blocks + b]);
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i) {
                int32_t four;
                std::memcpy(&four, at + 4 * i, sizeof(four));
                sum = _mm512_dpbusd_epi32(sum, weights.values[i], _mm512_set1_epi32(four));
            }
            const __m512 scale = _mm512_mul_ps(weights.scales, _mm512_set1_ps(scales[j * blocks + b]));
            total[j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, total[j]);
        }
    }
#pragma GCC unroll 16
    for (int j = 0; j < Count; ++j) {
        _mm512_storeu_ps(out + size_t(column + j) * stride, total[j]);
    }
}

/// The columns from `column` on, as many at once as there are, but not more than `Most`.
template <typename Rows, int Most>
void multiply(const Rows * rows, const Activations & activations, int64_t size, int64_t count, int64_t column,
              float * out, size_t stride) {
    for (; column + Most <= count; column += Most) {
        multiply_tile<Rows, Most>(rows, activations, size, column, out, stride);
    }
    if constexpr (Most > 1) {
        multiply<Rows, Most / 2>(rows, activations, size, count, column, out, stride);
    }
}

constexpr int most_columns = 16; // that the registers hold

} // namespace

void multiply_rows(Packing packing, const void * weights, int64_t first, const Activations & activations, int64_t size,
                   int64_t count, float * out, size_t stride) {
    const int64_t blocks = size / block;
    if (packing == Packing::q8_0x16) {
        const auto * rows = static_cast<const Q8Rows *>(weights) + first / 16 * blocks;
        multiply<Q8Rows, most_columns>(rows, activations, size, count, 0, out + first, stride);
    } else {
        const auto * rows = static_cast<const Q4Rows *>(weights) + first / 8 * blocks;
        multiply<Q4Rows, most_columns>(rows, activations, size, count, 0, out + first, stride);
    }
}

#else

bool has_fast_products() {
    return false;
}

void quantize_column(Packing, Activations &, const float *, int64_t, int64_t) {}

void multiply_rows(Packing, const void *, int64_t, const Activations &, int64_t, int64_t, float *, size_t) {}

#endif

} // namespace imp
