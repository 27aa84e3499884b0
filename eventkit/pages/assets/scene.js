"use strict";
// What the viewer draws: pixels of a time window, a cloud in x, y and t, a raster, the timeline.

/** Counts of a window as palette indices, and the scale that is the same for all windows. */
class Pixels {
  constructor(events, [width, height], length) {
    Object.assign(this, { events, width, height, length });
    this.off = new Uint32Array(width * height);
    this.on = new Uint32Array(width * height);
    this.indices = new Uint8Array(width * height);
    this.scales = new Map();
  }

  _count(first, last) {
    const { x, y, p } = this.events;
    for (let i = first; i < last; i++) (p[i] ? this.on : this.off)[y[i] * this.width + x[i]]++;
  }

  /** The 99.5th percentile of the counts that are not zero, over all windows of this length. */
  scaleOf(window) {
    if (this.scales.has(window)) return this.scales.get(window);
    this.off.fill(0);
    this.on.fill(0);
    const { t, x, y, p } = this.events, seen = [];
    const windows = Math.max(1, Math.ceil((this.length + 1) / window)), most = 400;
    const step = Math.ceil(windows / most); // of very many windows, some
    for (let k = 0; k < windows; k += step) {
      const first = indexOf(t, k * window), last = indexOf(t, (k + 1) * window);
      this._count(first, last);
      for (let i = first; i < last; i++) { // each pixel once: it is zero the second time
        const counts = p[i] ? this.on : this.off, place = y[i] * this.width + x[i], n = counts[place];
        if (n) seen[n] = (seen[n] ?? 0) + 1;
        counts[place] = 0;
      }
    }
    const scale = percentile(Array.from(seen, (n) => n ?? 0), 0.995);
    this.scales.set(window, scale);
    return scale;
  }

  /** Palette indices of the events of start <= t < start + window. */
  counts(start, window) {
    const { t } = this.events, scale = this.scaleOf(window);
    this.off.fill(0);
    this.on.fill(0);
    this._count(indexOf(t, start), indexOf(t, start + window));
    for (let i = 0; i < this.indices.length; i++)
      this.indices[i] = this.on[i] || this.off[i] ? level(this.on[i], scale) * LEVELS + level(this.off[i], scale) : 0;
    return this.indices;
  }

  /** Palette indices of the last event of every pixel before `end`, fading with time constant. */
  decay(end, constant) {
    const { t, x, y, p } = this.events, out = this.indices.fill(0);
    for (let i = indexOf(t, end - 4 * constant), last = indexOf(t, end); i < last; i++) {
      const strength = Math.ceil(Math.exp((t[i] - end) / constant) * (LEVELS - 1));
      out[y[i] * this.width + x[i]] = p[i] ? strength * LEVELS : strength;
    }
    return out;
  }
}

/** A raster of a one-axis sensor: time to the right, channels upwards. */
function raster(events, channels, start, window, columnsOfTime) {
  const { t, x, p } = events, width = columnsOfTime;
  const bins = Math.ceil(channels / Math.min(channels, 400)), height = Math.ceil(channels / bins);
  const out = new Uint8Array(width * height);
  for (let i = indexOf(t, start), last = indexOf(t, start + window); i < last; i++) {
    const column = Math.min(width - 1, Math.floor(((t[i] - start) / window) * width));
    out[(height - 1 - Math.floor(x[i] / bins)) * width + column] |= p[i] ? 15 * LEVELS : 15;
  }
  return { indices: out, width, height };
}

const CLOUD = 300_000; // points of a cloud that are drawn

/** A cloud of events in x, y and t, seen from an angle; those of the window stand out. */
class Cloud {
  constructor(canvas, events, [width, height], length) {
    Object.assign(this, { canvas, events, width, height, length });
    this.yaw = 0.65;
    this.pitch = 0.35;
    this.stride = Math.max(1, Math.ceil(events.n / CLOUD));
  }

