// Compiled without fused multiply-adds (see CMakeLists.txt): they would change the last bit of a
// weight now and then, and with it a pixel, on some machines and not on others.
#include "resample.h"

#include <algorithm>
#include <cmath>

namespace imp {

namespace {

// 8 bits for the value and 2 for a cubic's overshoot leave 22 of 32 for the fraction.
constexpr int fraction_bits = 32 - 8 - 2;

/// Keys' kernel; zero from 2 on.
double cubic(double x) {
    constexpr double a = -0.5;
    x = std::fabs(x);
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    }
    if (x < 2.0) {
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    }
    return 0.0;
}

/// The source samples that make one sample of the result: `count` from `first` on, and their weights.
struct Window {
    int             first;
    int             count;
    const int32_t * weights; // of 2^fraction_bits
};

/// The windows of all `to` samples of one axis that has `from` samples.
class Axis {
public:
    Axis(int from, int to) {
        const double scale = double(from) / to;
        const double stretch = std::max(scale, 1.0);
        const double support = 2.0 * stretch;
        const size_t most = size_t(std::ceil(support)) * 2 + 1;
        weights_.resize(most * to);
        std::vector<double> exact(most);
        for (int i = 0; i < to; ++i) {
            const double center = (i + 0.5) * scale;
            // Conversion to int truncates; a negative bound is cut to 0 anyway.
            const int first = std::max(int(center - support + 0.5), 0);
            const int last = std::min(int(center + support + 0.5), from);
            const int count = last - first;
            double    sum = 0.0;
            for (int j = 0; j < count; ++j) {
                exact[j] = cubic((j + first - center + 0.5) * (1.0 / stretch));
                sum += exact[j];
            }
            int32_t * weights = &weights_[most * i];
            for (int j = 0; j < count; ++j) {
                const double scaled = exact[j] / sum * (1 << fraction_bits);
                weights[j] = int32_t(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
            }
            windows_.push_back({first, count, weights});
        }
    }

    const Window & operator[](int i) const { return windows_[i]; }

private:
    std::vector<int32_t> weights_;
    std::vector<Window>  windows_;
};

uint8_t to_byte(int32_t sum) {
    return uint8_t(std::clamp(sum >> fraction_bits, 0, 255));
}

constexpr int32_t half = 1 << (fraction_bits - 1);

Image resize_rows(const Image & source, int width) {
    Image      result(width, source.height);
    const Axis axis(source.width, width);
    for (int y = 0; y < source.height; ++y) {
        uint8_t * out = result.row(y);
        for (int x = 0; x < width; ++x, out += 3) {
            const Window &  window = axis[x];
            const uint8_t * in = source.row(y) + size_t(3) * window.first;
            int32_t         red = half, green = half, blue = half;
            for (int j = 0; j < window.count; ++j, in += 3) {
                red += in[0] * window.weights[j];
                green += in[1] * window.weights[j];
                blue += in[2] * window.weights[j];
            }
            out[0] = to_byte(red);
            out[1] = to_byte(green);
            out[2] = to_byte(blue);
        }
    }
    return result;
}

Image resize_columns(const Image & source, int height) {
    Image                result(source.width, height);
    const Axis           axis(source.height, height);
    const size_t         values = size_t(3) * source.width;
    std::vector<int32_t> sums(values);
    for (int y = 0; y < height; ++y) {
        std::fill(sums.begin(), sums.end(), half);
        const Window & window = axis[y];
        for (int j = 0; j < window.count; ++j) {
            const uint8_t * in = source.row(window.first + j);
            const int32_t   weight = window.weights[j];
            for (size_t i = 0; i < values; ++i) {
                sums[i] += in[i] * weight;
            }
        }
        std::transform(sums.begin(), sums.end(), result.row(y), to_byte);
    }
    return result;
}

} // namespace

Image resize_bicubic(const Image & source, int width, int height) {
    // An axis that keeps its size is left alone, as in Pillow.
    if (source.width == width) {
        return source.height == height ? source : resize_columns(source, height);
    }
    const Image narrowed = resize_rows(source, width);
    return source.height == height ? narrowed : resize_columns(narrowed, height);
}

} // namespace imp
