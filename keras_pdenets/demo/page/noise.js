// Noise on the kernels: w + level |w| xi, xi uniform in (-1, 1), one draw for each seed.

function generator(seed) {
  let state = seed >>> 0;
  return () => { // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A copy of the weights with noise on what the table calls kernels. */
export function disturbed(weights, tensors, level, seed) {
  const noisy = weights.slice();
  const random = generator(seed);
  let start = 0;
  for (const [count, , kernel] of tensors) {
    if (kernel) {
      for (let i = start; i < start + count; i++) {
        noisy[i] += level * Math.abs(noisy[i]) * (2 * random() - 1);
      }
    }
    start += count;
  }
  return noisy;
}
