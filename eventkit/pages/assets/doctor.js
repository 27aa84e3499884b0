"use strict";
// The examination of a recording.

const LEVEL = { ok: "✓ ok", note: "note", warning: "warning", damage: "damage" };

async function examination() {
  const { examined, rate, pixels } = DATA, { rates, size } = examined;
  PAGE.append(head(DATA.title, DATA.about), facts([
    ["format", examined.format], ["file", `${short(examined.bytes)}B`], ["sensor", size.join(" × ")],
    ["events", `${whole(examined.events)} (${whole(examined.on)} ON, ${whole(examined.off)} OFF)`],
    ["duration", time(examined.duration_s * 1e6)],
    ["mean rate", rates?.mean_hz ? `${short(rates.mean_hz)} events/s` : null],
    ["peak rate", rates?.peak_hz ? `${short(rates.peak_hz)} events/s within 10 ms` : null],
  ]));
  PAGE.append(section("Findings", el("table.findings", {}, el("tbody", {}, examined.findings.map(({ name, level: how, found, advice }) =>
    el("tr", {}, el(`td.level-${how}`, {}, LEVEL[how]), el("td", {}, name), el("td", {}, found, advice ? el("div.faint", {}, advice) : null)))))));
  if (examined.events) {
    const canvas = el("canvas.timeline", { style: { cursor: "default" } }), longest = (examined.gaps ?? []).filter(({ length }) => length > 0).slice(0, 5);
    const timeline = new Timeline(canvas);
    const peak = Math.max(...rate.counts);
    PAGE.append(section("Event rate", canvas, el("div.caption", {}, el("span", {}, `peak ${short((peak / rate.bin) * 1e6)} events/s in ${time(rate.bin)}`), el("span", {}, time(examined.duration_s * 1e6)))));
    const draw = () => timeline.draw({ rate: rate.counts, length: examined.t1 - examined.t0 }, -1, -1, 0, ["accent", "ink", "faint", "line"].map(colour));
    themed.push(draw);
    addEventListener("resize", draw);
    draw();
    if (longest.length) PAGE.append(el("h3", {}, "Longest gaps"), table(["length", "from the start"], longest.map(({ t, length }) => [time(length), time(t - examined.t0)])));
  }
  if (pixels) {
    const { width, height, data, block } = pixels, canvas = heatCanvas(await inflate(data), width, height);
    Object.assign(canvas.style, { width: "100%", maxWidth: "34rem", aspectRatio: `${width} / ${Math.max(height, width / 8)}` });
    PAGE.append(section("Where events are", el("figure", {}, canvas, el("figcaption", {}, `dark: none, yellow: most; logarithmic${block > 1 ? `; sums of ${block} × ${block} pixels` : ""}`))));
  }
  const hot = examined.pixels?.hot?.listed ?? [];
  if (hot.length) PAGE.append(el("h3", {}, "Hot pixels"), table(Object.keys(hot[0]), hot.map((row) => Object.values(row).map((value) => typeof value === "number" ? short(value) : String(value)))));
  ready();
}

examination();