  draw(start, window, palette, ink) {
    const { canvas, events } = this;
    const w = (canvas.width = Math.max(200, Math.round(canvas.clientWidth * Math.min(2, devicePixelRatio))));
    const h = (canvas.height = Math.max(150, Math.round(canvas.clientHeight * Math.min(2, devicePixelRatio))));
    const context = canvas.getContext("2d");
    const image = context.createImageData(w, h), pixels = new Uint32Array(image.data.buffer);
    const depth = new Float32Array(w * h).fill(Infinity);
    const longer = Math.max(this.width, this.height), along = 1.7; // the time axis is longer
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    // As large as fits into the canvas however it is turned about the vertical axis.
    const reach = Math.hypot(this.width / longer, along), tall = (this.height / longer) * cp + reach * Math.abs(sp);
    const zoom = Math.min((0.47 * w) / reach, (0.45 * h) / tall);
    // (x, y, t) -> right, down, depth
    const place = (x, y, t) => {
      const a = (2 * x - this.width) / longer, b = (2 * y - this.height) / longer, c = along * ((2 * t) / this.length - 1);
      const right = c * cy + a * sy, back = -c * sy + a * cy;
      return [w / 2 + zoom * right, h / 2 + zoom * (b * cp + back * sp), back * cp - b * sp];
    };
    const origin = place(0, 0, 0);
    const step = [place(1, 0, 0), place(0, 1, 0), place(0, 0, 1)].map((to) => to.map((v, k) => v - origin[k]));
    const [[xr, xd, xz], [yr, yd, yz], [tr, td, tz]] = step;
    const { t, x, y, p } = events, end = start + window;
    const bright = [palette[15], palette[15 * LEVELS]], dim = [palette[6], palette[6 * LEVELS]];
    const dot = w > 900 ? 2 : 1;
    for (let i = 0; i < events.n; i += this.stride) {
      const r = (origin[0] + x[i] * xr + y[i] * yr + t[i] * tr) | 0, d = (origin[1] + x[i] * xd + y[i] * yd + t[i] * td) | 0;
      if (r < 0 || d < 0 || r >= w - dot || d >= h - dot) continue;
      const z = origin[2] + x[i] * xz + y[i] * yz + t[i] * tz, at = d * w + r;
      const now = t[i] >= start && t[i] < end;
      if (z - (now ? 10 : 0) >= depth[at]) continue;
      const shade = (now ? bright : dim)[p[i]];
      for (let v = 0; v < dot; v++)
        for (let u = 0; u < dot; u++) {
          pixels[at + v * w + u] = shade;
          depth[at + v * w + u] = z - (now ? 10 : 0);
        }
    }
    context.putImageData(image, 0, 0);
    this._box(context, place, start, Math.min(end, this.length), ink, w / canvas.clientWidth || 1);
  }

  _box(context, place, start, end, ink, ratio) {
    const { width: W, height: H, length: T } = this;
    const line = (...points) => {
      context.beginPath();
      points.forEach(([r, d], i) => (i ? context.lineTo(r, d) : context.moveTo(r, d)));
      context.stroke();
    };
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = ratio;
    context.globalAlpha = 0.35;
    for (const [a, b] of [[0, 0], [W, 0], [0, H], [W, H]]) line(place(a, b, 0), place(a, b, T));
    const face = (t) => line(place(0, 0, t), place(W, 0, t), place(W, H, t), place(0, H, t), place(0, 0, t));
    face(0);
    face(T);
    context.globalAlpha = 0.9;
    face(start);
    if (end > start) face(end);
    context.font = `${12 * ratio}px system-ui, sans-serif`;
    context.textAlign = "center";
    for (const [name, [r, d]] of [["x", place(W / 2, H * 1.08, 0)], ["y", place(-W * 0.08, H / 2, 0)], ["t", place(W * 1.08, H, T / 2)]])
      context.fillText(name, r, d);
  }
}

/** The event rate over time with the window, and intervals as bars with their names. */
class Timeline {
  constructor(canvas) {
    this.canvas = canvas;
  }

  draw({ rate, length, intervals = [] }, now, start, window, colours) {
    const { canvas } = this, ratio = Math.min(2, devicePixelRatio);
    const w = canvas.clientWidth, h = canvas.clientHeight;
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const right = (t) => (t / Math.max(length, 1)) * w;
    const [accent, ink, faint, line] = colours;
    const lanes = intervals.length ? 18 : 0, floor = h - 2 - lanes, peak = Math.max(1e-9, ...rate);
    context.fillStyle = accent;
    context.globalAlpha = 0.18;
    if (window) context.fillRect(right(start), 0, Math.max(2, right(window)), h);
    context.globalAlpha = 1;
    context.beginPath();
    context.moveTo(0, floor);
    rate.forEach((n, i) => {
      const up = floor - (n / peak) * (floor - 8);
      context.lineTo((i / rate.length) * w, up);
      context.lineTo(((i + 1) / rate.length) * w, up);
    });
    context.lineTo(w, floor);
    context.fillStyle = faint;
    context.globalAlpha = 0.55;
    context.fill();
    context.globalAlpha = 1;
    context.font = "11px system-ui, sans-serif";
    intervals.forEach(({ start: from, stop, label }, i) => {
      const a = right(from), b = right(stop);
      context.fillStyle = i % 2 ? line : accent;
      context.globalAlpha = 0.5;
      context.fillRect(a, h - lanes, Math.max(1, b - a - 1), lanes);
      context.globalAlpha = 1;
      context.fillStyle = ink;
      context.save();
      context.beginPath();
      context.rect(a, h - lanes, b - a - 3, lanes);
      context.clip();
      context.fillText(label, a + 4, h - 5);
      context.restore();
    });
    context.fillStyle = ink;
    if (window) context.fillRect(Math.min(w - 1.5, right(now)), 0, 1.5, h);
  }
}
