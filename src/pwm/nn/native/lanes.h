/* Vectors of 16 float32 numbers, and functions of one row for the kernels.
 *
 * A `kind` names a number format: 0 float32, 1 bfloat16. All arithmetic is float32. Where a row ends within a vector,
 * the lanes beyond it are loaded as zero and never stored. BLOCK, CHUNK and MOST are set in build.py.
 */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512BW__
#include <immintrin.h>
#endif

typedef int64_t i64;
typedef float vf __attribute__((vector_size(64)));
typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef uint16_t vh __attribute__((vector_size(32)));

#define INLINE static inline __attribute__((always_inline))
#define SIMD _Pragma("omp simd")
#define PARALLEL _Pragma("omp parallel for num_threads(threads) if (threads > 1) schedule(static)")
#define LANES 16
#define VECTORS(n) (((n) + LANES - 1) / LANES)
#define TOGETHER 4 /* rows summed at the same time, to hide latency */

INLINE i64 least(i64 x, i64 y) { return x < y ? x : y; }
INLINE vf all(float x) { return x - (vf){0}; }
#ifdef __AVX512BW__ /* one instruction each, which returns its second operand where that is not a number */
INLINE vf larger(vf x, vf y) { return (vf)_mm512_max_ps((__m512)x, (__m512)y); }
INLINE vf smaller(vf x, vf y) { return (vf)_mm512_min_ps((__m512)x, (__m512)y); }
INLINE vf square_root(vf x) { return (vf)_mm512_sqrt_ps((__m512)x); }
#else
typedef int32_t i8 __attribute__((vector_size(32)));
/* By halves: compilers compare vectors wider than the processor's lane by lane. */
INLINE vf larger(vf x, vf y) {
    v8 a[2], b[2];
    memcpy(a, &x, sizeof a), memcpy(b, &y, sizeof b);
    for (int k = 0; k < 2; k++) b[k] = (v8)(((i8)a[k] & (a[k] > b[k])) | ((i8)b[k] & ~(a[k] > b[k])));
    memcpy(&y, b, sizeof b);
    return y;
}
INLINE vf smaller(vf x, vf y) { return -larger(-x, -y); }
INLINE vf square_root(vf x) {
    for (int k = 0; k < LANES; k++) x[k] = sqrtf(x[k]);
    return x;
}
#endif
INLINE vf at_most(vf x, float top) { return smaller(all(top), x); }
INLINE vf at_least(vf x, float bottom) { return larger(all(bottom), x); }

/* all ones in the first `left` lanes */
INLINE vi first(i64 left) {
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lane < (int32_t)least(left, LANES) - (vi){0};
}

INLINE float total(vf x) {
    v8 h[2];
    memcpy(h, &x, sizeof h);
    h[0] += h[1];
    v4 q[2];
    memcpy(q, h, sizeof q);
    q[0] += q[1];
    return (q[0][0] + q[0][2]) + (q[0][1] + q[0][3]);
}

/* `left` entries from a place, zeros after them */
INLINE vf load(const void *from, int kind, i64 at, i64 left) {
    if (kind) {
        vh h = {0};
        const uint16_t *p = (const uint16_t *)from + at;
        if (left >= LANES)
            memcpy(&h, p, sizeof h);
        else
#ifdef __AVX512BW__
            h = (vh)_mm512_castsi512_si256(_mm512_maskz_loadu_epi16((1u << left) - 1, p));
#else
            for (i64 k = 0; k < left; k++) h[k] = p[k];
#endif
        return (vf)(__builtin_convertvector(h, vu) << 16);
    }
    vf x = {0};
    const float *p = (const float *)from + at;
    if (left >= LANES)
        memcpy(&x, p, sizeof x);
    else
#ifdef __AVX512BW__
        x = (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << left) - 1), p);
#else
        for (i64 k = 0; k < left; k++) x[k] = p[k];
#endif
    return x;
}

/* the nearest bfloat16 in the lower half of each lane, ties to even; not-a-number stays one */
INLINE vu bits(vf x) {
    vu u = (vu)x, near = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    vi odd = (vi)((u & 0x7fffffffu) > 0x7f800000u - (vu){0});
    return (vu)((odd & 0x7fc0) | (~odd & (vi)near));
}

INLINE vh rounded(vf x) { return __builtin_convertvector(bits(x), vh); }

INLINE void store(vf x, void *to, int kind, i64 at, i64 left) {
    if (kind) {
        vh h = rounded(x);
        uint16_t *p = (uint16_t *)to + at;
        if (left >= LANES)
            memcpy(p, &h, sizeof h);
        else
            for (i64 k = 0; k < left; k++) p[k] = h[k];
    } else {
        float *p = (float *)to + at;
        if (left >= LANES)
            memcpy(p, &x, sizeof x);
        else
            for (i64 k = 0; k < left; k++) p[k] = x[k];
    }
}

