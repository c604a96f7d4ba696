//! Device memory and pinned memory: poisoned when allocated, between guard zones.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ffi::{c_uint, c_void};

use cudarc::driver::sys::{CUdeviceptr, CUresult};

use super::context::{current, not_capturing};
use super::result::answer;

/// Bytes of each guard zone; also the alignment, which is more than CUDA's.
const GUARD_BYTES: usize = 4096;
const GUARD: u8 = 0xA5;
/// Both bf16 and f32 read this as NaN.
pub const POISON: u8 = 0xFF;

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Device,
    Pinned,
    /// The program's own memory, pinned by `cuMemHostRegister_v2`: without guard zones.
    Registered,
}

impl Side {
    /// Whether the device reads it by itself, when a copy runs.
    fn is_host(self) -> bool {
        self != Self::Device
    }
}

/// One allocation.
pub struct Block {
    pub side: Side,
    /// How many of its side were allocated before.
    pub ordinal: u32,
    pub address: u64,
    pub bytes: usize,
}

impl Block {
    fn allocate(side: Side, ordinal: u32, bytes: usize) -> Option<Self> {
        let layout = Self::layout(bytes)?;
        // SAFETY: the layout has a size, as it holds two guards.
        let base = unsafe { std::alloc::alloc(layout) };
        if base.is_null() {
            return None;
        }
        // SAFETY: the three regions lie in the allocation: guard, bytes, guard (which ends at the allocation's end).
        unsafe {
            std::ptr::write_bytes(base, GUARD, GUARD_BYTES);
            std::ptr::write_bytes(base.add(GUARD_BYTES), POISON, bytes);
            std::ptr::write_bytes(base.add(GUARD_BYTES + bytes), GUARD, GUARD_BYTES);
        }
        Some(Self { side, ordinal, address: base as u64 + GUARD_BYTES as u64, bytes })
    }

    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes.checked_add(2 * GUARD_BYTES)?, GUARD_BYTES).ok()
    }

    /// What was written beside it, in words.
    fn damage(&self) -> Option<String> {
        if self.side == Side::Registered {
            return None;
        }
        // SAFETY: both guards belong to this live allocation; kernels that write there are what is looked for.
        let guard = |start: u64| unsafe { std::slice::from_raw_parts(start as *const u8, GUARD_BYTES) };
        let before = guard(self.address - GUARD_BYTES as u64).iter().rposition(|byte| *byte != GUARD);
        let after = guard(self.address + self.bytes as u64).iter().position(|byte| *byte != GUARD);
        let place = match (before, after) {
            (Some(at), _) => format!("{} bytes before its start", GUARD_BYTES - at),
            (None, Some(at)) => format!("{at} bytes after its end"),
            (None, None) => return None,
        };
        Some(format!("{self} was written {place}"))
    }

    fn free(self) {
        if let Some(layout) = Self::layout(self.bytes).filter(|_| self.side != Side::Registered) {
            // SAFETY: `allocate` made it with this layout, and nobody else frees it: it has left the map.
            unsafe { std::alloc::dealloc((self.address - GUARD_BYTES as u64) as *mut u8, layout) };
        }
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = match self.side {
            Side::Device => "device",
            Side::Pinned => "pinned",
            Side::Registered => "registered",
        };
        write!(formatter, "{side} allocation {} ({} bytes)", self.ordinal, self.bytes)
    }
}

/// What a library's operation reads or writes.
#[derive(Clone, Copy)]
pub struct Region {
    pub name: &'static str,
    pub address: u64,
    pub bytes: usize,
    /// What the address must be a multiple of.
    pub alignment: u64,
}

impl Region {
    fn overlaps(&self, other: &Self) -> bool {
        self.address < other.address + other.bytes as u64 && other.address < self.address + self.bytes as u64
    }
}

/// All blocks.
#[derive(Default)]
pub struct Memory {
    pub blocks: BTreeMap<u64, Block>,
    /// Starts and ends of freed device blocks whose addresses are not in use again.
    freed: BTreeMap<u64, u64>,
    used_bytes: usize,
    num_device: u32,
    num_pinned: u32,
    num_registered: u32,
}

impl Memory {
    fn allocate(&mut self, side: Side, bytes: usize, total_bytes: usize) -> Option<u64> {
        if side == Side::Device && self.used_bytes.checked_add(bytes)? > total_bytes {
            return None;
        }
        let counter = if side == Side::Device { &mut self.num_device } else { &mut self.num_pinned };
        let block = Block::allocate(side, *counter, bytes)?;
        *counter += 1;
        let (start, end) = (block.address, block.address + bytes as u64);
        self.freed.retain(|freed_start, freed_end| *freed_end <= start || *freed_start >= end);
        if side == Side::Device {
            self.used_bytes += bytes;
        }
        self.blocks.insert(start, block);
        Some(start)
    }

    /// Notes host memory that is not the simulation's; none if it overlaps what is pinned already.
    fn register(&mut self, address: u64, bytes: usize) -> Option<()> {
        let before = self.blocks.range(..address + bytes as u64).next_back();
        if before.is_some_and(|(_, block)| block.address + block.bytes as u64 > address) {
            return None;
        }
        self.blocks.insert(address, Block { side: Side::Registered, ordinal: self.num_registered, address, bytes });
        self.num_registered += 1;
        Some(())
    }

    fn remove(&mut self, address: u64) -> Option<Block> {
        let block = self.blocks.remove(&address)?;
        if block.side == Side::Device {
            self.used_bytes -= block.bytes;
            self.freed.insert(block.address, block.address + block.bytes as u64);
        }
        Some(block)
    }

