// What follows a convolution in a block that pools, backward: from the gradient of the block's output to that of the
// convolution's, in one pass over memory.
//
// The idea is that each pixel of the convolution's output gathers its own gradient, so that no two threads write to one
// place. What the forward pass had between the operations is computed again from `convolved`; of pooling argmax is
// kept. A thread owns eight channels of a pixel, a block all channels of the pixels it works on:
//
//     for each pixel of the block's part of the batch:
//         x = the pixel's channels, with bias and ReLU again; s = k + alpha * the sum of x^2 over n channels around
//         dy = the sum of the gradients of the windows (up to four) whose argmax is this pixel
//         dx = dy s^-beta, ratio = dy x s^(-beta - 1)
//         give the outermost ratios to the threads of the channels beside, take theirs
//         dx += -2 alpha beta x * the sum of the ratios over n channels around
//         clear dx where ReLU gave nothing, store it over the pixel, add it to the bias's sums
//     add up the sums of the block's threads: one partial of the bias gradient
//
// Two buffers take turns in the exchange, as in conv_tail_forward.cu.

#define TAIL_BACKWARD_THREADS 256

// A thread's pixel of (num_samples, side, side), advanced without divisions.
struct Pixel {
    int sample, row, column;

    __device__ __forceinline__ void advance(int pixels, int side) {
        column += pixels;
        while (column >= side) {
            column -= side;
            row += 1;
        }
        while (row >= side) {
            row -= side;
            sample += 1;
        }
    }
};

// dy of eight channels of a pixel: the gradients of the windows whose argmax is the pixel. MASKED: ReLU follows
// pooling, so the gradient of a window without a positive output is 0.
template <bool MASKED>
__device__ __forceinline__ Octet gather_windows(
    const Pixel& at_pixel, const real* output, const real* gradient, const unsigned char* argmax, int channel,
    int channels, int out_side) {
    Octet sums = zero_octet();
#pragma unroll
    for (int up = 1; up >= 0; --up) {
        // Odd rows and columns lie in the middle of one window, even ones on the border of two.
        const int out_row = at_pixel.row / 2 - up;
        if ((up == 1 && at_pixel.row % 2 == 1) || out_row < 0 || out_row >= out_side) {
            continue;
        }
#pragma unroll
        for (int left = 1; left >= 0; --left) {
            const int out_column = at_pixel.column / 2 - left;
            if ((left == 1 && at_pixel.column % 2 == 1) || out_column < 0 || out_column >= out_side) {
                continue;
            }
            const long long window =
                (static_cast<long long>(at_pixel.sample) * out_side + out_row) * out_side + out_column;
            const long long at = window * channels + channel;
            const unsigned int in_window = (at_pixel.row - 2 * out_row) * 3 + at_pixel.column - 2 * out_column;
            const uint2 bytes = read<uint2>(argmax + at);
            Octet own = load_octet(gradient + at);
            if constexpr (MASKED) {
                const Octet activation = load_octet(output + at);
#pragma unroll
                for (int e = 0; e < OCTET; ++e) {
                    own.at[e] = activation.at[e] > 0.0f ? own.at[e] : 0.0f;
                }
            }
#pragma unroll
            for (int e = 0; e < OCTET; ++e) {
                const unsigned int own_argmax = (e < 4 ? bytes.x : bytes.y) >> e % 4 * 8 & 255u;
                sums.at[e] += own_argmax == in_window ? own.at[e] : 0.0f;
            }
        }
    }
    return sums;
}

// Puts a thread's ratios where the threads beside it find them: its two lowest and two highest, or all where n is not
// known. shared (half, thread, 2) is (2, threads, 2), or (pixel, channel) is (blockDim.y, channels).
template <int HALF> __device__ __forceinline__ void give_ratios(float* shared, const Octet& ratios) {
    const int num_threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
    if constexpr (HALF == ANY_HALF) {
        store_octet(shared + thread * OCTET, ratios);
    } else {
        float2* ends = reinterpret_cast<float2*>(shared);
        ends[thread] = float2{ratios.at[0], ratios.at[1]};
        ends[num_threads + thread] = float2{ratios.at[6], ratios.at[7]};
    }
}

