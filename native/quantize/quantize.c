// Two of ggml's quantizers for many values at once, with the very same results, bit by bit.
//
// ggml's own (quantize_row_q8_0_ref, quantize_row_q6_K_ref in ggml-quants.c) are written and compiled for one
// value at a time. Here the loops are such that the compiler makes vectors of them: Q8_0 by values, Q6_K by
// groups of 16 values, of which a block has 16, so that the sums of each group are added up in ggml's order.
// No multiplication may be contracted with an addition (-ffp-contract=off): ggml's base library has none.
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { q8_block = 32, q6_block = 256, groups = 16, group = 16 };

typedef struct {
    uint16_t scale; // float16
    int8_t   values[q8_block];
} q8_row;

typedef struct {
    uint8_t  low[q6_block / 2];
    uint8_t  high[q6_block / 4];
    int8_t   scales[groups];
    uint16_t scale;
} q6_row;

static uint16_t half_of(float value) {
    _Float16 half = (_Float16) value; // to nearest, ties to even
    uint16_t bits;
    memcpy(&bits, &half, sizeof(bits));
    return bits;
}

static float float_of(uint16_t bits) {
    _Float16 half;
    memcpy(&half, &bits, sizeof(half));
    return (float) half;
}

/// `count` (a multiple of 32) values from `x` to rows of Q8_0 at `out`.
void imp_quantize_q8_0(const float * x, void * out, int64_t count) {
    q8_row * row = out;
    for (int64_t b = 0; b < count / q8_block; ++b, ++row, x += q8_block) {
        float most = 0;
        for (int i = 0; i < q8_block; ++i) {
            float size = fabsf(x[i]);
            most = size > most ? size : most;
        }
        float scale = most / 127;
        float inverse = scale ? 1.0F / scale : 0.0F;
        row->scale = half_of(scale);
        for (int i = 0; i < q8_block; ++i) {
            // roundf: halves away from zero. The largest number below a half, because 0.5 would carry
            // 0.49999997 to the next one.
            float value = x[i] * inverse;
            row->values[i] = (int8_t) (int32_t) (value + copysignf(0x1.fffffep-2F, value));
        }
    }
}

static int32_t nearest(float value) {
    float    shifted = value + 12582912.0F;
    int32_t  bits;
    memcpy(&bits, &shifted, sizeof(bits));
    return (bits & 0x007fffff) - 0x00400000;
}

static int32_t clamp(int32_t value) {
    value = value > 31 ? 31 : value;
    return value < -32 ? -32 : value;
}

/// The best scale of each of the 16 groups of a block, and the inverse that it was found with (0 where all values are
/// zero): x[i][g] is value i of group g. As ggml's make_qx_quants with 32 steps on either side and weights x^2.
static void best_scales(const float x[group][groups], float best_scale[groups], float best_inverse[groups]) {
    float largest[groups], most[groups], best[groups], sum_lx[groups], sum_l2[groups], inverse[groups];
    for (int g = 0; g < groups; ++g) {
        largest[g] = most[g] = 0;
    }
    for (int i = 0; i < group; ++i) {
        for (int g = 0; g < groups; ++g) {
            float size = fabsf(x[i][g]);
            int   larger = size > most[g];
            largest[g] = larger ? x[i][g] : largest[g];
            most[g] = larger ? size : most[g];
        }
    }
    for (int step = 0; step < 19; ++step) {
        // ggml's order: without a shift first, then -9 to 9.
        int shift = step == 0 ? 0 : step <= 9 ? step - 10 : step - 9;
        for (int g = 0; g < groups; ++g) {
            inverse[g] = -(32 + 0.1F * shift) / largest[g];
            sum_lx[g] = sum_l2[g] = 0;
        }
        for (int i = 0; i < group; ++i) {
            for (int g = 0; g < groups; ++g) {
                float l = (float) clamp(nearest(inverse[g] * x[i][g]));
                float weight = x[i][g] * x[i][g];
                sum_lx[g] += weight * x[i][g] * l;
                sum_l2[g] += weight * l * l;
            }
        }
        for (int g = 0; g < groups; ++g) {
            float scale = sum_l2[g] != 0 ? sum_lx[g] / sum_l2[g] : 0.0F;
            int   better = step == 0 || (sum_l2[g] > 0 && sum_lx[g] * sum_lx[g] > best[g] * sum_l2[g]);
            best_scale[g] = better ? scale : best_scale[g];
            best_inverse[g] = better ? inverse[g] : best_inverse[g];
            best[g] = better ? scale * sum_lx[g] : best[g];
        }
    }
    for (int g = 0; g < groups; ++g) {
        int zero = most[g] < 1e-15F;
        best_scale[g] = zero ? 0.0F : best_scale[g];
        best_inverse[g] = zero ? 0.0F : best_inverse[g];
    }
}

/// `count` (a multiple of 256) values from `x` to rows of Q6_K at `out`.
void imp_quantize_q6_k(const float * x, void * out, int64_t count) {
    q6_row * row = out;
    for (int64_t b = 0; b < count / q6_block; ++b, ++row, x += q6_block) {
        float across[group][groups], scales[groups], inverses[groups];
        for (int g = 0; g < groups; ++g) {
            for (int i = 0; i < group; ++i) {
                across[i][g] = x[group * g + i];
            }
        }
        best_scales(across, scales, inverses);
        float largest = 0, most = 0;
        for (int g = 0; g < groups; ++g) {
            if (fabsf(scales[g]) > most) {
                most = fabsf(scales[g]);
                largest = scales[g];
            }
        }
        if (most < 1e-15F) {
            memset(row, 0, sizeof(*row));
            continue;
        }
        float inverse = -128.0F / largest;
        row->scale = half_of(1 / inverse);
        uint8_t values[q6_block];
        for (int g = 0; g < groups; ++g) {
            int32_t step = nearest(inverse * scales[g]);
            row->scales[g] = (int8_t) (step > 127 ? 127 : step);
            float scale = float_of(row->scale) * row->scales[g];
            const float * from = x + group * g;
            uint8_t *     to = values + group * g;
            if (scale != 0) {
                for (int i = 0; i < group; ++i) {
                    to[i] = (uint8_t) (clamp(nearest(from[i] / scale)) + 32);
                }
            } else { // the group is too small for the block's scale; ggml leaves what the search gave, or nothing
                for (int i = 0; i < group; ++i) {
                    to[i] = inverses[g] != 0 ? (uint8_t) (clamp(nearest(inverses[g] * from[i])) + 32) : 0;
                }
            }
        }
        for (int half = 0; half < 2; ++half) {
            const uint8_t * v = values + 128 * half;
            for (int i = 0; i < 32; ++i) {
                row->low[64 * half + i] = (uint8_t) ((v[i] & 15) | ((v[i + 64] & 15) << 4));
                row->low[64 * half + 32 + i] = (uint8_t) ((v[i + 32] & 15) | ((v[i + 96] & 15) << 4));
                row->high[32 * half + i] = (uint8_t) ((v[i] >> 4) | ((v[i + 32] >> 4) << 2) | ((v[i + 64] >> 4) << 4) |
                                                      ((v[i + 96] >> 4) << 6));
            }
        }
    }
}
