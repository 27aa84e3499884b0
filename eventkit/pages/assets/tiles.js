"use strict";
// Small animations of samples side by side, which one button stops.

class Tiles {
  constructor(palettes) {
    Object.assign(this, { palettes, tiles: [], step: 0 });
    this.button = el("button.screen", { type: "button", onclick: () => this.toggle() });
    this.element = el("div.tiles");
    themed.push(() => this.draw());
    this.toggle(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  }

  /** Add a sample {n, width, height, data} with a caption. */
  async add(sample, caption) {
    const canvas = el("canvas", { role: "img", "aria-label": `${sample.name}: ${sample.label}` });
    const tile = { sample, canvas, indices: null };
    this.element.append(el("figure", {}, canvas, caption));
    this.tiles.push(tile);
    tile.indices = await inflate(sample.data);
    this._draw(tile);
  }

  toggle(playing = !this.playing) {
    this.playing = playing;
    this.button.textContent = playing ? "Pause" : "Play";
    clearInterval(this.timer);
    if (playing) this.timer = setInterval(() => { this.step++; this.draw(); }, 200);
  }

  draw() {
    this.tiles.filter((tile) => tile.indices).forEach((tile) => this._draw(tile));
  }

  _draw({ sample: { n, width, height, heat }, canvas, indices }) {
    const frame = this.step % Math.max(1, n);
    const palette = heat ? HEAT_PALETTE : paletteOf(this.palettes[isDark() ? "dark" : "light"]);
    paint(canvas, indices.subarray(frame * width * height, (frame + 1) * width * height), width, height, palette);
    canvas.style.aspectRatio = `${Math.max(width, height / 2)} / ${Math.max(height, width / 4)}`;
  }
}
