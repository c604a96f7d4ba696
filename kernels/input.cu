// The input as conv1 wants it: planar f16 to NHWC, by space-to-depth or as it is.

#define INPUT_THREADS 256
// Pixels of the output that a block makes: their columns of the input are one a thread.
#define INPUT_PIXELS (INPUT_THREADS / 4)
#define INPUT_CHANNELS 64
// Channels of a pixel in shared memory: 16 bytes or 32 more than a pixel has, so that pixels begin in different banks.
#define INPUT_STRIDE (INPUT_CHANNELS + 8)

// input (N, 3, canvas, canvas) to output (N, side, side, 64): channel (dy * 4 + dx) * 3 + c of pixel (y, x) is colour c
// at (4 y + dy, 4 x + dx), zero beyond the canvas; channels 48 to 63 are zero, and so are samples from num_valid on.
//
// A block of 256 threads makes up to 64 pixels of a row: blockIdx.x is (sample, row), blockIdx.y the place in the row.
// A thread reads one column of 4 rows and 3 colours, then writes eight channels of a pixel at a time.
// Bytes: 2 N 3 canvas^2 read, sizeof(real) N side^2 64 written.
extern "C" __global__ void __launch_bounds__(INPUT_THREADS) arrange_input(
    const f16* input, real* output, const Scalars* scalars, int num_samples, int canvas, int side) {
    __shared__ __align__(16) real pixels[INPUT_PIXELS * INPUT_STRIDE];
    const int sample = blockIdx.x / side, row = blockIdx.x % side;
    if (sample >= num_samples) {
        return;
    }
    const int first_pixel = blockIdx.y * INPUT_PIXELS;
    const int column = 4 * first_pixel + threadIdx.x;
    const bool is_inside = sample < static_cast<long long>(scalars->num_valid) && column < canvas;
    real* to = pixels + threadIdx.x / 4 * INPUT_STRIDE;
#pragma unroll
    for (int line = 0; line < 12; ++line) {
        const int dy = line / 3, colour = line % 3, y = 4 * row + dy;
        float value = 0.0f;
        if (is_inside && y < canvas) {
            value = to_float(input[((sample * 3LL + colour) * canvas + y) * canvas + column]);
        }
        store_real(to + (dy * 4 + threadIdx.x % 4) * 3 + colour, value);
    }
    for (int channel = 48 + threadIdx.x % 4; channel < INPUT_CHANNELS; channel += 4) {
        store_real(to + channel, 0.0f);
    }
    __syncthreads();
    const int num_octets = min(INPUT_PIXELS, side - first_pixel) * (INPUT_CHANNELS / OCTET);
    real* row_output = output + ((static_cast<long long>(sample) * side + row) * side + first_pixel) * INPUT_CHANNELS;
    for (int octet = threadIdx.x; octet < num_octets; octet += INPUT_THREADS) {
        const real* from = pixels + octet / 8 * INPUT_STRIDE + octet % 8 * OCTET;
        store_octet(row_output + octet * OCTET, load_octet(from));
    }
}

// input (N, 3, canvas, canvas) to output (N, canvas, canvas, 8): channel c of a pixel is its colour c, channels 3 to 7
// are zero, and so are samples from num_valid on.
//
// A thread makes one pixel. Bytes: 2 N 3 canvas^2 read, sizeof(real) N canvas^2 8 written.
extern "C" __global__ void __launch_bounds__(INPUT_THREADS) pad_input(
    const f16* input, real* output, const Scalars* scalars, int num_samples, int canvas) {
    const long long pixel = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const long long plane = static_cast<long long>(canvas) * canvas;
    if (pixel >= num_samples * plane) {
        return;
    }
    Octet own = zero_octet();
    const long long sample = pixel / plane;
    if (sample < static_cast<long long>(scalars->num_valid)) {
#pragma unroll
        for (int colour = 0; colour < 3; ++colour) {
            own.at[colour] = to_float(input[(sample * 3 + colour) * plane + pixel % plane]);
        }
    }
    store_octet(output + pixel * OCTET, own);
}
