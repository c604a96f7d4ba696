// LRN after the pooling, for the order ReLU, pool, LRN: CaffeNet's. The pooled values are taken from the convolution's
// output again, by argmax, so that they are normalised before they are rounded.

#define POOLED_THREADS 256

// The thread's pooled pixel: (num_samples * out_side * out_side) pixels, blockDim.y a block.
__device__ __forceinline__ long long pooled_pixel() {
    return static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
}

// Eight channels of a pooled pixel, from the convolution's output.
__device__ __forceinline__ Octet pooled_values(
    const real* convolved, const real* bias, const unsigned char* argmax, long long pixel, int channel, int channels,
    int side, int out_side) {
    const long long sample = pixel / (out_side * out_side);
    const int row = 2 * static_cast<int>(pixel / out_side % out_side), column = 2 * static_cast<int>(pixel % out_side);
    const Octet biases = load_octet(bias + channel);
    Octet values;
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        const int in_window = argmax[pixel * channels + channel + e];
        const long long from = (sample * side + row + in_window / 3) * side + column + in_window % 3;
        values.at[e] = activate<true>(to_float(convolved[from * channels + channel + e]), biases.at[e]);
    }
    return values;
}

// The sums over the n channels around each of the thread's own of what the block's threads hold. shared (8 threads of
// the block).
__device__ __forceinline__ Octet sum_around(
    float* shared, const Octet& own, const Lrn& lrn, int channel, int channels) {
    float* pixel = shared + threadIdx.y * blockDim.x * OCTET;
    store_octet(pixel + channel, own);
    __syncthreads();
    Octet sums;
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        const int first = max(channel + e - lrn.n / 2, 0), last = min(channel + e + lrn.n / 2, channels - 1);
        sums.at[e] = 0.0f;
#pragma unroll 1
        for (int other = first; other <= last; ++other) {
            sums.at[e] += pixel[other];
        }
    }
    return sums;
}

// k + alpha * sum over the n channels around of values^2.
__device__ __forceinline__ Octet pooled_scales(
    float* shared, const Octet& values, const Lrn& lrn, int channel, int channels) {
    Octet squares;
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        squares.at[e] = values.at[e] * values.at[e];
    }
    Octet scales = sum_around(shared, squares, lrn, channel, channels);
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        scales.at[e] = lrn.k + lrn.alpha * scales.at[e];
    }
    return scales;
}

// output (num_samples, out_side, out_side, channels) = the LRN of what argmax picks from convolved (num_samples, side,
// side, channels), with bias and ReLU.
//
// A block of (octets, pixels) threads; a thread computes eight channels of a pixel. Bytes: (2 sizeof(real) + 1)
// num_samples channels out_side^2, of which a half is read in scattered pieces.
extern "C" __global__ void __launch_bounds__(POOLED_THREADS) pooled_lrn_forward(
    const real* convolved, const real* bias, const unsigned char* argmax, real* output, int num_samples, int channels,
    int side, int out_side, Lrn lrn) {
    __shared__ __align__(16) float shared[OCTET * POOLED_THREADS];
    const long long pixel = pooled_pixel();
    const bool is_inside = pixel < static_cast<long long>(num_samples) * out_side * out_side;
    const int channel = threadIdx.x * OCTET;
    Octet values = zero_octet();
    if (is_inside) {
        values = pooled_values(convolved, bias, argmax, pixel, channel, channels, side, out_side);
    }
    const Octet scales = pooled_scales(shared, values, lrn, channel, channels);
    const Octet powers = lrn_powers<ANY_HALF>(lrn, scales, inverse_roots(scales));
    if (!is_inside) {
        return;
    }
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        values.at[e] *= powers.at[e];
    }
    store_octet(output + pixel * channels + channel, values);
}

// output_gradient (num_samples, out_side, out_side, channels), of the LRN's output, becomes that of the pooled values;
// the others as in pooled_lrn_forward, the formula as in conv_tail_backward.
//
// A block of (octets, pixels) threads; a thread computes eight channels of a pixel. Bytes: (3 sizeof(real) + 1)
// num_samples channels out_side^2.
extern "C" __global__ void __launch_bounds__(POOLED_THREADS) pooled_lrn_backward(
    const real* convolved, const real* bias, const unsigned char* argmax, real* output_gradient, int num_samples,
    int channels, int side, int out_side, Lrn lrn) {
    __shared__ __align__(16) float shared[OCTET * POOLED_THREADS];
    const long long pixel = pooled_pixel();
    const bool is_inside = pixel < static_cast<long long>(num_samples) * out_side * out_side;
    const int channel = threadIdx.x * OCTET;
    Octet values = zero_octet(), gradient = zero_octet();
    if (is_inside) {
        values = pooled_values(convolved, bias, argmax, pixel, channel, channels, side, out_side);
        gradient = load_octet(output_gradient + pixel * channels + channel);
    }
    const Octet scales = pooled_scales(shared, values, lrn, channel, channels);
    const Octet roots = inverse_roots(scales), powers = lrn_powers<ANY_HALF>(lrn, scales, roots);
    Octet ratios;
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        gradient.at[e] *= powers.at[e];
        ratios.at[e] = gradient.at[e] * values.at[e] * (roots.at[e] * roots.at[e]);
    }
    __syncthreads();
    const Octet sums = sum_around(shared, ratios, lrn, channel, channels);
    if (!is_inside) {
        return;
    }
    const float factor = -2.0f * lrn.alpha * lrn.beta;
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        gradient.at[e] += factor * values.at[e] * sums.at[e];
    }
    store_octet(output_gradient + pixel * channels + channel, gradient);
}
