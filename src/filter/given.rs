//! Memory in which the host returns bytes.
//!
//! During every call that returns bytes, the host asks our allocator for memory. For calls that
//! each request makes (its headers, its buckets), it gets the same block each time, because
//! allocating and freeing would cost more than copying the bytes.
#![allow(
    unsafe_code,
    reason = "the host's interface is C, and what it wrote has to be taken over"
)]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::null_mut;
use std::thread::LocalKey;

/// Bytes of a block. Longer values are allocated.
const ROOM: usize = 8192;

/// A block of [`ROOM`] bytes, made when it is first needed.
pub struct Block {
    /// Null while it is borrowed.
    at: Cell<*mut u8>,
    is_made: Cell<bool>,
}

thread_local! {
    /// For the headers of requests.
    pub static HEADERS: Block = const { Block::new() };
    /// For buckets and tallies.
    pub static BUCKET: Block = const { Block::new() };
    /// What the host gets when it asks. Null: newly allocated memory.
    static OFFERED: Cell<*mut u8> = const { Cell::new(null_mut()) };
}

impl Block {
    const fn new() -> Self {
        Self {
            at: Cell::new(null_mut()),
            is_made: Cell::new(false),
        }
    }

    /// Null if it is borrowed.
    fn borrow(&self) -> *mut u8 {
        if !self.is_made.replace(true) {
            self.at.set(Vec::with_capacity(ROOM).leak().as_mut_ptr());
        }
        self.at.replace(null_mut())
    }
}

/// Bytes from the host.
pub struct HostBytes {
    bytes: Vec<u8>,
    /// Where to return them.
    block: Option<&'static LocalKey<Block>>,
}

impl From<Vec<u8>> for HostBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, block: None }
    }
}

impl Deref for HostBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for HostBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for HostBytes {
    #[inline]
    fn drop(&mut self) {
        if let Some(block) = self.block {
            let bytes = core::mem::take(&mut self.bytes);
            let at = core::mem::ManuallyDrop::new(bytes).as_mut_ptr();
            block.with(|block| block.at.set(at));
        }
    }
}

/// Takes what the host wrote, either into memory from our allocator or into the block, if that is
/// free. `call` gets the locations in which the host returns the address and the length.
#[inline]
pub fn returned<E>(
    block: Option<&'static LocalKey<Block>>,
    call: impl FnOnce(*mut *mut u8, *mut usize) -> Result<(), E>,
) -> Result<HostBytes, E> {
    let (mut data, mut size) = (null_mut(), 0);
    let offered = block.map_or(null_mut(), |block| block.with(Block::borrow));
    OFFERED.set(offered);
    let done = call(&raw mut data, &raw mut size);
    OFFERED.set(null_mut());
    let is_lent = done.is_ok() && !data.is_null() && data == offered && size <= ROOM;
    if is_lent {
        // SAFETY: the block was made as a `Vec` of that capacity, nobody else has it, and the
        // host filled `size` bytes of it.
        let bytes = unsafe { Vec::from_raw_parts(data, size, ROOM) };
        return Ok(HostBytes { bytes, block });
    }
    if let Some(block) = block.filter(|_| !offered.is_null()) {
        block.with(|block| block.at.set(offered));
    }
    done?;
    if data.is_null() || data == offered {
        return Ok(Vec::new().into());
    }
    // SAFETY: the host filled `size` bytes that `on_memory_allocate` handed out as a `Vec` of
    // that capacity, and has given them up.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) }.into())
}

/// The host asks for memory to write to.
#[unsafe(export_name = "proxy_on_memory_allocate")]
extern "C" fn on_memory_allocate(size: usize) -> *mut u8 {
    let offered = OFFERED.replace(null_mut());
    match size <= ROOM && !offered.is_null() {
        true => offered,
        false => {
            let bytes: Box<[MaybeUninit<u8>]> = Box::new_uninit_slice(size);
            Box::into_raw(bytes).cast()
        }
    }
}

impl HostBytes {
    /// Copies into memory of its own, if necessary.
    pub fn into_vec(mut self) -> Vec<u8> {
        match self.block {
            None => core::mem::take(&mut self.bytes),
            Some(_) => self.to_vec(),
        }
    }
}
