// Fibers: stacks that a thread of the host runs in turns.
#pragma once

#if defined(__x86_64__)

// Saves what a callee must keep on the stack, leaves its address in *from, and goes on where `to` left off.
asm(R"(
    .text
    .p2align 4
    .type simulated_switch, @function
simulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size simulated_switch, .-simulated_switch
)");
extern "C" void simulated_switch(void** from, void* to);

#endif

namespace {
namespace simulated {

// Kernels keep little on their stacks: no recursion, and arrays of some dozens of values.
// No power of two, so that the tops of stacks do not share the lines of a cache.
constexpr std::size_t STACK_BYTES = 64 * 1024 + 320;

#if defined(__x86_64__)

// A point of execution.
class Context {
public:
    // Begins `entry` (which never returns) on a stack when it is first switched to.
    void begin(char* stack, std::size_t bytes, void (*entry)()) {
        auto top = reinterpret_cast<std::uintptr_t>(stack + bytes) & ~std::uintptr_t{15};
        // Six registers, the address that `ret` takes, and one word more: a function begins 8 bytes off a multiple of
        // 16.
        auto words = reinterpret_cast<void**>(top) - 8;
        std::memset(words, 0, 8 * sizeof(void*));
        words[6] = reinterpret_cast<void*>(entry);
        pointer_ = words;
    }

    void switch_to(Context& other) { simulated_switch(&pointer_, other.pointer_); }

private:
    void* pointer_ = nullptr;
};

#else

class Context {
public:
    void begin(char* stack, std::size_t bytes, void (*entry)()) {
        getcontext(&state_);
        state_.uc_stack.ss_sp = stack;
        state_.uc_stack.ss_size = bytes;
        state_.uc_link = nullptr;
        makecontext(&state_, entry, 0);
    }

    void switch_to(Context& other) { swapcontext(&state_, &other.state_); }

private:
    ucontext_t state_{};
};

#endif

}  // namespace simulated
}  // namespace
