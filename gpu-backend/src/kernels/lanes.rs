//! Sixteen 32-bit lanes, the unit all CPU kernels are written in: one trait with
//! a portable, an AVX2 and an AVX-512 implementation, and the run-time choice.
//!
//! Invariant: every implementation performs the same fused multiply-adds in the
//! same order, so a kernel gives the same bits on every level.
//! Knows nothing of tensors, layers or requests.

#![expect(
    unsafe_code,
    reason = "SIMD intrinsics need CPU features that are proved at run time"
)]

use std::sync::OnceLock;

/// Lanes in one vector, and columns in one packed panel.
pub(crate) const LANES: usize = 16;

/// Which instruction set the kernels run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The best level that this CPU has; probed once.
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(probe)
}

fn probe() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
            return Level::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Every level that this CPU can run, for the tests that compare them.
#[cfg(test)]
pub(crate) fn available() -> Vec<Level> {
    let mut levels = vec![Level::Portable];
    #[cfg(target_arch = "x86_64")]
    match level() {
        Level::Avx512 => levels.extend([Level::Avx2, Level::Avx512]),
        Level::Avx2 => levels.push(Level::Avx2),
        Level::Portable => {}
    }
    levels
}

/// Sixteen f32 lanes.
///
/// # Safety
/// The caller runs on a CPU with the implementation's features, and pointers are
/// valid for sixteen elements.
pub(crate) trait Lanes: Copy {
    unsafe fn zero() -> Self;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    /// Sixteen bfloat16 values, widened.
    unsafe fn load_bf16(p: *const half::bf16) -> Self;
    /// Sixteen signed bytes, converted.
    unsafe fn load_i8(p: *const i8) -> Self;
    unsafe fn store(self, p: *mut f32);
    /// `self * b + c`, rounded once.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
}

/// The inner loop of one task, written once for every level.
pub(crate) trait Kernel {
    /// # Safety
    /// The CPU has `L`'s features. Implementations are `#[inline(always)]`, or they
    /// would not be compiled for those features.
    unsafe fn run<L: Lanes>(self);
}

/// Runs a kernel on `level`.
pub(crate) fn launch<K: Kernel>(level: Level, kernel: K) {
    // SAFETY: a `Level` other than `Portable` comes from `probe` (or, in tests, from
    // `available`), which checked the CPU.
    unsafe {
        match level {
            Level::Portable => kernel.run::<Portable>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::launch_avx2(kernel),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::launch_avx512(kernel),
        }
    }
}

/// Plain Rust, for CPUs without AVX2: correct everywhere, fast where `mul_add` is one instruction.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Lanes for Portable {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; LANES])
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; LANES])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the trait's contract: sixteen valid elements, alignment not assumed.
        Self(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const half::bf16) -> Self {
        // SAFETY: as above; `bf16` is a transparent u16.
        let raw = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        Self(raw.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: as above.
        Self(unsafe { p.cast::<[i8; LANES]>().read_unaligned() }.map(f32::from))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as above.
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Kernel, Lanes};

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn launch_avx2<K: Kernel>(kernel: K) {
        // SAFETY: the caller proved the features.
        unsafe { kernel.run::<Avx2>() }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
    pub(super) unsafe fn launch_avx512<K: Kernel>(kernel: K) {
        // SAFETY: the caller proved the features.
        unsafe { kernel.run::<Avx512>() }
    }

    /// Two 256-bit registers.
    #[derive(Clone, Copy)]
    pub(super) struct Avx2(__m256, __m256);

    // SAFETY (all methods): the trait's contract gives the CPU features and the pointers.
    impl Lanes for Avx2 {
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            let v = unsafe { _mm256_set1_ps(x) };
            Self(v, v)
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const half::bf16) -> Self {
            unsafe {
                let lo = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                let hi = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(8).cast()));
                Self(
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(lo)),
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(hi)),
                )
            }
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> Self {
            unsafe {
                let bytes = _mm_loadu_si128(p.cast());
                let lo = _mm256_cvtepi8_epi32(bytes);
                let hi = _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes));
                Self(_mm256_cvtepi32_ps(lo), _mm256_cvtepi32_ps(hi))
            }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe {
                _mm256_storeu_ps(p, self.0);
                _mm256_storeu_ps(p.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            unsafe {
                Self(
                    _mm256_fmadd_ps(self.0, b.0, c.0),
                    _mm256_fmadd_ps(self.1, b.1, c.1),
                )
            }
        }
    }

    /// One 512-bit register.
    #[derive(Clone, Copy)]
    pub(super) struct Avx512(__m512);

    // SAFETY (all methods): the trait's contract gives the CPU features and the pointers.
    impl Lanes for Avx512 {
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm512_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { Self(_mm512_set1_ps(x)) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { Self(_mm512_loadu_ps(p)) }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const half::bf16) -> Self {
            unsafe {
                let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
            }
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> Self {
            unsafe {
                Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(
                    p.cast(),
                ))))
            }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            unsafe { Self(_mm512_fmadd_ps(self.0, b.0, c.0)) }
        }
    }
}
