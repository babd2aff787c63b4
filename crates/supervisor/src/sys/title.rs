//! The title of a process in `ps` and `top`.
#![expect(
    unsafe_code,
    reason = "the title is written over the arguments that the kernel laid out"
)]

use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::sync::Mutex;

use super::procfs::{self, Stat};

/// Where the title may be written, once [`prepare`] has found and cleared it.
static SPACE: Mutex<Option<Space>> = Mutex::new(None);

/// The memory in which the kernel finds this process's command line.
struct Space {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the bytes are part of the process's first stack, which is mapped as long as the process lives.
unsafe impl Send for Space {}

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Makes room for titles: to be called once at the start, after the arguments were read and while there is one
/// thread. The first title removes the command line, which may contain secrets, from the process list.
///
/// Without `/proc`, or with several threads, titles stay as short as a thread's name.
pub fn prepare() {
    if procfs::threads() != Some(1) {
        return;
    }
    let Some(bounds) = Stat::of("self").as_ref().and_then(Bounds::read) else {
        return;
    };
    let end = if bounds.environment_start == bounds.arguments_end {
        move_environment_away();
        bounds.environment_end
    } else {
        bounds.arguments_end
    };
    let start = std::ptr::with_exposed_provenance_mut(bounds.arguments_start);
    if let (Some(start), Some(length @ 2..)) =
        (NonNull::new(start), end.checked_sub(bounds.arguments_start))
    {
        *SPACE.lock().expect("nothing panics with the lock held") = Some(Space { start, length });
    }
}

/// Sets the title of this process: `title` in full where there is room, and `name` (15 bytes) as the thread's name.
///
/// To be called while the process has one thread: right after its start or its fork.
pub(crate) fn set(title: &str, name: &str) {
    if let Ok(name) = CString::new(name) {
        // The kernel cuts longer names.
        let _ = nix::sys::prctl::set_name(&name);
    }
    if let Some(space) = &*SPACE.lock().expect("nothing panics with the lock held") {
        let shown = title.as_bytes();
        let shown = &shown[..shown.len().min(space.length - 1)];
        // SAFETY: `prepare` has found these bytes to be the arguments and the environment on the stack, which are
        // no longer used: the environment was moved, and the arguments were read before.
        unsafe { space.start.write_bytes(0, space.length) };
        // SAFETY: as above, and at least one byte shorter.
        unsafe {
            space
                .start
                .copy_from_nonoverlapping(NonNull::from(shown).cast(), shown.len())
        };
    }
}

/// Moves the environment, so that its original memory can be overwritten.
fn move_environment_away() {
    let mut moved = Vec::new();
    // SAFETY: there is one thread, as `prepare` has checked, so the variable is not changed meanwhile.
    let mut at = unsafe { environ };
    while !at.is_null() {
        // SAFETY: `at` has not passed the null pointer that ends the array.
        let entry = unsafe { *at };
        if entry.is_null() {
            break;
        }
        // SAFETY: entries are strings that end with a zero byte.
        let text = unsafe { CStr::from_ptr(entry) };
        moved.push(text.to_owned().into_raw());
        // SAFETY: the entry just read was not the last one.
        at = unsafe { at.add(1) };
    }
    moved.push(std::ptr::null_mut());
    // The array and the strings are leaked: other code may keep pointers into the environment.
    let moved = moved.leak().as_mut_ptr();
    // SAFETY: one thread only, as above; `moved` is a null-terminated array as the C library expects.
    unsafe { environ = moved };
}

/// The addresses at which the kernel has placed arguments and environment.
#[derive(Debug, PartialEq, Eq)]
struct Bounds {
    arguments_start: usize,
    arguments_end: usize,
    environment_start: usize,
    environment_end: usize,
}

impl Bounds {
    /// Reads fields 48 to 51.
    fn read(stat: &Stat) -> Option<Self> {
        let mut numbers = 48..=51;
        let mut next = || {
            let address = stat.field(numbers.next()?)?.parse().ok()?;
            Some(address).filter(|address| *address != 0)
        };
        Some(Self {
            arguments_start: next()?,
            arguments_end: next()?,
            environment_start: next()?,
            environment_end: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_this_process_enclose_its_arguments() {
        let bounds = Bounds::read(&Stat::of("self").unwrap()).unwrap();
        let typed: usize = std::env::args_os().map(|argument| argument.len() + 1).sum();
        assert_eq!(bounds.arguments_end - bounds.arguments_start, typed);
    }
}
