// Stochastic gradient descent with momentum and weight decay (section 5 of the paper), and the working weights.

// As src/recipe/settings.rs has it.
struct UpdateRule {
    float momentum, weight_decay;
};

// A value's update, in the order of operations of src/backend/cpu/update.rs and without fused multiply-adds: in f32 the
// same bits as there.
__device__ __forceinline__ void update_value(
    float& value, float& velocity, float gradient, float momentum, float decay, float learning_rate) {
    const float kept = __fsub_rn(__fmul_rn(momentum, velocity), __fmul_rn(decay, value));
    velocity = __fsub_rn(kept, __fmul_rn(learning_rate, gradient));
    value = __fadd_rn(value, velocity);
}

// v = momentum v - weight_decay lr w - lr g; w = w + v; working = w. values, velocities, gradients and working (count);
// working is null where real is f32: the values themselves are worked with. From first_bias on, a multiple of eight,
// they are biases: their rule is another, and their lr is bias_rate times the step's.
//
// A thread computes eight values at a time, as many times as the grid is shorter than count. Bytes: (16 + 2
// sizeof(real)) count: 20 count in bf16.
extern "C" __global__ void __launch_bounds__(1024) update(
    float* values, float* velocities, const real* gradients, real* working, const Scalars* scalars, long long count,
    UpdateRule weights, long long first_bias, UpdateRule biases, float bias_rate) {
    const float step_rate = scalars->learning_rate;
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x * OCTET;
    long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * OCTET;
#pragma unroll 1
    for (; at < count; at += stride) {
        const bool is_bias = at >= first_bias;
        const float learning_rate = __fmul_rn(is_bias ? bias_rate : 1.0f, step_rate);
        const UpdateRule rule = is_bias ? biases : weights;
        const float momentum = rule.momentum, decay = __fmul_rn(rule.weight_decay, learning_rate);
        float4 w[2] = {load_once(values + at), load_once(values + at + 4)};
        float4 v[2] = {load_once(velocities + at), load_once(velocities + at + 4)};
        const Octet g = load_octet(gradients + at);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            update_value(w[half].x, v[half].x, g.at[half * 4], momentum, decay, learning_rate);
            update_value(w[half].y, v[half].y, g.at[half * 4 + 1], momentum, decay, learning_rate);
            update_value(w[half].z, v[half].z, g.at[half * 4 + 2], momentum, decay, learning_rate);
            update_value(w[half].w, v[half].w, g.at[half * 4 + 3], momentum, decay, learning_rate);
            store_once(values + at + half * 4, w[half]);
            store_once(velocities + at + half * 4, v[half]);
        }
        if (working != nullptr) {
            store_octet(working + at, Octet{{w[0].x, w[0].y, w[0].z, w[0].w, w[1].x, w[1].y, w[1].z, w[1].w}});
        }
    }
}

// Clears the gradient of conv1's padding, (out_channels, 3, 3, 64): channels from 48 on, and the rows and columns of
// taps that space-to-depth adds to the filter's kernel_size to make twelve, so that those weights stay zero.
//
// A thread computes eight channels of a tap. Bytes: 2 sizeof(real) 576 out_channels.
extern "C" __global__ void __launch_bounds__(256) mask_taps(
    real* gradient, int out_channels, int kernel_size) {
    const int octet = blockIdx.x * blockDim.x + threadIdx.x;
    if (octet >= out_channels * 9 * 8) {
        return;
    }
    const int tap = octet / 8 % 9;
    Octet own = load_octet(gradient + static_cast<long long>(octet) * OCTET);
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        const int channel = octet % 8 * OCTET + e, dy = channel / 12, dx = channel / 3 % 4;
        const bool is_padding = channel >= 48 || tap / 3 * 4 + dy >= kernel_size || tap % 3 * 4 + dx >= kernel_size;
        own.at[e] = is_padding ? 0.0f : own.at[e];
    }
    store_octet(gradient + static_cast<long long>(octet) * OCTET, own);
}

// working = values, rounded; both (count). A thread computes eight. Bytes: (4 + sizeof(real)) count.
extern "C" __global__ void __launch_bounds__(256) cast(const float* values, real* working, long long count) {
    const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * OCTET;
    if (at >= count) {
        return;
    }
    store_octet(working + at, load_octet(values + at));
}
