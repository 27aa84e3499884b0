"use strict";
// Charts as SVG: lines, bars, histograms. Colours are classes, so that they follow the theme.

const CHART = { width: 560, height: 230, left: 52, right: 12, top: 10, bottom: 34 };

/** Round numbers from low to high, at most about `count` of them. */
function ticks(low, high, count = 5) {
  const span = high - low || 1, rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((digit) => digit * power >= rough) ?? 10);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-6; k++) found.push(k * step);
  return found;
}

function legend(names) {
  return names.length < 2 ? null : el("div.legend", {}, names.map((name, i) => el(`span.s${i % 6}${i >= 6 ? ".dashed" : ""}`, {}, name)));
}

/** Axes with labels, and functions from values to places. */
function axes({ x: [x0, x1], y: [y0, y1], xLabel, yLabel, xFormat = short, yFormat = short, height = CHART.height, whole: xWhole = false }) {
  const { width, left, right, top, bottom } = CHART;
  const toX = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - right);
  const toY = (y) => height - bottom - ((y - y0) / (y1 - y0 || 1)) * (height - top - bottom);
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${yLabel} by ${xLabel}` });
  for (const y of ticks(y0, y1, 4)) {
    chart.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: toY(y), y2: toY(y) }));
    chart.append(svg("text", { x: left - 6, y: toY(y) + 4, "text-anchor": "end" }, yFormat(y)));
  }
  for (const x of ticks(x0, x1, 6).filter((x) => !xWhole || Number.isInteger(x)))
    chart.append(svg("text", { x: toX(x), y: height - bottom + 15, "text-anchor": "middle" }, xFormat(x)));
  chart.append(svg("text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, xLabel));
  return { chart, toX, toY };
}

/** Lines of several series over the same x; null leaves a gap. */
function lineChart({ x, series, xLabel, yLabel, from = null, to = null, yFormat = short, yCaption = yLabel }) {
  const values = series.flatMap((one) => one.values).filter((value) => value !== null && Number.isFinite(value));
  const low = from ?? Math.min(...values), high = to ?? Math.max(...values);
  if (!values.length) return el("figure", {}, el("figcaption", {}, `${yCaption}: no values`));
  const { chart, toX, toY } = axes({ x: [x[0], x.at(-1) === x[0] ? x[0] + 1 : x.at(-1)], y: [low, high === low ? low + 1 : high], xLabel, yLabel, yFormat, whole: true });
  series.forEach(({ values: own }, i) => {
    let path = "", drawing = false;
    own.forEach((value, k) => {
      if (value === null || !Number.isFinite(value)) return void (drawing = false);
      path += `${drawing ? "L" : "M"}${toX(x[k]).toFixed(1)} ${toY(value).toFixed(1)}`;
      drawing = true;
    });
    chart.append(svg("path", { class: `s${i % 6}`, d: path, "stroke-dasharray": i >= 6 ? "4 3" : "none" }));
    if (own.length <= 30) own.forEach((value, k) => value !== null && Number.isFinite(value) &&
      chart.append(svg("circle", { class: `s${i % 6}`, cx: toX(x[k]), cy: toY(value), r: 2 })));
  });
  return el("figure", {}, el("figcaption", {}, yCaption), chart, legend(series.map((one) => one.name)));
}

/** Horizontal bars: for every name one bar of each series; `marks` are vertical lines. */
function barChart(names, series, { caption, format = whole, mark = null, to = null }) {
  const bar = 13, gap = 7, each = series.length * bar + gap, left = 150, right = 60;
  const { width } = CHART, height = names.length * each + 6;
  const most = to ?? Math.max(1e-12, ...series.flatMap((one) => one.values));
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": caption });
  const toX = (value) => left + (value / most) * (width - left - right);
  names.forEach((name, i) => {
    const y = i * each + gap / 2, shown = name.length > 24 ? `${name.slice(0, 23)}…` : name;
    chart.append(svg("text", { x: left - 8, y: y + (series.length * bar) / 2 + 4, "text-anchor": "end" }, svg("title", {}, name), shown));
    series.forEach(({ values }, k) => {
      if (values[i] === null || values[i] === undefined) return;
      chart.append(svg("rect", { class: `s${k % 6}`, x: left, y: y + k * bar, width: Math.max(0.5, toX(values[i]) - left), height: bar - 2 }));
      chart.append(svg("text", { x: toX(values[i]) + 5, y: y + k * bar + bar - 4 }, format(values[i])));
    });
  });
  if (mark !== null) chart.append(svg("line", { x1: toX(mark), x2: toX(mark), y1: 0, y2: height, stroke: "currentColor", "stroke-dasharray": "3 3" }));
  return el("figure", {}, el("figcaption", {}, caption), chart, legend(series.map((one) => one.name)));
}

/** How many samples have a value, as steps; a line for each series. */
function histogram({ edges, counts }, { xLabel, caption, xFormat = short }) {
  const series = Object.entries(counts), most = Math.max(1, ...series.flatMap(([, own]) => own));
  const { chart, toX, toY } = axes({ x: [edges[0], edges.at(-1)], y: [0, most], xLabel, yLabel: "samples", xFormat });
  series.forEach(([, own], i) => {
    let path = `M${toX(edges[0])} ${toY(0)}`;
    own.forEach((n, k) => (path += `V${toY(n).toFixed(1)}H${toX(edges[k + 1]).toFixed(1)}`));
    chart.append(svg("path", { class: `s${i % 6}`, d: `${path}V${toY(0)}` }));
  });
  return el("figure", {}, el("figcaption", {}, caption), chart, legend(series.map(([name]) => name)));
}

// Dark blue to yellow, even in lightness: readable with any colour vision, and in grey.
const HEAT = [[0, 32, 77], [66, 78, 107], [124, 123, 120], [187, 175, 108], [255, 234, 70]];

const HEAT_PALETTE = Uint32Array.from({ length: 256 }, (_, value) => {
  const place = (value / 255) * (HEAT.length - 1), at = Math.min(HEAT.length - 2, Math.floor(place)), part = place - at;
  const [r, g, b] = [0, 1, 2].map((k) => Math.round(HEAT[at][k] + part * (HEAT[at + 1][k] - HEAT[at][k])));
  return (255 << 24) | (b << 16) | (g << 8) | r;
});

/** Levels 0 to 255 of width x height as pixels. */
function heatCanvas(levels, width, height) {
  const canvas = el("canvas");
  paint(canvas, levels, width, height, HEAT_PALETTE);
  return canvas;
}
