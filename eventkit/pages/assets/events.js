"use strict";
// Unpacks what eventkit/pages/pack.py packs, and colours pixels as eventkit.viz does.

const LEVELS = 16; // of intensity per polarity: a palette of 16 x 16 colours

/** Compressed text as bytes. */
async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return inflated(packed);
}

async function inflated(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Events of a sample: t in µs from the sample's start, x, y, p. */
async function unpackEvents(sample, [width, height]) {
  const [place, time] = await Promise.all([inflate(sample.place), inflate(sample.time)]);
  return columns(sample, place, time, width, height);
}

function columns({ n, unit }, place, time, width, height) {
  let at = 0;
  const column = (side) => {
    const low = place.subarray(at, (at += n));
    if (side <= 256) return low;
    const out = new Uint16Array(n), high = place.subarray(at, (at += n));
    for (let i = 0; i < n; i++) out[i] = low[i] | (high[i] << 8);
    return out;
  };
  const x = column(width), y = column(height);
  const p = new Uint8Array(n);
  for (let i = 0; i < n; i++) p[i] = (place[at + (i >> 3)] >> (i & 7)) & 1;
  const t = new Float64Array(n);
  let clock = 0;
  for (let i = 0, j = 0; i < n; i++) {
    let step = 0, scale = 1, byte;
    do {
      byte = time[j++];
      step += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    clock += step;
    t[i] = clock * unit;
  }
  return { n, t, x, y, p };
}

/** The first event at `time` or later. */
function indexOf(t, time) {
  let low = 0, high = t.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (t[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The 256 colours of a palette [ground, ink, off, on] as pixels: index 16 * ON level + OFF level. */
function paletteOf([ground, , off, on]) {
  const out = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const a = (i >> 4) / (LEVELS - 1), b = (i & 15) / (LEVELS - 1), strength = Math.max(a, b);
    const [r, g, blue] = ground.map((from, k) => {
      const hue = (a * on[k] + b * off[k]) / Math.max(a + b, 1e-9);
      return roundEven(from + strength * (hue - from));
    });
    out[i] = (255 << 24) | (blue << 16) | (g << 8) | r;
  }
  return out;
}

/** Rounds halves to even, as NumPy. */
function roundEven(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low & 1) : Math.round(value);
}

/** The level 0 to 15 of a count, `scale` having full intensity: as eventkit.viz, in float32. */
const level = (count, scale) =>
  Math.ceil(Math.fround(Math.fround(Math.sqrt(Math.min(1, Math.fround(count / Math.fround(scale))))) * (LEVELS - 1)));

/** The value below which `share` of the counted values lie: counts[v] says how often v was seen. */
function percentile(counts, share) {
  let total = 0;
  for (const n of counts) total += n;
  if (!total) return 1;
  const place = (total - 1) * share, before = Math.floor(place);
  const at = (rank) => {
    let seen = 0;
    for (let value = 0; value < counts.length; value++) if ((seen += counts[value]) > rank) return value;
    return counts.length - 1;
  };
  const low = at(before), high = at(Math.min(before + 1, total - 1));
  return low + (high - low) * (place - before);
}

/** Draw pixels (palette indices) of width x height on a canvas of the same size. */
function paint(canvas, indices, width, height, palette) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = palette[indices[i]];
  context.putImageData(image, 0, 0);
}
