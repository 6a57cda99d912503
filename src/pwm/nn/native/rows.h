/* Functions of a few rows for several kernels: Mish and LayerNorm of a fleet's layer, and backward of folded weights. */
#pragma once
#include "lanes.h"

/* y [count, VECTORS(n)]: LayerNorm of Mish(x + bias), of up to TOGETHER rows from row i of x, which lie `stride` entries
 * apart; `mean` and `inverse` receive what backward needs, and so does `slope` [count, VECTORS(n)], if wanted. */
INLINE void mish_norm_rows(const void *x, int kind, i64 i, i64 stride, const float *const *bias, i64 count, i64 n, vf *y,
                           float *mean, float *inverse, vf *slope) {
    i64 wide = VECTORS(n);
    vf sum[TOGETHER];
    for (i64 r = 0; r < count; r++) {
        sum[r] = all(0.0f);
        for (i64 j = 0; j < n; j += LANES) {
            i64 k = r * wide + j / LANES;
            vf z = load(x, kind, (i + r) * stride + j, n - j) + load(bias[r], 0, j, n - j);
            if (slope)
                slope[k] = mish_slope(z, y + k);
            else
                y[k] = mish(z);
            sum[r] += y[k];
        }
    }
    for (i64 r = 0; r < count; r++) moments(y + r * wide, sum[r], n, mean + r, inverse + r);
    for (i64 r = 0; r < count; r++)
        for (i64 k = 0; k < wide; k++) y[r * wide + k] = (y[r * wide + k] - mean[r]) * inverse[r];
}

/* d [count, VECTORS(n)], zero beyond n, is the gradient at the result of `mish_norm_rows`, `normed`, and becomes that at
 * x. */
INLINE void mish_norm_rows_backward(vf *d, const vf *normed, const vf *slope, const float *inverse, i64 count, i64 n) {
    i64 wide = VECTORS(n);
    vf sum[TOGETHER], along[TOGETHER];
    float a[TOGETHER], c[TOGETHER];
    for (i64 r = 0; r < count; r++) {
        sum[r] = along[r] = all(0.0f);
        for (i64 k = r * wide; k < (r + 1) * wide; k++) {
            sum[r] += d[k];
            along[r] += d[k] * normed[k];
        }
    }
    for (i64 r = 0; r < count; r++) a[r] = total(sum[r]) / (float)n, c[r] = total(along[r]) / (float)n;
    for (i64 r = 0; r < count; r++)
        for (i64 k = r * wide; k < (r + 1) * wide; k++)
            d[k] = (d[k] - a[r] - normed[k] * c[r]) * inverse[r] * slope[k];
}

/* One row of a weight into which LayerNorm's gain and shift were folded: gradients of the row, of its gain and of its
 * shift from those of the folded row, g, and of the folded bias. */
INLINE void fold_backward_row(const void *g, int kind, i64 at, const float *g_bias, const float *weight, float gain,
                              float shift, i64 n, float *to_weight, float *to_gain, float *to_shift) {
    vf along = {0}, down = {0};
    for (i64 j = 0; j < n; j += LANES) {
        vf d = load(g, kind, at + j, n - j), w = load(weight, 0, j, n - j), h = load(g_bias, 0, j, n - j);
        along += w * d;
        down += w * h;
        store(d * gain + h * shift, to_weight, 0, j, n - j);
    }
    *to_gain = total(along);
    *to_shift = total(down);
}