    /// The block that an address lies in.
    pub fn containing(&self, address: u64) -> Option<&Block> {
        let (_, block) = self.blocks.range(..=address).next_back()?;
        (address < block.address + block.bytes as u64).then_some(block)
    }

    /// The address of the block of device memory (or pinned memory, of either kind) that holds this range whole.
    pub fn holding(&self, side: Side, address: u64, bytes: usize) -> Option<u64> {
        let block = self.containing(address)?;
        let end = address.checked_add(bytes as u64)?;
        (block.side.is_host() == side.is_host() && end <= block.address + block.bytes as u64).then_some(block.address)
    }

    /// The blocks that hold these regions of device memory, each whole in one; else, in words, what is wrong. Regions
    /// behind the first `num_read` are written, and overlap no other.
    pub fn blocks_of(&self, regions: &[Region], num_read: usize) -> Result<Vec<u64>, String> {
        for written in &regions[num_read..] {
            if let Some(other) = regions.iter().find(|other| other.name != written.name && other.overlaps(written)) {
                return Err(format!("{} and {} overlap", written.name, other.name));
            }
        }
        let block = |Region { name, address, bytes, alignment }: &Region| {
            if !address.is_multiple_of(*alignment) {
                return Err(format!("{name} at {address:#x} is not aligned to {alignment} bytes"));
            }
            let block = self.holding(Side::Device, *address, *bytes);
            block.ok_or_else(|| format!("{name}: {address:#x} + {bytes} bytes do not lie in one device allocation"))
        };
        regions.iter().map(block).collect()
    }

    /// Whether an address lies in device memory that was freed.
    pub fn is_dangling(&self, address: u64) -> bool {
        self.containing(address).is_none()
            && self.freed.range(..=address).next_back().is_some_and(|(_, end)| address < *end)
    }

    /// The first damaged guard zone, in words.
    pub fn damage(&self) -> Option<String> {
        self.blocks.values().find_map(Block::damage)
    }

    /// Frees everything.
    pub fn clear(&mut self) {
        std::mem::take(&mut self.blocks).into_values().for_each(Block::free);
        *self = Self::default();
    }
}

fn free(side: Side, address: u64, call: &str) -> Result<(), CUresult> {
    let mut state = super::context::releasing()?;
    state.all_arrive()?;
    // A broken context records nothing any more.
    if state.broken.is_none() && state.invalidate_own_captures() {
        return state.refuse(
            CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
            format!("{call} by a thread that captures a stream"),
        );
    }
    if state.memory.blocks.get(&address).is_none_or(|block| block.side != side) {
        return state.refuse(
            CUresult::CUDA_ERROR_INVALID_VALUE,
            format!("{call} of {address:#x}, which is no such allocation (freed twice?)"),
        );
    }
    if let Some(user) = state.pending_use(address) {
        let block = state.memory.blocks.get(&address).map(Block::to_string).unwrap_or_default();
        return state.refuse(
            CUresult::CUDA_ERROR_INVALID_VALUE,
            format!("{call} of {block}, which a {user} still pending uses"),
        );
    }
    let Some(block) = state.memory.remove(address) else { return Ok(()) };
    if let Some(damage) = block.damage() {
        state.violation(damage);
    }
    block.free();
    state.sound()
}

exported! {
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> CUresult {
        let state = current()?;
        answer(free, state.settings.memory_bytes.saturating_sub(state.memory.used_bytes))?;
        answer(total, state.settings.memory_bytes)
    }

    fn cuMemAlloc_v2(pointer: *mut CUdeviceptr, bytes: usize) -> CUresult {
        let mut state = not_capturing("cuMemAlloc_v2")?;
        if bytes == 0 || pointer.is_null() {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "cuMemAlloc_v2 of no bytes or without a place for the answer");
        }
        let total_bytes = state.settings.memory_bytes;
        let address = state.memory.allocate(Side::Device, bytes, total_bytes).ok_or(CUresult::CUDA_ERROR_OUT_OF_MEMORY)?;
        answer(pointer, address)
    }

    fn cuMemFree_v2(pointer: CUdeviceptr) -> CUresult {
        free(Side::Device, pointer, "cuMemFree_v2")
    }

    fn cuMemHostAlloc(pointer: *mut *mut c_void, bytes: usize, flags: c_uint) -> CUresult {
        let mut state = not_capturing("cuMemHostAlloc")?;
        if bytes == 0 || pointer.is_null() || flags > 7 {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("cuMemHostAlloc of {bytes} bytes with flags {flags}"));
        }
        let address = state.memory.allocate(Side::Pinned, bytes, usize::MAX).ok_or(CUresult::CUDA_ERROR_OUT_OF_MEMORY)?;
        answer(pointer, address as *mut c_void)
    }

    fn cuMemFreeHost(pointer: *mut c_void) -> CUresult {
        free(Side::Pinned, pointer as u64, "cuMemFreeHost")
    }

    fn cuMemHostRegister_v2(pointer: *mut c_void, bytes: usize, flags: c_uint) -> CUresult {
        let mut state = not_capturing("cuMemHostRegister_v2")?;
        if bytes == 0 || pointer.is_null() || flags > 15 {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("cuMemHostRegister_v2 of {bytes} bytes with flags {flags}"));
        }
        match state.memory.register(pointer as u64, bytes) {
            Some(()) => Ok(()),
            None => state.refuse(CUresult::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "cuMemHostRegister_v2 of memory that is pinned"),
        }
    }

    fn cuMemHostUnregister(pointer: *mut c_void) -> CUresult {
        free(Side::Registered, pointer as u64, "cuMemHostUnregister")
    }
}
