"use strict";
// Events that are still arriving: the server of this machine is asked for them again and again.

const HELD = 400_000; // events that the page keeps
const BIN = 50_000; // µs of the curve of the event rate

class Stream {
  constructor() {
    this.t = new Float64Array(2 * HELD); // µs from the first event of all
    this.x = new Uint16Array(2 * HELD);
    this.y = new Uint16Array(2 * HELD);
    this.p = new Uint8Array(2 * HELD);
    this.weight = new Float32Array(2 * HELD); // events that each stands for
    this.first = this.end = this.total = this.kept = 0;
  }

  /** Add a block; when the room is used up, the older half goes. */
  add({ n, t, x, y, p }, since, total) {
    const latest = this.end > this.first ? this.t[this.end - 1] : 0;
    if (n && since + t[0] < latest - 1e6) this.first = this.end = 0; // the clock began again
    if (this.end + n > this.t.length) {
      const from = Math.max(this.first, this.end - HELD + Math.min(n, HELD));
      for (const column of [this.t, this.x, this.y, this.p, this.weight]) column.copyWithin(0, from, this.end);
      this.end -= from;
      this.first = 0;
    }
    for (let i = 0; i < n; i++) {
      this.t[this.end + i] = Math.max(since + t[i], this.end + i > this.first ? this.t[this.end + i - 1] : 0);
      this.weight[this.end + i] = total / n;
    }
    this.x.set(x, this.end);
    this.y.set(y, this.end);
    this.p.set(p, this.end);
    this.end += n;
    this.first = Math.max(this.first, this.end - HELD);
    this.total += total;
    this.kept += n;
  }

  /** What is held, as a sample and its events; its time begins at 0. */
  sample(name) {
    const { first, end } = this, base = this.t[first], n = end - first, length = n ? this.t[end - 1] - base : 0;
    const t = Float64Array.from(this.t.subarray(first, end), (time) => time - base);
    const rate = new Array(Math.floor(length / BIN) + 1).fill(0);
    for (let i = 0; i < n; i++) rate[Math.floor(t[i] / BIN)] += this.weight[first + i];
    const part = (column) => column.subarray(first, end);
    const notes = this.kept < this.total ? ["More events arrive than are drawn: some are left out, evenly. The rate counts all of them."] : [];
    return [{ kind: "events", name, n, total: n, length, unit: 1, bin: BIN, rate, notes, base }, { n, t, x: part(this.x), y: part(this.y), p: part(this.p) }];
  }
}

async function follow() {
  const stream = new Stream(), waiting = el("p.about", {}, "Waiting for events …");
  PAGE.append(waiting);
  let after = 0, following = true, updates = 0;
  ready();
  for (;;) {
    let answer;
    try {
      const response = await fetch(`events?after=${after}`);
      if (!response.ok) throw new Error(response.statusText);
      answer = await response.json();
    } catch {
      answer = { ended: true };
    }
    if (answer.block) {
      if (!VIEWER) {
        waiting.remove();
        VIEWER = new Viewer({ ...DATA, size: answer.size, samples: [{ name: DATA.title }] });
        VIEWER.live = el("button.screen", { type: "button", onclick: () => { following = true; } }, "Live");
        VIEWER.play.after(VIEWER.live);
      }
      stream.add(await unpackEvents(answer.block, answer.size), answer.since, answer.total);
      after = answer.last;
      const before = VIEWER.sample, place = before ? VIEWER.state.now + before.base : 0, scales = VIEWER.pixels?.scales;
      const latest = before && VIEWER.state.now + VIEWER.state.window >= before.length;
      if (before) following = following ? latest || VIEWER.state.playing : false;
      const [sample, events] = stream.sample(DATA.title);
      VIEWER.show(sample, events);
      if (scales && ++updates % 20) VIEWER.pixels.scales = scales;
      if (!before) VIEWER._defaults();
      if (!before) VIEWER.state.window = VIEWER.isRaster ? 1e6 : DATA.window ?? 30_000;
      const { window } = VIEWER.state;
      VIEWER.set({ now: following ? Math.max(0, sample.length - window + 1) : Math.max(0, place - sample.base) });
      VIEWER.live.setAttribute("aria-pressed", following);
    }
    if (answer.ended) break;
  }
  (VIEWER ? VIEWER.title : waiting).after(note("The stream has ended; the page keeps its last events."));
  document.body.dataset.ended = "true";
}
