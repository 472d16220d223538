// Files of the page: fetched, unpacked, decoded.

/** A file as the server has it now: of an older page with the same address nothing may be left. */
async function fetched(url) {
  const response = await fetch(url, { cache: "no-cache" });
  if (!response.ok) throw new Error(`${url}: the server answered ${response.status}`);
  return response;
}

/** The bytes of a gzip file, also where the server has already unpacked it. */
export async function unpacked(url) {
  const response = await fetched(url);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export async function json(url) {
  return (await fetched(url)).json();
}

let table = null;

/** Numbers of 16 bits (IEEE 754 binary16) as a Float32Array. */
export function fromHalf(halves) {
  table ??= Float32Array.from({ length: 65536 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * 2 ** -24 * fraction;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * 2 ** (exponent - 25) * (1024 + fraction);
  });
  return Float32Array.from(halves, (bits) => table[bits]);
}

/** The weights of a net in 32 bits; `tensors`: [count, in 16 bits?, kernel?] for each. */
export function spreadWeights(bytes, tensors, numbers) {
  const weights = new Float32Array(numbers);
  let from = 0, to = 0;
  for (const [count, half] of tensors) {
    const part = bytes.slice(from, from + count * (half ? 2 : 4)).buffer;
    weights.set(half ? fromHalf(new Uint16Array(part)) : new Float32Array(part), to);
    from += count * (half ? 2 : 4);
    to += count;
  }
  if (from !== bytes.length || to !== numbers) throw new Error("its weights are of another size");
  return weights;
}
