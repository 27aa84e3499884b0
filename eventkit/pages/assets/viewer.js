"use strict";
// The viewer: one sample at a time, a playhead, a window, and what they show.

const KEYS = [
  ["Space", "play or pause"], ["← →", "one window back or on (Shift: ten)"], ["Home End", "beginning, end"],
  ["+ −", "faster, slower"], ["[ ]", "shorter or longer window"], ["d", "counts or decay"], ["r", "rotate the cloud"],
  ["p n", "previous or next sample"], ["t", "light or dark"],
];
const RASTER = 1200; // columns of a raster

/** The number of the series 1, 2, 5, 10, … nearest to a value. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value)), digit = value / power;
  return power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
}

class Viewer {
  constructor(data) {
    this.data = data;
    this.size = data.size;
    this.isRaster = this.size[1] === 1;
    this.state = { sample: 0, now: 0, window: 1, speed: 1, playing: false, decay: false, rotate: !matchMedia("(prefers-reduced-motion: reduce)").matches, palette: Object.keys(data.palettes)[0] };
    this._elements();
    themed.push(() => this.draw());
    addEventListener("keydown", (event) => this._key(event));
    addEventListener("resize", () => this.draw());
  }

  _elements() {
    const slider = (label, min, max, step, oninput) => {
      const input = el("input", { type: "range", min, max, step, "aria-label": label, oninput: () => oninput(+input.value) });
      const output = el("output");
      return { input, output, label: el("label.screen", {}, label, input, output) };
    };
    const { data } = this;
    this.title = head(data.title, data.about);
    this.facts = el("p.about", { "aria-live": "polite" });
    this.chooser = el("select", { "aria-label": "Sample", onchange: () => this.open(+this.chooser.value) },
      data.samples.map((sample, i) => el("option", { value: i }, [sample.name, sample.label].filter(Boolean).join(": "))));
    this.view = el("canvas", { role: "img", "aria-label": "Events of the window" });
    this.over = el("canvas.over");
    this.caption = el("div.caption");
    this.cloudCanvas = el("canvas.smooth", { role: "img", "aria-label": "Cloud of events in x, y and time; drag to turn" });
    this.cloudCaption = el("div.caption");
    this.timelineCanvas = el("canvas.timeline", { role: "img", "aria-label": "Event rate over time; click to go there" });
    this.timeline = new Timeline(this.timelineCanvas);
    this.timelineCaption = el("div.caption");
    this.play = el("button.play.screen", { type: "button", onclick: () => this.toggle() }, "Play");
    this.scrub = slider("time", 0, 1, "any", (value) => this.seek(value * this.sample.length));
    this.window = slider("window", 0, 1, "any", (value) => this.setWindow(this._fromSlider(value)));
    this.speed = slider("speed", -12, 8, 1, (value) => this.set({ speed: this.realTime * 2 ** value }));
    this.mode = el("button.screen", { type: "button", onclick: () => this.set({ decay: !this.state.decay }) }, "Decay");
    this.rotation = el("button.screen", { type: "button", onclick: () => this.set({ rotate: !this.state.rotate }) }, "Rotate");
    this.palettes = el("select.screen", { "aria-label": "Palette", onchange: () => this.set({ palette: this.palettes.value }) },
      Object.keys(data.palettes).map((name) => el("option", { value: name }, name)));
    this.notes = el("div");
    const one = data.samples.length < 2;
    const aspect = Math.max(1, Math.min(16 / 9, this.size[0] / this.size[1]));
    const first = el("figure", {}, el("div.panel", { style: { aspectRatio: this.isRaster ? 2.5 : aspect } }, this.view, this.over), this.caption);
    const stage = this.isRaster ? el("div.stage.single", {}, first)
      : el("div.stage", { style: { gridTemplateColumns: this.size[0] > 640 ? "minmax(0, 2fr) minmax(0, 1fr)" : "" } }, first,
        el("figure", {}, el("div.panel", {}, this.cloudCanvas), this.cloudCaption));
    PAGE.append(this.title, el("div.controls", {}, one ? null : el("label", {}, "sample", this.chooser), this.facts), this.notes, stage,
      this.timelineCanvas, this.timelineCaption,
      el("div.controls", {}, this.play, this.scrub.label, this.window.label, this.speed.label,
        this.isRaster ? null : [this.mode, this.rotation], el("label.screen", {}, "palette", this.palettes)),
      el("details.screen", {}, el("summary", {}, "Keys"), el("table", {}, KEYS.map(([key, what]) =>
        el("tr", {}, el("td", {}, key.split(" ").map((k) => [el("kbd", {}, k), " "])), el("td", {}, what))))));
    this._drag();
  }

  _drag() {
    let from = null;
    this.cloudCanvas.addEventListener("pointerdown", (event) => {
      from = [event.clientX, event.clientY];
      this.cloudCanvas.setPointerCapture(event.pointerId);
      this.set({ rotate: false });
    });
    this.cloudCanvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      this.cloud.yaw += (event.clientX - from[0]) * 0.008;
      this.cloud.pitch = Math.max(-1.5, Math.min(1.5, this.cloud.pitch + (event.clientY - from[1]) * 0.008));
      from = [event.clientX, event.clientY];
      this.draw();
    });
    this.cloudCanvas.addEventListener("pointerup", () => (from = null));
    const seek = (event) => {
      const box = this.timelineCanvas.getBoundingClientRect();
      this.seek(((event.clientX - box.left) / box.width) * this.sample.length);
    };
    this.timelineCanvas.addEventListener("pointerdown", (event) => {
      this.timelineCanvas.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.timelineCanvas.addEventListener("pointermove", (event) => event.buttons && seek(event));
  }

  /** Unpack and show a sample. */
  async open(number) {
    const sample = this.data.samples[number], before = this.sample;
    delete document.body.dataset.ready;
    this.isFrames = sample.kind === "frames";
    this.frames = this.isFrames ? await inflate(sample.data) : null;
    this.show(sample, this.isFrames ? this._points(sample) : await unpackEvents(sample, this.size));
    if (!before || before.kind !== sample.kind || this.isFrames) this._defaults();
    this.chooser.value = number;
    this.set({ sample: number, now: 0, window: Math.min(this.state.window, this.longest) });
    ready();
  }

  show(sample, events) {
    const view = this.cloud ?? {};
    Object.assign(this, { sample, events });
    this.pixels = new Pixels(events, this.size, sample.length);
    this.cloud = new Cloud(this.cloudCanvas, events, this.size, Math.max(1, sample.length));
    Object.assign(this.cloud, { yaw: view.yaw ?? this.cloud.yaw, pitch: view.pitch ?? this.cloud.pitch });
    this.longest = this.isFrames ? 1 : Math.max(1, sample.length + 1);
    const total = this.isFrames ? `${whole(sample.n)} frames` : `${whole(sample.total)} events in ${time(sample.length)}`;
    this.facts.textContent = `${this.size.join(" × ")}, ${total}`;
    const fewer = !this.isFrames && sample.n < sample.total ? [`Sub-sampled: this page holds ${whole(sample.n)} of ${whole(sample.total)} events, evenly over the recording. The rate curve counts all of them.`] : [];
    const coarse = !this.isFrames && sample.unit > 1 ? [`Times are rounded down to ${time(sample.unit)} to keep the page small.`] : [];
    this.notes.replaceChildren(...[...fewer, ...coarse, ...(this.data.notes ?? []), ...(sample.notes ?? [])].map((text) => note(text)));
  }

  /** The pixels of frames that are not zero, as events for the cloud. */
  _points({ n }) {
    const [width, height] = this.size, area = width * height, found = [];
    for (let i = 0; i < this.frames.length; i++) if (this.frames[i]) found.push(i);
    const events = { n: found.length, t: new Float64Array(found.length), x: new Uint16Array(found.length), y: new Uint16Array(found.length), p: new Uint8Array(found.length) };
    found.forEach((i, k) => {
      const pixel = i % area, index = this.frames[i];
      events.t[k] = Math.floor(i / area);
      events.x[k] = pixel % width;
      events.y[k] = Math.floor(pixel / width);
      events.p[k] = index >> 4 > (index & 15) ? 1 : 0;
    });
    return events;
  }

  _defaults() {
    const { length } = this.sample;
    if (this.isFrames) return void Object.assign(this.state, { window: 1, speed: (this.realTime = 8 / 1e6) });
    const usual = this.data.window ?? Math.min(50_000, nice(Math.max(length / 16, 1)));
    this.realTime = 1;
    const window = this.isRaster ? this.longest : Math.min(usual, this.longest);
    const speed = length < 4e6 || length > 30e6 ? 2 ** Math.round(Math.log2(Math.max(length, 1) / 8e6)) : 1;
    Object.assign(this.state, { window, speed: Math.max(2 ** -12, Math.min(2 ** 8, speed)) });
  }

  // The window slider is logarithmic: 100 µs to the whole recording.
  _fromSlider(share) {
    const low = Math.min(100, this.longest);
    return share >= 0.999 ? this.longest : Math.min(this.longest, nice(low * (this.longest / low) ** share));
  }
  _toSlider(window) {
    const low = Math.min(100, this.longest);
    return this.longest > low ? Math.log(window / low) / Math.log(this.longest / low) : 1;
  }

  set(changes) {
    Object.assign(this.state, changes);
    this.draw();
  }
  setWindow(window) {
    this.set({ window: Math.max(1, Math.min(window, this.longest)) });
  }
  seek(now) {
    const last = this.isFrames ? this.sample.n - 1 : this.sample.length;
    now = Math.max(0, Math.min(now, last));
    this.set({ now: this.isFrames ? Math.floor(now) : now });
  }
  step(count) {
    const { now, window } = this.state;
    const place = Math.round((now / window) * 1e6) / 1e6;
    this.set({ playing: false });
    this.seek((count > 0 ? Math.floor(place) + count : Math.ceil(place) + count) * window);
  }

  toggle() {
    const playing = !this.state.playing;
    this.set({ playing });
    if (!playing) return;
    let before = performance.now();
    if (this.state.now >= this.sample.length - 1) this.state.now = 0;
    this.clock = this.state.now;
    const tick = (at) => {
      if (!this.state.playing) return;
      const passed = at - before;
      before = at;
      if (Math.abs(this.clock - this.state.now) > this.state.window + 1) this.clock = this.state.now; // somebody moved it
      this.clock += passed * 1000 * this.state.speed;
      if (this.clock > (this.isFrames ? this.sample.n : this.sample.length)) this.clock = 0;
      if (this.state.rotate) this.cloud.yaw += passed * 0.0003;
      this.seek(this.clock);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inControl = /^(SELECT|TEXTAREA)$/.test(event.target.tagName);
    const onSlider = event.target.tagName === "INPUT", many = event.shiftKey ? 10 : 1;
    const { state } = this;
    const actions = {
      " ": () => this.toggle(), ArrowRight: () => this.step(many), ArrowLeft: () => this.step(-many),
      Home: () => this.seek(0), End: () => this.seek(state.window * Math.floor(this.sample.length / state.window)),
      "+": () => this.set({ speed: state.speed * 2 }), "=": () => this.set({ speed: state.speed * 2 }), "-": () => this.set({ speed: state.speed / 2 }),
      "[": () => this.setWindow(nice(state.window / 2.2)), "]": () => this.setWindow(nice(state.window * 2.2)),
      d: () => this.set({ decay: !state.decay }), r: () => this.set({ rotate: !state.rotate }),
      n: () => this.open((state.sample + 1) % this.data.samples.length),
      p: () => this.open((state.sample + this.data.samples.length - 1) % this.data.samples.length),
    };
    if (inControl || (onSlider && /^(Arrow|Home|End)/.test(event.key)) || (event.target.tagName === "BUTTON" && event.key === " ") || !actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  get theme() {
    return this.data.palettes[this.state.palette][isDark() ? "dark" : "light"];
  }

  /** Where the window begins: at the playhead, which a raster keeps in its middle. */
  get begin() {
    const { now, window } = this.state;
    if (!this.isRaster || this.isFrames) return now;
    return Math.max(0, Math.min(now - window / 2, this.longest - window));
  }

  draw() {
    if (!this.sample) return;
    const { now, window, decay } = this.state, [width, height] = this.size, palette = paletteOf(this.theme);
    const ink = colour("ink");
    for (const panel of PAGE.querySelectorAll(".panel")) panel.style.background = `rgb(${this.theme[0].join(" ")})`;
    if (this.isRaster && !this.isFrames) {
      const found = raster(this.events, width, this.begin, window, RASTER);
      paint(this.view, found.indices, found.width, found.height, palette);
    } else {
      const indices = this.isFrames ? this.frames.subarray(now * width * height, (now + 1) * width * height)
        : decay ? this.pixels.decay(now + window, window) : this.pixels.counts(now, window);
      paint(this.view, indices, width, height, palette);
    }
    this.view.style.imageRendering = width > this.view.clientWidth ? "auto" : "pixelated";
    if (!this.isRaster) this.cloud.draw(now, window, palette, `rgb(${this.theme[1].join(" ")})`);
    this.timeline.draw(this.sample, now, this.begin, window, ["accent", "ink", "faint", "line"].map(colour));
    this._boxes();
    this._words();
  }

  _boxes() {
    const ratio = Math.min(2, devicePixelRatio), { over } = this, { boxes = [], intervals = [] } = this.sample;
    const w = over.clientWidth, h = over.clientHeight, [width, height] = this.size;
    over.width = w * ratio;
    over.height = h * ratio;
    const context = over.getContext("2d");
    context.scale(ratio, ratio);
    const { now, window } = this.state, middle = now + window / 2;
    if (this.isRaster && !this.isFrames) {
      context.fillStyle = colour("accent");
      context.fillRect(((now - this.begin) / window) * w - 0.75, 0, 1.5, h);
      return;
    }
    const scale = Math.min(w / width, h / height), left = (w - scale * width) / 2, top = (h - scale * height) / 2;
    context.strokeStyle = colour("line"); // where the sensor ends
    context.strokeRect(left - 0.5, top - 0.5, scale * width + 1, scale * height + 1);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "top";
    const ink = `rgb(${this.theme[1].join(" ")})`, ground = `rgb(${this.theme[0].join(" ")} / 75%)`;
    const write = (text, x, y) => {
      context.fillStyle = ground;
      context.fillRect(x, y, context.measureText(text).width + 8, 16);
      context.fillStyle = ink;
      context.fillText(text, x + 4, y + 2);
    };
    let nearest = Infinity; // boxes belong to moments: those nearest to the window's middle are shown
    for (const box of boxes) if (Math.abs(box.t - middle) < Math.abs(nearest - middle)) nearest = box.t;
    const reach = Math.max(window / 2, 150_000);
    this.shownBoxes = Math.abs(nearest - middle) > reach ? [] : boxes.filter((box) => box.t === nearest);
    for (const box of this.shownBoxes) {
      context.strokeStyle = ink;
      context.lineWidth = 1.5;
      context.strokeRect(left + box.x * scale, top + box.y * scale, box.w * scale, box.h * scale);
      write(box.label, left + box.x * scale, top + Math.max(0, box.y * scale - 17));
    }
    const labels = intervals.filter(({ start, stop }) => start < now + window && stop > now).map(({ label }) => label);
    if (labels.length) write([...new Set(labels)].join(", "), left + 4, top + 4);
  }

  _words() {
    const { now, window, speed, playing, decay, rotate } = this.state, { sample, events } = this;
    const { begin } = this, channels = this.isRaster ? `; channel 0 at the bottom, ${this.size[0] - 1} at the top` : "";
    const shown = this.isFrames ? `frame ${now + 1} of ${sample.n}` : `${time(begin)} to ${time(begin + window)}`;
    const inside = indexOf(events.t, begin + window) - indexOf(events.t, begin);
    this.caption.replaceChildren(el("span", {}, shown + channels), el("span", {}, this.isFrames ? "" : `${whole(inside)} events${events.n < sample.total ? " in this page" : ""}`));
    this.cloudCaption.replaceChildren(el("span", {}, "drag to turn"), el("span", {}, this.cloud.stride > 1 ? `1 of ${this.cloud.stride} events drawn` : ""));
    const peak = Math.max(0, ...sample.rate);
    this.timelineCaption.replaceChildren(
      el("span", {}, this.isFrames ? "pixels that are not zero, per frame" : `event rate, peak ${short((peak / sample.bin) * 1e6)} events/s in ${time(sample.bin)}`),
      el("span", {}, this.isFrames ? "" : time(sample.length)));
    this.play.textContent = playing ? "Pause" : "Play";
    this.mode.setAttribute("aria-pressed", decay);
    this.rotation.setAttribute("aria-pressed", rotate);
    this.scrub.input.value = now / Math.max(1, sample.length);
    this.scrub.output.textContent = this.isFrames ? now + 1 : time(Math.round(now));
    this.window.label.hidden = this.isFrames;
    this.window.input.value = this._toSlider(window);
    this.window.output.textContent = time(Math.round(window));
    this.speed.input.value = Math.log2(speed / this.realTime);
    this.speed.output.textContent = this.isFrames ? `${short(speed * 1e6)} frames/s` : speed < 1 ? `1/${whole(1 / speed)} ×` : `${short(speed)} ×`;
  }
}

let VIEWER;
if (DATA.live) follow();
else {
  VIEWER = new Viewer(DATA);
  VIEWER.open(0);
}
