// Softmax, cross-entropy and the counts of top-1 and top-5.

#define LOSS_THREADS 256

// Of one sample a block: loss = log(sum exp(logits - highest)) + highest - logits[label]; rank as src/backend/rank.rs
// (classes that are not below the label's; of equal ones the lower class is first; what is not a number is never
// below); gradient = (probability - target) / num_valid, where the target is class_target in every class, and
// label_target more at the label; zero in the columns from num_classes on and in the samples from num_valid on. logits
// and gradient (num_samples, stride), probabilities (num_samples, num_classes), losses (num_samples); gradient and
// probabilities may be null.
//
// A thread computes every 256th class. Bytes: 4 stride read (three times, twice of them from a cache), sizeof(real)
// stride or 4 num_classes written, a sample.
extern "C" __global__ void __launch_bounds__(LOSS_THREADS) softmax_cross_entropy(
    const float* logits, const unsigned int* labels, real* gradient, float* probabilities, SampleLoss* losses,
    const Scalars* scalars, float label_target, float class_target, int num_samples, int num_classes, int stride) {
    __shared__ float shared[32];
    __shared__ unsigned int shared_counts[32];
    const int sample = blockIdx.x;
    if (sample >= num_samples) {
        return;
    }
    const unsigned int num_valid = scalars->num_valid;
    const bool is_valid = sample < static_cast<long long>(num_valid);
    const float* own_logits = logits + static_cast<long long>(sample) * stride;
    float highest = __uint_as_float(0xff800000u), sum = 0.0f;  // Minus infinity.
    unsigned int label = 0, rank = 0;
    if (is_valid) {
        label = labels[sample];
        const float own = own_logits[label];
        for (int at = threadIdx.x; at < num_classes; at += LOSS_THREADS) {
            const float logit = own_logits[at];
            const bool is_below = logit < own || (logit == own && at >= static_cast<long long>(label));
            rank += is_below ? 0u : 1u;
            highest = fmaxf(highest, logit);
        }
        highest = reduce_block(highest, shared, [](float a, float b) { return fmaxf(a, b); });
        for (int at = threadIdx.x; at < num_classes; at += LOSS_THREADS) {
            sum += expf(own_logits[at] - highest);
        }
        sum = reduce_block(sum, shared, [](float a, float b) { return a + b; });
        rank = reduce_block(rank, shared_counts, [](unsigned int a, unsigned int b) { return a + b; });
    }
    const float factor = 1.0f / static_cast<float>(num_valid);
    for (int at = threadIdx.x; at < stride; at += LOSS_THREADS) {
        const bool is_class = is_valid && at < num_classes;
        const float probability = is_class ? expf(own_logits[at] - highest) / sum : 0.0f;
        if (gradient != nullptr) {
            const float target = is_class && at == static_cast<long long>(label) ? label_target : 0.0f;
            const float own = is_class ? (probability - target - class_target) * factor : 0.0f;
            store_real(gradient + static_cast<long long>(sample) * stride + at, own);
        }
        if (probabilities != nullptr && at < num_classes) {
            probabilities[static_cast<long long>(sample) * num_classes + at] = probability;
        }
    }
    if (threadIdx.x == 0) {
        losses[sample] = SampleLoss{is_valid ? logf(sum) + (highest - own_logits[label]) : 0.0f, rank};
    }
}

// The sums over the first num_valid of losses, in f64: one block of 256 threads, a thread sums every 256th sample.
// statistics lie in the host's memory.
// Bytes: 8 num_valid.
extern "C" __global__ void __launch_bounds__(LOSS_THREADS) collect_statistics(
    const SampleLoss* losses, const Scalars* scalars, StepStatistics* statistics) {
    __shared__ double shared[32];
    __shared__ unsigned int shared_counts[32];
    const unsigned int num_valid = scalars->num_valid;
    double loss_sum = 0.0;
    unsigned int num_top1 = 0, num_top5 = 0;
    for (unsigned int sample = threadIdx.x; sample < num_valid; sample += LOSS_THREADS) {
        const SampleLoss own = losses[sample];
        loss_sum += static_cast<double>(own.loss);
        num_top1 += own.rank < 1 ? 1u : 0u;
        num_top5 += own.rank < 5 ? 1u : 0u;
    }
    loss_sum = reduce_block(loss_sum, shared, [](double a, double b) { return a + b; });
    num_top1 = reduce_block(num_top1, shared_counts, [](unsigned int a, unsigned int b) { return a + b; });
    num_top5 = reduce_block(num_top5, shared_counts, [](unsigned int a, unsigned int b) { return a + b; });
    if (threadIdx.x == 0) {
        *statistics = StepStatistics{loss_sum, num_top1, num_top5, num_valid, 0u};
    }
}