// The sums of ratios over the n channels around each of the thread's own.
template <int HALF>
__device__ __forceinline__ Octet sum_ratios(
    const float* shared, const Octet& ratios, const Lrn& lrn, int channel, int channels) {
    const int num_threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
    Octet sums;
    if constexpr (HALF == ANY_HALF) {
        const float* pixel = shared + threadIdx.y * blockDim.x * OCTET;
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            const int first = max(channel + e - lrn.n / 2, 0), last = min(channel + e + lrn.n / 2, channels - 1);
            sums.at[e] = 0.0f;
#pragma unroll 1
            for (int other = first; other <= last; ++other) {
                sums.at[e] += pixel[other];
            }
        }
    } else {
        const float2* ends = reinterpret_cast<const float2*>(shared);
        const float2 zeros = float2{0.0f, 0.0f};
        const float2 below = channel > 0 ? ends[num_threads + thread - 1] : zeros;
        const float2 above = channel + OCTET < channels ? ends[thread + 1] : zeros;
        float around[OCTET + 4] = {below.x, below.y};
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            around[2 + e] = ratios.at[e];
        }
        around[OCTET + 2] = above.x;
        around[OCTET + 3] = above.y;
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            sums.at[e] = around[e + 2 - HALF];
#pragma unroll
            for (int other = 1; other <= 2 * HALF; ++other) {
                sums.at[e] += around[e + 2 - HALF + other];
            }
        }
    }
    return sums;
}

// The body of conv_tail_backward. shared (buffer, thread, channel) is (2, TAIL_BACKWARD_THREADS, 8).
template <bool RELU_FIRST, int HALF, bool MASKED>
__device__ __forceinline__ void tail_backward(
    float* shared, real* convolved, const real* bias, const real* output, const real* output_gradient,
    const unsigned char* argmax, float* bias_partials, int num_samples, int channels, int side, int out_side,
    int num_partials, const Lrn& lrn) {
    const long long num_pixels = static_cast<long long>(num_samples) * side * side;
    const int start = static_cast<int>(num_pixels * blockIdx.x / num_partials);
    const int end = static_cast<int>(num_pixels * (blockIdx.x + 1) / num_partials);
    const int channel = threadIdx.x * OCTET;
    const Around<HALF> biases = load_around<HALF>(bias, channel, channels);
    const float factor = -2.0f * lrn.alpha * lrn.beta;
    const int own_start = start + threadIdx.y;
    Pixel at_pixel = {own_start / (side * side), own_start / side % side, own_start % side};
    Octet bias_sums = zero_octet();
    int buffer = 0;
    for (int first = start; first < end; first += blockDim.y, buffer ^= 1) {
        const bool is_inside = first + static_cast<int>(threadIdx.y) < end;
        real* pixel = convolved + (first + static_cast<long long>(threadIdx.y)) * channels;
        Octet own = zero_octet(), gradient = zero_octet(), ratios = zero_octet();
        if (is_inside) {
            Around<HALF> values = load_around<HALF>(pixel, channel, channels);
            gradient = gather_windows<MASKED>(at_pixel, output, output_gradient, argmax, channel, channels, out_side);
            activate_all<RELU_FIRST, HALF>(values, biases);
#pragma unroll
            for (int e = 0; e < OCTET; ++e) {
                own.at[e] = values.at[Kept<HALF>::EACH + e];
            }
            if constexpr (HALF > 0) {
                const Octet scales = lrn_scales<RELU_FIRST, HALF>(lrn, values, pixel, bias, channel, channels);
                const Octet roots = inverse_roots(scales), powers = lrn_powers(lrn, scales, roots);
#pragma unroll
                for (int e = 0; e < OCTET; ++e) {
                    gradient.at[e] *= powers.at[e];
                    ratios.at[e] = gradient.at[e] * own.at[e] * (roots.at[e] * roots.at[e]);
                }
            }
        }
        if constexpr (HALF > 0) {
            float* exchange = shared + buffer * OCTET * TAIL_BACKWARD_THREADS;
            give_ratios<HALF>(exchange, ratios);
            // Also: nobody writes a pixel before its neighbours in the block have read it.
            __syncthreads();
            const Octet sums = sum_ratios<HALF>(exchange, ratios, lrn, channel, channels);
#pragma unroll
            for (int e = 0; e < OCTET; ++e) {
                gradient.at[e] += factor * own.at[e] * sums.at[e];
            }
        }
        if (is_inside) {
#pragma unroll
            for (int e = 0; e < OCTET; ++e) {
                gradient.at[e] = RELU_FIRST && !(own.at[e] > 0.0f) ? 0.0f : gradient.at[e];
                bias_sums.at[e] += gradient.at[e];
            }
            store_octet(pixel + channel, gradient);
        }
        at_pixel.advance(blockDim.y, side);
    }
    __syncthreads();
    sum_rows(bias_sums, shared, [&](int to, float sum) {
        bias_partials[static_cast<long long>(blockIdx.x) * channels + to] = sum;
    });
}

