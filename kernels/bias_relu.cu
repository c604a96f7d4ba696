// Bias and ReLU of the convolutions that nothing else follows, and the sums that bias gradients are.

// values = max(values + bias, 0) in place, values (rows, channels), bias (channels).
//
// A thread computes eight channels of a row: blockIdx.x * blockDim.x + threadIdx.x counts them through the tensor.
// Bytes: 2 sizeof(real) rows channels.
extern "C" __global__ void __launch_bounds__(256) bias_relu_forward(
    real* values, const real* bias, int rows, int channels) {
    const int octets = channels / OCTET;
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= static_cast<long long>(rows) * octets) {
        return;
    }
    Octet own = load_octet(values + at * OCTET);
    const Octet biases = load_octet(bias + at % octets * OCTET);
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        own.at[e] = relu(own.at[e] + biases.at[e]);
    }
    store_octet(values + at * OCTET, own);
}

#define BIAS_THREADS 256

// gradient = output > 0 ? gradient : 0 in place, both (rows, channels), and bias_partials (num_partials, channels):
// sums over the rows of each of num_partials = gridDim.x equal parts.
//
// A block of (octets, rows) threads goes through its part of the rows, a thread through eight channels of every
// blockDim.y-th; blockIdx.y is the place among the channels. Bytes: 3 sizeof(real) rows channels.
extern "C" __global__ void __launch_bounds__(BIAS_THREADS) bias_relu_backward(
    const real* output, real* gradient, float* bias_partials, int rows, int channels, int num_partials) {
    __shared__ float shared[BIAS_THREADS * OCTET];
    const int octet = blockIdx.y * blockDim.x + threadIdx.x, partial = blockIdx.x;
    const bool is_inside = octet < channels / OCTET && partial < num_partials;
    const int first = static_cast<int>(static_cast<long long>(rows) * partial / num_partials);
    const int end = static_cast<int>(static_cast<long long>(rows) * (partial + 1) / num_partials);
    Octet sums = zero_octet();
#pragma unroll 2
    for (int row = is_inside ? first + threadIdx.y : end; row < end; row += blockDim.y) {
        const long long at = static_cast<long long>(row) * channels + octet * OCTET;
        const Octet activation = load_octet(output + at);
        Octet own = load_octet(gradient + at);
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            own.at[e] = activation.at[e] > 0.0f ? own.at[e] : 0.0f;
            sums.at[e] += own.at[e];
        }
        store_octet(gradient + at, own);
    }
    sum_rows(sums, shared, [&](int in_block, float sum) {
        const int channel = blockIdx.y * blockDim.x * OCTET + in_block;
        if (channel < channels && partial < num_partials) {
            bias_partials[static_cast<long long>(partial) * channels + channel] = sum;
        }
    });
}

// bias_gradient (channels) = the sums over bias_partials (num_partials, channels).
//
// A block of (32, 32) threads makes 32 channels: a thread sums every 32nd partial of its channel, then the block's
// first row sums those in ascending order. Bytes: 4 num_partials channels.
extern "C" __global__ void __launch_bounds__(1024) sum_bias_partials(
    const float* bias_partials, real* bias_gradient, int num_partials, int channels) {
    __shared__ float shared[32][33];
    const int channel = blockIdx.x * 32 + threadIdx.x;
    float sum = 0.0f;
    if (channel < channels) {
#pragma unroll 4
        for (int partial = threadIdx.y; partial < num_partials; partial += 32) {
            sum += bias_partials[static_cast<long long>(partial) * channels + channel];
        }
    }
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || channel >= channels) {
        return;
    }
    for (int other = 1; other < 32; ++other) {
        sum += shared[other][threadIdx.x];
    }
    store_real(bias_gradient + channel, sum);
}
