// The numbers of a step.

// Writes them: one thread, 16 bytes. Not part of a recorded step, whose kernels read them.
extern "C" __global__ void begin_step(
    Scalars* scalars, unsigned long long step, float learning_rate, unsigned int num_valid) {
    if (threadIdx.x > 0 || blockIdx.x > 0) {
        return;
    }
    *scalars = Scalars{step, learning_rate, num_valid};
}