#define TAIL_BACKWARD(RELU_FIRST, HALF, MASKED) \
    tail_backward<RELU_FIRST, HALF, MASKED>( \
        shared, convolved, bias, output, output_gradient, argmax, bias_partials, num_samples, channels, side, \
        out_side, num_partials, lrn)

// convolved (num_samples, side, side, channels), the convolution's output without its bias, becomes its own gradient;
// bias_partials (num_partials, channels) are sums of that gradient over num_partials = gridDim.x equal parts of the
// pixels. output, output_gradient and argmax are (num_samples, out_side, out_side, channels) as conv_tail_forward left
// them; output is read in the order LRN, pool, ReLU alone. LRN is over 5 channels. In the order ReLU, pool, LRN
// output_gradient is what pooled_lrn_backward has made of it.
//
// A block of (octets, pixels) threads; a thread computes eight channels of every blockDim.y-th pixel of the block's
// part. Bytes: 2 sizeof(real) num_samples channels side^2 + (sizeof(real) + 1) num_samples channels out_side^2 (windows
// that share a pixel read the latter 2.25 times, from a cache).
extern "C" __global__ void __launch_bounds__(TAIL_BACKWARD_THREADS, 3) conv_tail_backward(
    real* convolved, const real* bias, const real* output, const real* output_gradient, const unsigned char* argmax,
    float* bias_partials, int num_samples, int channels, int side, int out_side, int num_partials, int order, Lrn lrn) {
    __shared__ __align__(16) float shared[2 * OCTET * TAIL_BACKWARD_THREADS];
    if (order == ORDER_RELU_LRN_POOL) {
        TAIL_BACKWARD(true, 2, false);
    } else if (order == ORDER_LRN_POOL_RELU) {
        TAIL_BACKWARD(false, 2, true);
    } else {
        TAIL_BACKWARD(true, 0, false);
    }
}

// The same for LRN over any n channels, whose neighbours' values and ratios are read again from the caches.
extern "C" __global__ void __launch_bounds__(TAIL_BACKWARD_THREADS) conv_tail_backward_any_n(
    real* convolved, const real* bias, const real* output, const real* output_gradient, const unsigned char* argmax,
    float* bias_partials, int num_samples, int channels, int side, int out_side, int num_partials, int order, Lrn lrn) {
    __shared__ __align__(16) float shared[2 * OCTET * TAIL_BACKWARD_THREADS];
    if (order == ORDER_RELU_LRN_POOL) {
        TAIL_BACKWARD(true, ANY_HALF, false);
    } else {
        TAIL_BACKWARD(false, ANY_HALF, true);
    }
}
