// A dense layer's backward pass before its products.

#define DENSE_OCTETS 4
#define DENSE_ROWS 64

// With rectify, gradient = output > 0 ? gradient * factor : 0 in place (what ReLU and dropout cleared is 0 in the
// output); then bias_gradient (units) = the sums over the samples. output and gradient (num_samples, units).
//
// A block of (4, 64) threads makes 32 units, a thread eight units of every 64th sample. Bytes: sizeof(real) num_samples
// units, three times with rectify, once without.
extern "C" __global__ void __launch_bounds__(DENSE_OCTETS * DENSE_ROWS) dense_backward(
    const real* output, real* gradient, real* bias_gradient, int num_samples, int units, float factor, int rectify) {
    __shared__ float shared[DENSE_OCTETS * DENSE_ROWS * OCTET];
    const int unit = (blockIdx.x * blockDim.x + threadIdx.x) * OCTET;
    Octet sums = zero_octet();
#pragma unroll 2
    for (int sample = unit < units ? threadIdx.y : num_samples; sample < num_samples; sample += blockDim.y) {
        const long long at = static_cast<long long>(sample) * units + unit;
        Octet own = load_octet(gradient + at);
        if (rectify) {
            const Octet activation = load_octet(output + at);
#pragma unroll
            for (int e = 0; e < OCTET; ++e) {
                own.at[e] = activation.at[e] > 0.0f ? own.at[e] * factor : 0.0f;
            }
            store_octet(gradient + at, own);
        }
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            sums.at[e] += own.at[e];
        }
    }
    sum_rows(sums, shared, [&](int in_block, float sum) {
        const int to = blockIdx.x * blockDim.x * OCTET + in_block;
        if (to < units) {
            store_real(bias_gradient + to, sum);
        }
    });
}
