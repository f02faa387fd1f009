//! Sixteen 32-bit lanes, the unit all CPU kernels are written in: one trait with
//! a portable, an AVX2 and an AVX-512 implementation, and the run-time choice.
//!
//! Invariant: every implementation performs the same fused multiply-adds in the
//! same order, and integer sums are exact, so a kernel gives the same bits on every
//! level.
//! Knows nothing of tensors, layers or requests.

#![expect(
    unsafe_code,
    reason = "SIMD intrinsics need CPU features that are proved at run time"
)]

#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

/// Lanes in one vector, and columns in one packed panel.
pub(crate) const LANES: usize = 16;

/// Which instruction set the kernels run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// With the integer dot products (VNNI), which all such CPUs since 2019 have.
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
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
        {
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

/// Bytes of a weight in one lane, and the activations that they are multiplied with.
pub(crate) const QUAD: usize = 4;

/// Sixteen f32 lanes, and the integer lanes of the same width.
///
/// # Safety
/// The caller runs on a CPU with the implementation's features, and pointers are
/// valid for sixteen elements.
pub(crate) trait Lanes: Copy {
    /// Whether there are registers for tiles of some 24 sums.
    const WIDE: bool;
    /// Sixteen i32 lanes.
    type Ints: Copy;
    /// Sixteen times four unsigned bytes.
    type Bytes: Copy;
    /// How many bytes [`Self::store_quads`] makes of four signed ones.
    const QUAD_BYTES: usize;

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
    unsafe fn mul(self, b: Self) -> Self;

    unsafe fn splat_int(x: i32) -> Self::Ints;
    unsafe fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Exact where the integers are below 2²⁴.
    unsafe fn from_ints(x: Self::Ints) -> Self;
    /// 64 bytes.
    unsafe fn load_bytes(p: *const u8) -> Self::Bytes;
    /// 64 bytes as two times 64 nibbles: the low ones, the high ones.
    unsafe fn load_nibbles(p: *const u8) -> [Self::Bytes; 2];
    /// Writes sixteen signed bytes as four quads, as [`Self::dot`] wants them.
    unsafe fn store_quads(x: *const i8, out: *mut u8);
    /// Adds to each lane the products of its four bytes of `w` with the quad at `x`,
    /// exactly.
    unsafe fn dot(sums: Self::Ints, w: Self::Bytes, x: *const u8) -> Self::Ints;
}

/// One stored number, widened to f32 lanes.
pub(crate) trait Value: Copy + Send + Sync {
    /// # Safety
    /// As for [`Lanes`].
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L;
}

impl Value for f32 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L {
        // SAFETY: passed on from the caller.
        unsafe { L::load(p) }
    }
}

impl Value for half::bf16 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L {
        // SAFETY: passed on from the caller.
        unsafe { L::load_bf16(p) }
    }
}

impl Value for i8 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L {
        // SAFETY: passed on from the caller.
        unsafe { L::load_i8(p) }
    }
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

/// How many bytes a quad of activations has on `level`.
pub(crate) fn quad_bytes(level: Level) -> usize {
    match level {
        Level::Portable => Portable::QUAD_BYTES,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => x86::Avx2::QUAD_BYTES,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => x86::Avx512::QUAD_BYTES,
    }
}

/// Plain Rust, for CPUs without AVX2: correct everywhere, fast where `mul_add` is one instruction.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Lanes for Portable {
    const WIDE: bool = false;
    type Ints = [i32; LANES];
    type Bytes = [[u8; QUAD]; LANES];
    const QUAD_BYTES: usize = QUAD;

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
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * b.0[i]))
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> Self::Ints {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "below 2²⁴, says the contract")]
    unsafe fn from_ints(x: Self::Ints) -> Self {
        Self(x.map(|x| x as f32))
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> Self::Bytes {
        // SAFETY: the trait's contract.
        unsafe { p.cast::<Self::Bytes>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> [Self::Bytes; 2] {
        // SAFETY: the trait's contract.
        let bytes = unsafe { Self::load_bytes(p) };
        [
            bytes.map(|quad| quad.map(|b| b & 15)),
            bytes.map(|quad| quad.map(|b| b >> 4)),
        ]
    }
    #[inline(always)]
    unsafe fn store_quads(x: *const i8, out: *mut u8) {
        // SAFETY: the trait's contract.
        unsafe { std::ptr::copy_nonoverlapping(x.cast(), out, LANES) }
    }
    #[inline(always)]
    unsafe fn dot(sums: Self::Ints, w: Self::Bytes, x: *const u8) -> Self::Ints {
        // SAFETY: the trait's contract.
        let x = unsafe { x.cast::<[i8; QUAD]>().read_unaligned() };
        std::array::from_fn(|lane| {
            let product = |i: usize| i32::from(w[lane][i]) * i32::from(x[i]);
            sums[lane] + product(0) + product(1) + product(2) + product(3)
        })
    }
}