/* e^x for x from -87 to 88 with a relative error of 1e-7: x = k ln 2 + r, a polynomial for e^r, the exponent set by
 * hand */
INLINE vf exponential(vf x) {
    vf shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23 rounds to a whole number */
    vf k = shifted - 12582912.0f;
    vf r = x - k * 0.693359375f + k * 2.12194440e-4f;
    vf p = r * 1.39337e-3f + 8.36318e-3f; /* a least-squares fit at Chebyshev's points: 1e-8 */
    p = p * r + 4.166646e-2f;
    p = p * r + 1.6666577e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * (vf)(((vu)shifted + (127u - 0x4b400000u)) << 23);
}

INLINE vf bounded(vf x) { return at_most(at_least(x, -87.0f), 20.0f); }

/* Mish is x t with t = tanh(softplus(x)) = q / (q + 2), q = w (w + 2), w = e^x; `c` is x within the bounds beyond which t
 * is 0 and 1 in float32 */
INLINE vf mish_parts(vf c, vf *w, vf *r) {
    *w = exponential(c);
    vf q = *w * (*w + 2.0f);
    *r = 1.0f / (q + 2.0f);
    return q * *r;
}

INLINE vf mish(vf x) {
    vf w, r;
    return x * mish_parts(bounded(x), &w, &r);
}

/* the slope of Mish, t + 4 x w (w + 1) / (q + 2)^2; `y` receives Mish itself */
INLINE vf mish_slope(vf x, vf *y) {
    vf w, r, c = bounded(x), t = mish_parts(c, &w, &r);
    *y = x * t;
    return t + 4.0f * c * (w * r) * ((w + 1.0f) * r);
}

/* mean and inverse deviation of n entries, of which `sum` is the sum by lanes */
INLINE void moments(const vf *x, vf sum, i64 n, float *mean, float *inverse) {
    float m = total(sum) / (float)n;
    vf square[4] = {{0}};
    i64 whole = n / LANES, j = 0;
    for (; j + 4 <= whole; j += 4)
        for (int k = 0; k < 4; k++) square[k] += (x[j + k] - m) * (x[j + k] - m);
    for (; j < whole; j++) square[0] += (x[j] - m) * (x[j] - m);
    if (n % LANES) {
        vf d = (vf)((vi)(x[j] - m) & first(n % LANES));
        square[1] += d * d;
    }
    *mean = m;
    *inverse = 1.0f / sqrtf(total((square[0] + square[1]) + (square[2] + square[3])) / (float)n + 1e-5f);
}

/* softmax over `group` entries that lie s apart */
INLINE void grouped_softmax(float *restrict x, i64 s, i64 group) {
    for (i64 j = 0; j < s; j += LANES) {
        i64 left = s - j;
        vf top = load(x, 0, j, left), sum = {0};
        for (i64 k = 1; k < group; k++) top = larger(load(x, 0, j + k * s, left), top);
        for (i64 k = 0; k < group; k++) {
            vf e = exponential(at_least(load(x, 0, j + k * s, left) - top, -87.0f));
            sum += e;
            store(e, x, 0, j + k * s, left);
        }
        sum = 1.0f / sum;
        for (i64 k = 0; k < group; k++) store(load(x, 0, j + k * s, left) * sum, x, 0, j + k * s, left);
    }
}

/* g becomes the gradient at the softmax's input, from the gradient at its output y */
INLINE void grouped_softmax_backward(float *restrict g, const float *restrict y, i64 s, i64 group) {
    for (i64 j = 0; j < s; j += LANES) {
        i64 left = s - j;
        vf along = {0};
        for (i64 k = 0; k < group; k++) along += load(g, 0, j + k * s, left) * load(y, 0, j + k * s, left);
        for (i64 k = 0; k < group; k++) {
            i64 at = j + k * s;
            store((load(g, 0, at, left) - along) * load(y, 0, at, left), g, 0, at, left);
        }
    }
}

INLINE void add(float *restrict x, const float *restrict y, i64 n) {
    SIMD for (i64 j = 0; j < n; j++) x[j] += y[j];
}

/* The sum of the shares [blocks, n], in their order. */
INLINE void sum_shares(float *restrict to, const float *restrict shares, i64 blocks, i64 n) {
    if (!blocks) memset(to, 0, (size_t)n * 4);
    if (blocks) memcpy(to, shares, (size_t)n * 4);
    for (i64 b = 1; b < blocks; b++) add(to, shares + b * n, n);
}
