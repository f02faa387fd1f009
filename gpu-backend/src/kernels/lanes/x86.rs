//! The x86-64 implementations of the lanes: two 256-bit registers (AVX2), one 512-bit
//! register (AVX-512 with VNNI).
//! Knows nothing of kernels.

#![expect(
    unsafe_code,
    reason = "SIMD intrinsics need CPU features that are proved at run time"
)]

use std::arch::x86_64::*;

use super::{Kernel, Lanes, QUAD};

#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn launch_avx2<K: Kernel>(kernel: K) {
    // SAFETY: the caller proved the features.
    unsafe { kernel.run::<Avx2>() }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn launch_avx512<K: Kernel>(kernel: K) {
    // SAFETY: the caller proved the features.
    unsafe { kernel.run::<Avx512>() }
}

/// Two 256-bit registers.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256, __m256);

// SAFETY (all methods): the trait's contract gives the CPU features and the pointers.
impl Lanes for Avx2 {
    const WIDE: bool = false;
    type Ints = (__m256i, __m256i);
    type Bytes = (__m256i, __m256i);
    /// Widened to 16 bits.
    const QUAD_BYTES: usize = 2 * QUAD;

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
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        unsafe { Self(_mm256_mul_ps(self.0, b.0), _mm256_mul_ps(self.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> Self::Ints {
        let v = unsafe { _mm256_set1_epi32(x) };
        (v, v)
    }
    #[inline(always)]
    unsafe fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        unsafe { (_mm256_add_epi32(a.0, b.0), _mm256_add_epi32(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn from_ints(x: Self::Ints) -> Self {
        unsafe { Self(_mm256_cvtepi32_ps(x.0), _mm256_cvtepi32_ps(x.1)) }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> Self::Bytes {
        unsafe {
            (
                _mm256_loadu_si256(p.cast()),
                _mm256_loadu_si256(p.add(32).cast()),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> [Self::Bytes; 2] {
        unsafe {
            let (a, b) = Self::load_bytes(p);
            let mask = _mm256_set1_epi8(15);
            let high = |v| _mm256_and_si256(_mm256_srli_epi16::<4>(v), mask);
            [
                (_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)),
                (high(a), high(b)),
            ]
        }
    }
    /// The first and third, then the second and fourth.
    #[inline(always)]
    unsafe fn store_quads(x: *const i8, out: *mut u8) {
        unsafe {
            let wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(x.cast()));
            let low = _mm256_shufflelo_epi16::<0b11_01_10_00>(wide);
            let quads = _mm256_shufflehi_epi16::<0b11_01_10_00>(low);
            _mm256_storeu_si256(out.cast(), quads);
        }
    }
    /// Even and odd bytes apart, as 16 bits: `vpmaddubsw` would saturate.
    #[inline(always)]
    unsafe fn dot(sums: Self::Ints, w: Self::Bytes, x: *const u8) -> Self::Ints {
        unsafe {
            let x = x.cast::<i32>();
            let even = _mm256_set1_epi32(x.read_unaligned());
            let odd = _mm256_set1_epi32(x.add(1).read_unaligned());
            let mask = _mm256_set1_epi16(255);
            let half = |sum, w| {
                let evens = _mm256_madd_epi16(_mm256_and_si256(w, mask), even);
                let odds = _mm256_madd_epi16(_mm256_srli_epi16::<8>(w), odd);
                _mm256_add_epi32(_mm256_add_epi32(sum, evens), odds)
            };
            (half(sums.0, w.0), half(sums.1, w.1))
        }
    }
}

/// One 512-bit register.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

// SAFETY (all methods): the trait's contract gives the CPU features and the pointers.
impl Lanes for Avx512 {
    const WIDE: bool = true;
    type Ints = __m512i;
    type Bytes = __m512i;
    const QUAD_BYTES: usize = QUAD;

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
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        unsafe { Self(_mm512_mul_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> Self::Ints {
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn from_ints(x: Self::Ints) -> Self {
        unsafe { Self(_mm512_cvtepi32_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> Self::Bytes {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> [Self::Bytes; 2] {
        unsafe {
            let bytes = _mm512_loadu_si512(p.cast());
            let mask = _mm512_set1_epi8(15);
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask);
            [_mm512_and_si512(bytes, mask), high]
        }
    }
    #[inline(always)]
    unsafe fn store_quads(x: *const i8, out: *mut u8) {
        unsafe { _mm_storeu_si128(out.cast(), _mm_loadu_si128(x.cast())) }
    }
    #[inline(always)]
    unsafe fn dot(sums: Self::Ints, w: Self::Bytes, x: *const u8) -> Self::Ints {
        unsafe {
            let x = _mm512_set1_epi32(x.cast::<i32>().read_unaligned());
            _mm512_dpbusd_epi32(sums, w, x)
        }
    }
}
