//! The CUBIN of the simulation: a shared library with a mark, an architecture and a checksum behind its ELF image.

const MARK: &[u8; 8] = b"SIMCUBIN";
const TRAILER_BYTES: usize = 8 + 4 + 8;

/// FNV-1a, 64 bits.
pub fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// Where an ELF image ends by its header: behind the table of its sections.
fn elf_end(header: &[u8]) -> Option<usize> {
    if header.len() < 64 || header[..6] != [0x7F, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    let table = u64::from_le_bytes(header[40..48].try_into().ok()?);
    let entry_bytes = u16::from_le_bytes(header[58..60].try_into().ok()?);
    let num_entries = u16::from_le_bytes(header[60..62].try_into().ok()?);
    usize::try_from(table.checked_add(u64::from(entry_bytes) * u64::from(num_entries))?).ok()
}

/// Makes a CUBIN of a shared library.
pub fn write(library: &[u8], sm: i32) -> Result<Vec<u8>, String> {
    if elf_end(library) != Some(library.len()) {
        return Err(
            "the linker put something behind the table of sections; the end of a CUBIN could not be found".to_owned()
        );
    }
    let mut cubin = library.to_vec();
    cubin.extend(MARK);
    cubin.extend(sm.to_le_bytes());
    cubin.extend(hash(library.iter().copied()).to_le_bytes());
    Ok(cubin)
}

/// The shared library in a CUBIN, and its architecture; none if it is not one or not whole.
///
/// # Safety
///
/// `image` points to a CUBIN (as CUDA demands, which is not told its length either), or at least to 64 bytes of
/// something else.
pub unsafe fn read<'a>(image: *const u8) -> Option<(&'a [u8], i32)> {
    if image.is_null() {
        return None;
    }
    let end = elf_end(std::slice::from_raw_parts(image, 64))?;
    let whole = std::slice::from_raw_parts(image, end + TRAILER_BYTES);
    let (library, trailer) = whole.split_at(end);
    let sm = i32::from_le_bytes(trailer[8..12].try_into().ok()?);
    let checksum = u64::from_le_bytes(trailer[12..].try_into().ok()?);
    (trailer[..8] == *MARK && checksum == hash(library.iter().copied())).then_some((library, sm))
}
