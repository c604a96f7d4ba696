// Philox 4x32-10, as src/philox.rs: four random words at a position of a stream.

__device__ __forceinline__ uint4 philox4x32_10(uint4 counter, uint2 key) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        if (round > 0) {
            key.x += 0x9E3779B9u;
            key.y += 0xBB67AE85u;
        }
        const unsigned long long left = static_cast<unsigned long long>(counter.x) * 0xD2511F53u;
        const unsigned long long right = static_cast<unsigned long long>(counter.z) * 0xCD9E8D57u;
        counter = uint4{static_cast<unsigned int>(right >> 32) ^ counter.y ^ key.x, static_cast<unsigned int>(right),
                        static_cast<unsigned int>(left >> 32) ^ counter.w ^ key.y, static_cast<unsigned int>(left)};
    }
    return counter;
}
