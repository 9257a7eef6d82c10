//! Memory that is wanted in a moment: asked for ahead, it comes while something else is done.
//!
//! Of a million tokens the entry and the record of the one that is asked about are in no cache, and each is waited for a
//! tenth of a microsecond or more. The client's own credential takes longer to judge than both.

/// Asks for the line of the cache in which something begins. It is a hint: nothing is read, and nothing waits.
#[inline]
pub(super) fn fetch<T>(what: &T) {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    // SAFETY: a prefetch reads nothing that the program could see and cannot fault, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(what).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = what;
}
